//===- module.h - reading a compiled model (*.qmod) -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_MODULE_MODULE_H
#define QUANT_RUNTIME_MODULE_MODULE_H

#include "runtime/module/container.h"
#include "runtime/module/program.h"

#include <memory>

namespace quant::runtime {

/// A compiled model, checked: whoever holds one may index and add up without looking again.
struct Module {
  std::string path;        ///< as errors name it
  std::string producer;    ///< e.g. "quant-compile 0.1.0"
  uint64_t hash = 0;       ///< FNV-1a of the section table, which has the hashes of all sections: of everything in the file
  std::string modelConfig; ///< JSON: the configuration that the model was built from
  std::vector<Target> targets;
  std::shared_ptr<const void> storage; ///< keeps the bytes alive that code images point into; empty after parseModule()

  /// The target called `name`, or null.
  const Target *find(std::string_view name) const;
};

/// Reads and checks a module held in memory; `name` begins every error. The result points into `bytes`. A pure function, for any
/// bytes: errors name the section, the index and the value.
Result<Module> parseModule(Bytes bytes, const std::string &name);

/// Maps the file at `path` and parses it. The mapping lives as long as the result (and copies of it).
Result<Module> openModule(const std::string &path);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_MODULE_MODULE_H
