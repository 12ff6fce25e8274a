//===- Container.h - laying out a module file ---------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_MODULE_CONTAINER_H
#define QUANT_LOWERING_MODULE_CONTAINER_H

#include <string>
#include <vector>

namespace quant {

/// A named part of a module file: at most 47 bytes of name, any bytes of content.
struct ModuleSection {
  std::string name;
  std::string bytes;
};

/// The file's bytes: header, section table, sections on 4096-byte boundaries. docs/module-format.md.
std::string layOutModule(const std::vector<ModuleSection> &sections);

} // namespace quant

#endif // QUANT_LOWERING_MODULE_CONTAINER_H
