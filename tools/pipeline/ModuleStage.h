//===- ModuleStage.h - the last stage: a module file ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_PIPELINE_MODULESTAGE_H
#define QUANT_TOOLS_PIPELINE_MODULESTAGE_H

#include "lowering/module/ModuleBuilder.h"
#include "tools/pipeline/Stages.h"

namespace quant {

struct TargetCompilation {
  StageOptions &stages;
  /// Units to make code for, the best first; empty: all of the target's.
  std::vector<std::string> units;
  std::string ptxas;
  /// Receives the kernels of the last unit as text (assembly, PTX), if given.
  std::string *assembly = nullptr;
  /// Sees the module after each stage.
  std::function<void(Stage, mlir::ModuleOp)> observe;
};

/// Takes a module at the stage `dispatched` through the stages behind it, once for each unit, and adds what comes out to
/// `builder`. Returns notes for the person who compiles. Errors: those of the stages, which are on the module's diagnostics, too;
/// those of code generation.
Result<std::vector<std::string>> buildTargetModule(mlir::ModuleOp dispatched, const TargetCompilation &options,
                                                   ModuleBuilder &builder);

} // namespace quant

#endif // QUANT_TOOLS_PIPELINE_MODULESTAGE_H
