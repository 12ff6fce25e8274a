//===- ProgramJson.h - a dispatched module as JSON ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_MODULE_PROGRAMJSON_H
#define QUANT_LOWERING_MODULE_PROGRAMJSON_H

#include "lowering/target/Target.h"

#include "mlir/IR/BuiltinOps.h"

#include <nlohmann/json.hpp>

namespace quant {

/// The program `name` (program::kForwardName, kDraftName) of a module at the `dispatched` stage, as docs/module-format.md
/// describes it; null if there is none. The grids are those of the kernels in `lowered`, the same module at the stage `target`.
nlohmann::ordered_json programJson(mlir::ModuleOp module, llvm::StringRef name, mlir::ModuleOp lowered);

/// The kernels of a target in the manifest: name, how each is run, operands. `module` is at the stage `dispatched`, `lowered` the
/// same at the stage `target`, whose kernels say their schedules.
nlohmann::ordered_json kernelsJson(mlir::ModuleOp module, mlir::ModuleOp lowered, const Target &target);

} // namespace quant

#endif // QUANT_LOWERING_MODULE_PROGRAMJSON_H
