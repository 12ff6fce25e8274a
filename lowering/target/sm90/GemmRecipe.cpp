//===- GemmRecipe.cpp - how the matmul is launched -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/GemmRecipe.h"
#include "lowering/target/sm90/RecipeBuilder.h"

#include <algorithm>

using namespace quant::machine;

namespace quant::nvvm {

/// Tiles are counted in i32, and the loop over them steps past the end by up to one grid.
static constexpr int64_t kMaxTiles = int64_t(1) << 30;

/// `count` times a size.
static SizeExpr times(int64_t count, SizeExpr size) { return count == 1 ? size : SizeExpr(count) * std::move(size); }

/// Rows of A and D of all groups together.
static SizeExpr allRows(const GemmPlan &plan) { return times(plan.rowsPerM(), Dim::M); }

namespace {
/// The operands of a plan and the parameters that stand for them.
class GemmOperands {
public:
  explicit GemmOperands(const GemmPlan &plan)
      : plan(plan), config(plan.config), m(Dim::M), rows(allRows(plan)), pitch(plan.pitch()), kBlocks(plan.kBlocks()) {}

  /// Operands in the order of Gemm.h, parameters in that of emitGemm.
  void addTo(RecipeBuilder &to) const {
    bool isScaled = config.element != GemmElement::bf16;
    int a = to.add(operandA()), scaleA = isScaled ? to.add(operandScaleA()) : 0, b = to.add(operandB());
    int scaleB = isScaled ? to.add(operandScaleB()) : 0, d = to.add(operandD());
    if (config.isFp8())
      to.recipe.parameters = {mapA(a), mapScaleA(scaleA), mapB(b), mapD(d), PointerParameter{scaleB}};
    else
      to.recipe.parameters = {mapA(a), mapB(b), mapD(d)};
    if (config.element == GemmElement::i8) {
      to.recipe.parameters.emplace_back(PointerParameter{scaleA});
      to.recipe.parameters.emplace_back(PointerParameter{scaleB});
    }
    if (config.bias) {
      Operand bias = {"bias", "f32", false, {config.n}};
      bias.early = true;
      to.addPointer(bias);
    }
    if (config.splitK > 1)
      addScratch(to);
    if (config.swiglu)
      to.addPointer(operandScaleD());
    if (config.groups)
      addCounts(to);
    if (config.mla.completes) {
      to.recipe.parameters.push_back(PointerParameter{a});
      to.addPointer({"rope", "f32", false, {rows, config.mla.ropeDim}});
      to.recipe.parameters.push_back(PointerParameter{d});
    }
    to.recipe.parameters.push_back(I32Parameter{config.isMasked() ? m : rows});
  }

private:
  bool isF32() const { return config.outputType == OutputType::f32; }
  /// Of A's and B's elements, as operands and as tensor maps have them.
  const char *elementName() const { return config.isFp8() ? "f8E4M3FN" : config.element == GemmElement::i8 ? "i8" : "bf16"; }
  const char *mapElement() const { return config.element == GemmElement::bf16 ? "BFLOAT16" : "UINT8"; }
  /// What the recipe says of a pitch: nothing of rows that are dense.
  int64_t pitchOfOperands() const { return pitch == config.k * config.elementBytes() ? 0 : pitch; }
  const char *typeOfD() const { return config.swiglu ? "UINT8" : isF32() ? "FLOAT32" : "BFLOAT16"; }

  /// Of A and D; masked groups have places of M rows.
  std::vector<SizeExpr> shapeOfRows(int64_t columns) const {
    return config.isMasked() ? std::vector<SizeExpr>{config.groups, m, columns} : std::vector<SizeExpr>{rows, columns};
  }
  /// One matrix, or one for each group.
  std::vector<SizeExpr> perGroup(std::vector<SizeExpr> shape, bool isGrouped) const {
    if (isGrouped)
      shape.insert(shape.begin(), config.groups);
    return shape;
  }
  /// Of A's scales, side by side for a K block: those of all rows, or of a group's place.
  SizeExpr scaleRows() const { return config.isMasked() ? m : rows; }
  /// With their padding, times `each`.
  SizeExpr paddedScaleRows(int64_t each = 1) const {
    constexpr int64_t kRows = abi::kKMajorRowMultiple;
    return SizeExpr(each * kRows) * SizeExpr::ceilDiv(scaleRows(), kRows);
  }

  /// Of heads: the rows and columns of kv_b.
  int64_t kvRows() const { return config.mla.heads * plan.headRowsB(); }
  int64_t latents() const { return config.isAbsorb() ? config.headN() : config.k; }

