//===- Stages.h - the way from a model to kernels, stage by stage -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_PIPELINE_STAGES_H
#define QUANT_TOOLS_PIPELINE_STAGES_H

#include "dialects/machine/X86.h"
#include "lowering/target/Target.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

#include <functional>
#include <optional>

namespace quant {

/// The stages in the order of the data's way; `module` is a file, not IR.
enum class Stage { Model, Fused, Dispatched, Scheduled, Tiled, Target, Module };

inline constexpr std::array<llvm::StringLiteral, 7> kStageNames = {"model", "fused",  "dispatched", "scheduled",
                                                                   "tiled", "target", "module"};

std::optional<Stage> parseStage(llvm::StringRef name);
llvm::StringRef stageName(Stage stage);

/// The inputs of matmuls: FP8 quantized online (of FP8 weights), int8 (of weights of integers), bf16 (on sm_90a of
/// weights in bf16, which fp8 and int8 round there, too; the others' stay f32), f32, or the target's habit: on sm_90a fp8,
/// int8 or bf16, as the weight is, f32 on the host.
enum class Activations { Auto, Fp8, Int8, Bf16, F32 };

/// What the pipelines can be told; the same options for quant-opt and quant-compile.
struct StageOptions : mlir::PassPipelineOptions<StageOptions> {
  StageOptions();

  Option<const Target *> target{*this, "target", llvm::cl::desc("what to compile for"), llvm::cl::init(targets().front())};
  Option<std::string> isa{*this, "isa", llvm::cl::desc("for the host: a vector unit of dialects/machine/X86.cpp"),
                          llvm::cl::init(std::string(machine::kDefaultX86Unit))};
  Option<std::string> gpu{*this, "gpu", llvm::cl::desc("for sm_90a: whose figures choose the tiles: h100, h200, h800"),
                          llvm::cl::init("h200")};
  Option<int64_t> maxKernels{*this, "max-kernels", llvm::cl::desc("for sm_90a: different kernels of one matmul at most"),
                             llvm::cl::init(4)};
  Option<std::string> launchDependents{
      *this, "launch-dependents",
      llvm::cl::desc("for sm_90a: when a kernel on tensor cores lets the next one start: start, loaded or never"),
      llvm::cl::init("start")};
  Option<Activations> activations{
      *this, "activations", llvm::cl::desc("inputs of matmuls"), llvm::cl::init(Activations::Auto),
      llvm::cl::values(clEnumValN(Activations::Auto, "auto", "on sm_90a fp8, int8 or bf16, as the weight is; f32 on the host"),
                       clEnumValN(Activations::Fp8, "fp8", "quantized online"),
                       clEnumValN(Activations::Int8, "int8", "of INT8 weights with a scale a row: quantized online, per token"),
                       clEnumValN(Activations::Bf16, "bf16", "bf16"), clEnumValN(Activations::F32, "f32", "as they are"))};
  Option<std::string> scaleFormat{*this, "scale-format", llvm::cl::desc("activation scales: f32 or ue8m0"),
                                  llvm::cl::init("f32")};
  Option<int64_t> maxTokens{*this, "max-tokens", llvm::cl::desc("tokens of one call at most; longer prompts go in chunks"),
                            llvm::cl::init(256)};

  const Target &getTarget() const { return *target.getValue(); }
  TargetOptions forTarget() const {
    return {.unit = isa, .gpu = gpu, .launchDependents = launchDependents, .ptxas = {}, .assembly = nullptr};
  }
  bool quantizesToFp8() const {
    return activations == Activations::Fp8 || (activations == Activations::Auto && getTarget().matmuls().multipliesFp8);
  }
  /// Of matmuls by weights in bf16, for tensor cores that multiply those.
  bool roundsToBf16() const { return activations != Activations::F32 && getTarget().matmuls().multipliesBf16; }
  bool quantizesToInt8() const {
    return activations == Activations::Int8 || (activations == Activations::Auto && getTarget().matmuls().quantizesInt8);
  }
};

/// Appends the passes of one stage, its verifier last.
void buildStage(mlir::OpPassManager &pm, Stage stage, const StageOptions &options);

/// Runs the stages after the one that the module has reached (`program.stage`) up to `last`. `observe` sees the module after
/// each.
mlir::LogicalResult runStages(mlir::ModuleOp module, Stage last, const StageOptions &options,
                              const std::function<void(mlir::PassManager &)> &configure = {},
                              const std::function<void(Stage, mlir::ModuleOp)> &observe = {});

/// The same as a pass, for quant-opt: `options` as in "target=sm_90a activations=fp8".
std::unique_ptr<mlir::Pass> createRunStages(llvm::StringRef last, llvm::StringRef options);

/// Registers `--stage-fused`, ... : each stage's own passes.
void registerStagePipelines();

} // namespace quant

#endif // QUANT_TOOLS_PIPELINE_STAGES_H
