//===- ModuleStage.cpp - the last stage: a module file ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/pipeline/ModuleStage.h"

#include "mlir/IR/OwningOpRef.h"

using namespace mlir;
using namespace quant;

Result<std::vector<std::string>> quant::buildTargetModule(ModuleOp dispatched, const TargetCompilation &options,
                                                          ModuleBuilder &builder) {
  const Target &target = options.stages.getTarget();
  std::vector<std::string> notes;
  builder.beginTarget(target, dispatched);
  for (const std::string &unit : options.units.empty() ? target.units() : options.units) {
    options.stages.isa = unit;
    OwningOpRef<ModuleOp> module = dispatched.clone();
    if (failed(runStages(*module, Stage::Target, options.stages, {}, options.observe)))
      return fail("stage " + stageName(Stage::Target).str());
    QUANT_TRY(builder.addKernels(*module));
    QUANT_TRY_ASSIGN(
        GeneratedCode code,
        target.generateCode(*module,
                            {.unit = unit, .gpu = options.stages.gpu, .ptxas = options.ptxas, .assembly = options.assembly}));
    notes.insert(notes.end(), code.notes.begin(), code.notes.end());
    builder.addCode(std::move(code));
  }
  builder.endTarget();
  return notes;
}
