//===- container.h - sections of a module file ------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_MODULE_CONTAINER_H
#define QUANT_RUNTIME_MODULE_CONTAINER_H

#include "runtime/support/result.h"

#include <cstddef>
#include <map>
#include <span>
#include <string>

namespace quant::runtime {

using Bytes = std::span<const std::byte>;

/// Sections by name; the spans point into the bytes given to parseContainer().
using Sections = std::map<std::string, Bytes, std::less<>>;

/// Checks header, section table, hashes and padding of a container (docs/module-format.md) and returns its sections.
Result<Sections> parseContainer(Bytes file);

/// The hash of the section table. @pre parseContainer(file)
uint64_t tableHash(Bytes file);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_MODULE_CONTAINER_H