  Operand operandA() const {
    Operand operand = {"a", elementName(), false, shapeOfRows(plan.columnsA())};
    operand.pitchBytes = pitchOfOperands();
    return operand;
  }
  Operand operandScaleA() const {
    if (!config.isFp8())
      return {"scale_a", "f32", false, perGroup({scaleRows()}, config.isMasked())};
    return {"scale_a", "f32", false, perGroup({kBlocks, paddedScaleRows()}, config.isMasked())};
  }
  // Weights stay as they are while kernels run.
  Operand operandB() const {
    Operand operand = {"b", elementName(), false, perGroup({plan.rowsB(), config.k}, config.groups)};
    if (config.isMla())
      operand.shape = {kvRows(), latents()};
    operand.pitchBytes = pitchOfOperands();
    operand.early = true;
    return operand;
  }
  Operand operandScaleB() const {
    std::vector<SizeExpr> ofWeight = {plan.rowsB()};
    if (config.isFp8())
      ofWeight = {plan.scaleRowsB(), kBlocks};
    Operand operand = {"scale_b", config.bf16Scales ? "bf16" : "f32", false, perGroup(ofWeight, config.groups)};
    operand.early = true;
    return operand;
  }
  Operand operandD() const {
    Operand operand = {"d", config.swiglu ? "f8E4M3FN" : isF32() ? "f32" : "bf16", true, shapeOfRows(plan.columnsD())};
    operand.accumulated = config.accumulate;
    return operand;
  }

  Operand operandScaleD() const {
    return {"scale_d", "f32", true, perGroup({config.n / kScaleBlock, paddedScaleRows()}, config.isMasked())};
  }

  TensorMapParameter mapA(int operand) const {
    std::vector<int64_t> box = {plan.blockK(), plan.boxRowsA()};
    if (config.groups)
      return raggedMap(operand, mapElement(), config.k, rows, pitch, box, 128);
    int64_t rowBytes = config.isMla() ? plan.columnsA() * config.elementBytes() : pitch;
    return {operand, mapElement(), {plan.columnsA(), m}, {rowBytes}, box, 128, 256};
  }
  TensorMapParameter mapScaleA(int operand) const {
    // The rows that there are: the padding is never read, whatever it holds.
    constexpr int64_t kBytes = sizeof(float);
    TensorMapParameter map{operand, "FLOAT32", {scaleRows(), kBlocks}, {paddedScaleRows(kBytes)}, {config.blockM, 1}, 0, 256};
    if (config.isMasked())
      addGroups(map, paddedScaleRows(kBlocks * kBytes));
    return map;
  }
  TensorMapParameter mapB(int operand) const {
    if (config.isMla()) {
      // Rows of keys are taken as they are, K of them in a panel of 64 columns.
      std::vector<int64_t> box = {plan.blockK(), config.isAbsorb() ? plan.blockK() : plan.boxRowsB()};
      return {operand, mapElement(), {latents(), kvRows()}, {latents() * config.elementBytes()}, box, 128, 256};
    }
    TensorMapParameter map{operand, mapElement(), {config.k, plan.rowsB()}, {pitch}, {plan.blockK(), plan.boxRowsB()}, 128, 256};
    if (config.groups)
      addGroups(map, plan.rowsB() * pitch);
    return map;
  }
  TensorMapParameter mapD(int operand) const {
    std::vector<int64_t> box = {plan.storeColumns(), plan.storeRows()};
    int64_t rowBytes = plan.bytesOfD() * plan.columnsD();
    int swizzle = static_cast<int>(plan.storeSwizzle());
    if (config.groups)
      return raggedMap(operand, typeOfD(), config.n, rows, rowBytes, box, swizzle);
    return {operand, typeOfD(), {plan.columnsD(), m}, {rowBytes}, box, swizzle, 256};
  }
  void addGroups(TensorMapParameter &map, const SizeExpr &strideBytes) const {
    map.dim.push_back(config.groups);
    map.strideBytes.push_back(strideBytes);
    map.box.push_back(1);
  }

  void addCounts(RecipeBuilder &to) const {
    Operand counts = {config.isMasked() ? "counts" : "ends", "i32", false, {config.groups}};
    if (!config.topK)
      return to.addPointer(counts);
    // What a program has: where each group begins, and where the last one ends.
    to.addPointer({"offsets", "i32", false, {config.groups + 1}});
    std::get<PointerParameter>(to.recipe.parameters.back()).offsetBytes = sizeof(int32_t);
  }

  void addScratch(RecipeBuilder &to) const {
    // Also those of a block beyond the matrix.
    SizeExpr clustersM = SizeExpr::ceilDiv(m, plan.rowsAtATime());
    SizeExpr fragments = clustersM * SizeExpr(plan.clusterM() * plan.paddedTilesN() * plan.slices());
    Operand workspace = {"workspace", "f32", true, {fragments * config.splitK, plan.arch.wgmmaRows * plan.wgmmaN()}};
    Operand counters = {"counters", "i32", true, {fragments}};
    workspace.scratch = counters.scratch = counters.zeroed = true;
    to.addPointer(workspace);
    to.addPointer(counters);
  }

