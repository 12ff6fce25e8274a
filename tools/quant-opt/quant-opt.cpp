//===- quant-opt.cpp - runs passes and stages over IR in text -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/pipeline/Registration.h"
#include "tools/pipeline/Stages.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Support/FileUtilities.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/ToolOutputFile.h"

using namespace mlir;

/// `--stage=NAME`: from the stage that the input has reached to NAME; `--stage-options` are those of the pipelines.
static llvm::cl::opt<std::string> stageFlag("stage", llvm::cl::desc("run the stages up to this one: model, fused, dispatched, "
                                                                    "tiled or target (see docs/stages.md)"));
static llvm::cl::opt<std::string> stageOptions("stage-options", llvm::cl::desc("options of --stage, as in "
                                                                               "'target=sm_90a activations=fp8'"));

int main(int argc, char **argv) {
  DialectRegistry registry;
  quant::registerDialects(registry);
  quant::registerPassesAndPipelines();
  auto [input, output] = registerAndParseCLIOptions(argc, argv, "block-scaled FP8 compiler: optimizer driver\n", registry);
  MlirOptMainConfig config = MlirOptMainConfig::createFromCLOptions();
  if (!stageFlag.empty())
    config.setPassPipelineSetupFn([](PassManager &pm) {
      pm.addPass(quant::createRunStages(stageFlag, stageOptions));
      return success();
    });
  std::string error;
  auto file = openInputFile(input, &error);
  auto out = openOutputFile(output, &error);
  if (!file || !out) {
    llvm::errs() << "quant-opt: error: " << error << "\n";
    return 1;
  }
  if (failed(MlirOptMain(out->os(), std::move(file), registry, config)))
    return 1;
  out->keep();
  return 0;
}
