//===- Fp8GemmRecipe.cpp - how the FP8 matmul is launched --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Fp8GemmRecipe.h"

#include <algorithm>

using namespace quant::machine;

namespace quant::nvvm {

/// Tiles are counted in i32, and the loop over them steps past the end by up to one grid.
static constexpr int64_t kMaxTiles = int64_t(1) << 30;

namespace {
/// Collects operands with the parameters that stand for them.
struct RecipeBuilder {
  LaunchRecipe recipe;

  int add(Operand operand) {
    recipe.operands.push_back(std::move(operand));
    return static_cast<int>(recipe.operands.size()) - 1;
  }
  void addPointer(Operand operand) { recipe.parameters.push_back(PointerParameter{add(std::move(operand))}); }
};
} // namespace

/// Operands in the order of Fp8Gemm.h, parameters in that of emitFp8Gemm.
static void addOperands(RecipeBuilder &to, const Fp8GemmPlan &plan) {
  const Fp8GemmConfig &config = plan.config;
  constexpr int64_t kRows = abi::kKMajorRowMultiple;
  SizeExpr m = Dim::M, paddedM = SizeExpr(kRows) * SizeExpr::ceilDiv(m, kRows), n = config.n, k = config.k;
  int64_t pitch = plan.pitch(), kBlocks = plan.kBlocks();
  bool f32 = config.outputType == OutputType::f32;
  Operand operandA = {"a", "f8E4M3FN", false, {m, k}}, operandB = {"b", "f8E4M3FN", false, {n, k}};
  operandA.pitchBytes = operandB.pitchBytes = pitch == config.k ? 0 : pitch;
  Operand operandD = {"d", f32 ? "f32" : "bf16", true, {m, n}};
  operandD.accumulated = config.accumulate;
  // Weights, which stay as they are while kernels run.
  Operand scalesB = {"scale_b", "f32", false, {plan.scaleRowsB(), kBlocks}};
  operandB.early = scalesB.early = true;
  int a = to.add(operandA), scaleA = to.add({"scale_a", "f32", false, {kBlocks, paddedM}}), b = to.add(operandB);
  int scaleB = to.add(scalesB), d = to.add(operandD);
  // M, not Mpad: the padding is never read, whatever it holds.
  SizeExpr scaleStride = SizeExpr(kRows * sizeof(float)) * SizeExpr::ceilDiv(m, kRows);
  int storeSwizzle = static_cast<int>(plan.storeSwizzle());
  to.recipe.parameters = {TensorMapParameter{a, "UINT8", {k, m}, {pitch}, {kBlockK, plan.boxRowsA()}, 128, 256},
                          TensorMapParameter{scaleA, "FLOAT32", {m, kBlocks}, {scaleStride}, {config.blockM, 1}, 0, 256},
                          TensorMapParameter{b, "UINT8", {k, n}, {pitch}, {kBlockK, plan.boxRowsB()}, 128, 256},
                          TensorMapParameter{d,
                                             f32 ? "FLOAT32" : "BFLOAT16",
                                             {n, m},
                                             {plan.bytesOfD() * config.n},
                                             {plan.storeColumns(), plan.storeRows()},
                                             storeSwizzle,
                                             256},
                          PointerParameter{scaleB}};
  if (config.bias) {
    Operand bias = {"bias", "f32", false, {n}};
    bias.early = true;
    to.addPointer(bias);
  }
  if (config.splitK > 1) {
    // Also those of a block beyond the matrix.
    SizeExpr clustersM = SizeExpr::ceilDiv(m, config.blockM * plan.clusterM());
    SizeExpr fragments = clustersM * SizeExpr(plan.clusterM() * plan.paddedTilesN() * plan.slices());
    Operand workspace = {"workspace", "f32", true, {fragments * config.splitK, plan.arch.wgmmaRows * plan.wgmmaN()}};
    Operand counters = {"counters", "i32", true, {fragments}};
    workspace.scratch = counters.scratch = counters.zeroed = true;
    to.addPointer(workspace);
    to.addPointer(counters);
  }
  to.recipe.parameters.push_back(I32Parameter{m});
}

/// What the kernel was built from; options that are off are left out.
static std::map<std::string, int64_t> describe(const Fp8GemmPlan &plan) {
  const Fp8GemmConfig &config = plan.config;
  std::map<std::string, int64_t> json = {
      {"n", config.n}, {"k", config.k}, {"block_m", config.blockM}, {"block_n", config.blockN}, {"stages", plan.stages}};
  auto addIf = [&](bool on, const char *key, int64_t value) {
    if (on)
      json[key] = value;
  };
  addIf(config.swapAB, "swap_ab", 1);
  addIf(config.multicast == Multicast::a, "multicast_a", 1);
  addIf(config.multicast == Multicast::b, "multicast_b", 1);
  addIf(config.splitK > 1, "split_k", config.splitK);
  addIf(config.bias, "bias", 1);
  addIf(config.accumulate, "accumulate", 1);
  addIf(config.outputType == OutputType::f32, "f32", 1);
  return json;
}

LaunchRecipe fp8GemmRecipe(const Fp8GemmPlan &plan, const std::string &symbolName) {
  const Fp8GemmConfig &config = plan.config;
  RecipeBuilder to;
  LaunchRecipe &recipe = to.recipe;
  addOperands(to, plan);
  recipe.kernel = symbolName;
  recipe.arch = machine::kSm90a.name;
  recipe.programmatic = true;
  recipe.block = {plan.threads(), 1, 1};
  recipe.cluster = {plan.cluster(), 1, 1};
  recipe.dynamicSharedBytes = plan.sharedBytes;
  // Persistent: at most one block per multiprocessor, each walks its share of the tiles; the blocks of a cluster walk together.
  SizeExpr cells = SizeExpr::ceilDiv(Dim::M, config.blockM * plan.clusterM()) *
                   SizeExpr(plan.paddedTilesN() / plan.clusterN() * config.splitK);
  SizeExpr sms = Dim::Sms;
  recipe.grid = plan.cluster() == 1 ? SizeExpr::min(sms, cells) : SizeExpr(2) * SizeExpr::min(SizeExpr::ceilDiv(sms, 2), cells);
  int64_t tilesOfRow = plan.paddedTilesN() * config.splitK * plan.slices();
  recipe.limits = {
      {Dim::M, std::min(kMaxTiles / tilesOfRow * config.blockM, (int64_t(1) << 31) - plan.clusterM() * config.blockM)}};
  recipe.config = describe(plan);
  return std::move(to.recipe);
}

} // namespace quant::nvvm
