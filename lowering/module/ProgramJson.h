//===- ProgramJson.h - a dispatched module as JSON ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_MODULE_PROGRAMJSON_H
#define QUANT_LOWERING_MODULE_PROGRAMJSON_H

#include "mlir/IR/BuiltinOps.h"

#include <nlohmann/json.hpp>

namespace quant {

/// The program of a module at the `dispatched` stage, as docs/module-format.md describes it.
nlohmann::ordered_json programJson(mlir::ModuleOp module);

/// The kernels of a module at the `dispatched` stage: names and operands. `lowered` is the same module at the `target` stage,
/// which knows each host kernel's scratch, and each GPU kernel's launch recipes or why it has none.
nlohmann::ordered_json hostKernelsJson(mlir::ModuleOp module, mlir::ModuleOp lowered);
nlohmann::ordered_json gpuKernelsJson(mlir::ModuleOp module, mlir::ModuleOp lowered);

} // namespace quant

#endif // QUANT_LOWERING_MODULE_PROGRAMJSON_H
