//===- Stages.cpp - the way from a model to kernels, stage by stage -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/pipeline/Stages.h"

#include "dialects/program/Program.h"
#include "passes/Passes.h"
#include "tools/pipeline/Registration.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace quant;

std::optional<Stage> quant::parseStage(StringRef name) {
  for (auto [index, stage] : llvm::enumerate(kStageNames))
    if (name == stage)
      return static_cast<Stage>(index);
  return std::nullopt;
}

StringRef quant::stageName(Stage stage) { return kStageNames[static_cast<size_t>(stage)]; }

StageOptions::StageOptions() {
  for (const Target *known : targets())
    target.getParser().addLiteralOption(known->name(), known, known->summary());
}

static void buildFused(OpPassManager &pm, const StageOptions &options) {
  OpPassManager &forward = pm.nest<func::FuncOp>();
  // First, while each weight still stands beside the op that uses it.
  forward.addPass(createFuseDequantize());
  // Attention and experts to ops that each become one kernel; the experts' matmuls must exist before they are quantized.
  DecomposeMlaOptions mla;
  mla.tensorCores = options.getTarget().matmuls().attendsOnTensorCores;
  forward.addPass(createDecomposeMla(mla));
  forward.addPass(createDecomposeExperts());
  // Before quantization, so that joined matmuls quantize their input once.
  forward.addPass(createMergeProjections());
  MatmulTraits matmuls = options.getTarget().matmuls();
  QuantizeActivationsOptions quantize;
  quantize.resultType = matmuls.resultType.str();
  if (options.quantizesToFp8()) {
    quantize.scaleFormat = options.scaleFormat;
    quantize.scaleLayout = matmuls.scaleLayout.str();
    forward.addPass(createQuantizeActivations(quantize));
    if (!matmuls.multipliesFp8)
      forward.addPass(createDequantizeActivations());
  }
  if (options.quantizesToInt8()) {
    quantize.scaleFormat = "f32";
    quantize.scaleLayout = "row_major";
    quantize.storage = "i8";
    quantize.groups = matmuls.multipliesInt8Groups;
    forward.addPass(createQuantizeActivations(quantize));
  }
  if (options.roundsToBf16())
    forward.addPass(createRoundActivations());
  if (matmuls.multipliesFp8) {
    forward.addPass(createFuseQuantize());
    // Behind the fusions: a token's row is quantized once, and its codes are copied to each of its experts.
    if (!matmuls.gathersRows)
      forward.addPass(createGatherRows());
    // Now x of the experts' gate|up stands where the kernel reads it.
    if (matmuls.quantizesSwiglu)
      forward.addPass(createFuseSwiglu());
  }
  // Drops the dequantizes, casts and slices that nothing uses any more.
  forward.addPass(createCanonicalizerPass());
  forward.addPass(createCSEPass());
}

static void buildDispatched(OpPassManager &pm, const StageOptions &options) {
  pm.addPass(createOutlineDispatches());
  PlanMemoryOptions plan;
  plan.maxTokens = options.maxTokens;
  pm.addPass(createPlanMemory(plan));
}

static void buildScheduled(OpPassManager &pm, const StageOptions &options) {
  ScheduleKernelsOptions schedule;
  schedule.target = options.getTarget().name().str();
  schedule.unit = options.isa;
  schedule.gpu = options.gpu;
  schedule.roundInputs = options.activations == Activations::Bf16;
  schedule.maxKernels = options.maxKernels;
  pm.addPass(createScheduleKernels(schedule));
}

static void buildTiled(OpPassManager &pm, const StageOptions &options) {
  pm.addNestedPass<func::FuncOp>(createTileMatmuls());
  options.getTarget().buildTiled(pm, options.forTarget());
  pm.addNestedPass<func::FuncOp>(createCanonicalizerPass());
  pm.addNestedPass<func::FuncOp>(createCSEPass());
}