  const GemmPlan &plan;
  const GemmConfig &config;
  SizeExpr m, rows;
  int64_t pitch, kBlocks;
};
} // namespace

/// What the kernel was built from; options that are off are left out.
static std::map<std::string, int64_t> describe(const GemmPlan &plan) {
  const GemmConfig &config = plan.config;
  std::map<std::string, int64_t> json = {
      {"n", config.n}, {"k", config.k}, {"block_m", config.blockM}, {"block_n", config.blockN}, {"stages", plan.stages}};
  auto addIf = [&](bool on, const char *key, int64_t value) {
    if (on)
      json[key] = value;
  };
  addIf(config.groups > 0, "groups", config.groups);
  addIf(config.isMasked(), "masked", 1);
  addIf(config.groupAlignment > 1, "group_alignment", config.groupAlignment);
  addIf(config.topK > 0, "top_k", config.topK);
  addIf(config.swiglu, "swiglu", 1);
  addIf(config.powerOfTwoScales, "power_of_two_scales", 1);
  addIf(config.swapAB, "swap_ab", 1);
  addIf(config.multicast == Multicast::a, "multicast_a", 1);
  addIf(config.multicast == Multicast::b, "multicast_b", 1);
  addIf(config.splitK > 1, "split_k", config.splitK);
  addIf(config.bias, "bias", 1);
  addIf(config.accumulate, "accumulate", 1);
  addIf(config.outputType == OutputType::f32, "f32", 1);
  addIf(config.element == GemmElement::i8, "int8", 1);
  addIf(config.element == GemmElement::bf16, "bf16", 1);
  addIf(config.bf16Scales, "bf16_scales", 1);
  addIf(config.isAbsorb(), "absorb", 1);
  if (config.isMla())
    json.insert({{"heads", config.mla.heads},
                 {"nope_dim", config.mla.nopeDim},
                 {"rope_dim", config.mla.ropeDim},
                 {"v_dim", config.mla.vDim}});
  addIf(config.mla.completes, "completes", 1);
  addIf(config.mla.interleaved, "interleaved", 1);
  return json;
}

/// Tiles of clusters along M, or as many as there can be.
static SizeExpr cellsM(const GemmPlan &plan) {
  const GemmConfig &config = plan.config;
  if (config.isMasked())
    return times(config.groups, SizeExpr::ceilDiv(Dim::M, plan.rowsAtATime()));
  SizeExpr cells = SizeExpr::ceilDiv(allRows(plan), plan.rowsAtATime());
  // Each group that has rows may end in a tile that is cut off.
  return config.groups ? cells + SizeExpr::min(config.groups, allRows(plan)) : cells;
}

/// The largest M that counts of tiles and rows in 32 bits allow.
static int64_t largestM(const GemmPlan &plan) {
  const GemmConfig &config = plan.config;
  int64_t tilesM = kMaxTiles / (plan.paddedTilesN() * config.splitK * plan.slices()) - config.groups;
  int64_t spare = plan.rowsAtATime() + (config.groups ? config.groupAlignment : 0);
  int64_t rows = (int64_t(1) << 31) - spare;
  // The index of D's last scale.
  if (config.swiglu)
    rows = rows / (config.n / kScaleBlock) - abi::kKMajorRowMultiple;
  return std::max<int64_t>(0, std::min(tilesM * config.blockM, rows)) / plan.rowsPerM();
}

LaunchRecipe gemmRecipe(const GemmPlan &plan, const std::string &symbolName) {
  RecipeBuilder to;
  LaunchRecipe &recipe = to.recipe;
  GemmOperands(plan).addTo(to);
  recipe.kernel = symbolName;
  recipe.arch = machine::kSm90a.name;
  recipe.programmatic = true;
  recipe.block = {plan.threads(), 1, 1};
  recipe.cluster = {plan.cluster(), 1, 1};
  recipe.dynamicSharedBytes = plan.sharedBytes;
  // Persistent: at most one block per multiprocessor, each walks its share of the tiles; the blocks of a cluster walk together.
  SizeExpr cells = cellsM(plan) * SizeExpr(plan.paddedTilesN() / plan.clusterN() * plan.config.splitK);
  SizeExpr sms = Dim::Sms;
  recipe.grid = plan.cluster() == 1 ? SizeExpr::min(sms, cells) : SizeExpr(2) * SizeExpr::min(SizeExpr::ceilDiv(sms, 2), cells);
  recipe.limits = {{Dim::M, largestM(plan)}};
  recipe.config = describe(plan);
  return std::move(to.recipe);
}

} // namespace quant::nvvm
