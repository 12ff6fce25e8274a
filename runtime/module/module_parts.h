//===- module_parts.h - the steps of parseModule() --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_MODULE_MODULE_PARTS_H
#define QUANT_RUNTIME_MODULE_MODULE_PARTS_H

#include "runtime/module/module.h"

#include <nlohmann/json_fwd.hpp>

namespace quant {
class ObjectReader;
}

namespace quant::runtime {

/// The JSON text of section `name`. Errors: no such section, not strict JSON.
Result<nlohmann::json> parseJsonSection(const Sections &sections, const std::string &name);

/// Reads the manifest of `sections` and the programs it names. Only what one JSON value can tell is checked.
Result<Module> parseManifest(const Sections &sections);

/// Reads the program in section `name`; dispatches name kernels of `kernels`.
Result<Program> parseProgram(const Sections &sections, const std::string &name, const std::vector<Kernel> &kernels);

/// A shape from JSON: constants of at least 1, and dims by name.
Result<Shape> parseShape(const nlohmann::json &json);

/// The layout that an object names, if it does.
Layout parseLayout(ObjectReader &reader);

/// Checks what values, dispatches and kernels say of each other: sizes, workspace ranges, operands, grids.
Result<void> verifyProgram(const Program &program, const std::vector<Kernel> &kernels);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_MODULE_MODULE_PARTS_H