void quant::buildStage(OpPassManager &pm, Stage stage, const StageOptions &options) {
  switch (stage) {
  case Stage::Model:
    break;
  case Stage::Fused:
    buildFused(pm, options);
    break;
  case Stage::Dispatched:
    buildDispatched(pm, options);
    break;
  case Stage::Scheduled:
    buildScheduled(pm, options);
    break;
  case Stage::Tiled:
    buildTiled(pm, options);
    break;
  case Stage::Target:
    options.getTarget().buildTarget(pm, options.forTarget());
    break;
  case Stage::Module:
    return;
  }
  VerifyStageOptions verify;
  verify.name = stageName(stage).str();
  pm.addPass(createVerifyStage(verify));
}

/// The first stage that the module has not passed yet.
static FailureOr<size_t> nextStage(ModuleOp module) {
  Attribute reached = module->getAttr(program::kStageAttr);
  if (!reached)
    return size_t(0);
  auto name = dyn_cast<StringAttr>(reached);
  std::optional<Stage> stage = name ? parseStage(name) : std::nullopt;
  if (!stage)
    return module.emitError("program.stage names no stage: ") << reached;
  return static_cast<size_t>(*stage) + 1;
}

LogicalResult quant::runStages(ModuleOp module, Stage last, const StageOptions &options,
                               const std::function<void(PassManager &)> &configure,
                               const std::function<void(Stage, ModuleOp)> &observe) {
  FailureOr<size_t> next = nextStage(module);
  if (failed(next))
    return failure();
  for (size_t index = *next; index <= static_cast<size_t>(last) && index < static_cast<size_t>(Stage::Module); ++index) {
    PassManager pm(module.getContext());
    if (configure)
      configure(pm);
    buildStage(pm, static_cast<Stage>(index), options);
    if (failed(pm.run(module)))
      return failure();
    if (observe)
      observe(static_cast<Stage>(index), module);
  }
  return success();
}

namespace {

struct RunStages : PassWrapper<RunStages, OperationPass<ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RunStages)
  RunStages(StringRef last, StringRef options) : last(last), options(options) {}

  StringRef getArgument() const override { return "run-stages"; }
  void getDependentDialects(DialectRegistry &registry) const override { registerDialects(registry); }

  void runOnOperation() override {
    std::optional<Stage> stage = parseStage(last);
    StageOptions parsed;
    if (!stage) {
      getOperation().emitError("there is no stage '") << last << "': model, fused, dispatched, scheduled, tiled or target";
      return signalPassFailure();
    }
    FailureOr<size_t> next = nextStage(getOperation());
    if (failed(next) || failed(parsed.parseFromString(options)))
      return signalPassFailure();
    OpPassManager pm(ModuleOp::getOperationName());
    for (size_t index = *next; index <= static_cast<size_t>(*stage); ++index)
      buildStage(pm, static_cast<Stage>(index), parsed);
    if (failed(runPipeline(pm, getOperation())))
      signalPassFailure();
  }

private:
  std::string last, options;
};

} // namespace

std::unique_ptr<Pass> quant::createRunStages(StringRef last, StringRef options) {
  return std::make_unique<RunStages>(last, options);
}

void quant::registerStagePipelines() {
  static std::vector<std::unique_ptr<PassPipelineRegistration<StageOptions>>> registrations;
  for (size_t index = 0; index < static_cast<size_t>(Stage::Module); ++index) {
    auto stage = static_cast<Stage>(index);
    static constexpr const char *kDescriptions[] = {"the builder's IR: checks it",
                                                    "dequantize folded, projections merged, activations quantized",
                                                    "kernels outlined, memory planned",
                                                    "how each kernel runs, and why",
                                                    "matmuls in the tiles of their schedules",
                                                    "kernels in the target's own ops"};
    registrations.push_back(std::make_unique<PassPipelineRegistration<StageOptions>>(
        ("stage-" + stageName(stage)).str(), kDescriptions[index],
        [stage](OpPassManager &pm, const StageOptions &options) { buildStage(pm, stage, options); }));
  }
}
