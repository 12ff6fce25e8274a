//===- Fp8Gemm.cpp - limits, plan, recipe and entry points -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Fp8Gemm.h"
#include "lowering/target/sm90/Fp8GemmKernel.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <algorithm>
#include <numeric>

using namespace mlir;

namespace quant::nvvm {

/// Tiles are counted in i32, and the loop over them steps past the end by up to one grid.
static constexpr int64_t kMaxTiles = int64_t(1) << 30;
/// TMA wants rows in global memory that begin at multiples of this.
static constexpr int64_t kRowAlignment = 16;

std::string Fp8GemmConfig::symbolName() const {
  std::string name = "sm90_fp8_gemm_1d2d_n" + std::to_string(n) + "_k" + std::to_string(k) + "_bm" + std::to_string(blockM) +
                     "_bn" + std::to_string(blockN);
  if (stages)
    name += "_st" + std::to_string(stages);
  if (swapAB)
    name += "_swap";
  if (multicast != Multicast::none)
    name += multicast == Multicast::a ? "_mca" : "_mcb";
  if (splitK != 1)
    name += "_sk" + std::to_string(splitK);
  if (bias)
    name += "_bias";
  if (accumulate)
    name += "_acc";
  return outputType == OutputType::f32 ? name + "_f32" : name;
}

int64_t Fp8GemmConfig::tilesPerGroup() const {
  constexpr int64_t kMultiprocessors = 132;
  int64_t rows = clusterM() * blockM, columns = clusterN() * blockN, clusters = kMultiprocessors / cluster();
  auto readBy = [&](int64_t group) { return group * rows + Fp8GemmPlan::ceilDiv(clusters, group) * columns; };
  // Of two that read the same, the larger one comes back to the weight less often.
  return readBy(8) < readBy(16) ? 8 : 16;
}

//===----------------------------------------------------------------------===//
// Plan
//===----------------------------------------------------------------------===//

static int64_t alignTo(int64_t size, int64_t alignment) { return (size + alignment - 1) / alignment * alignment; }

Fp8GemmPlan::Fp8GemmPlan(const Fp8GemmConfig &config) : config(config) {
  constexpr int64_t kMaxWarpgroups = 2, kBarrierBytes = 8, kFlagBytes = 4, kTileAlignment = 1024, kScaleAlignment = 128;
  int64_t pieces = (config.swapAB ? config.blockN : config.blockM) / hopper::kWgmmaRows;
  warpgroups = std::min(pieces, kMaxWarpgroups);
  waves = pieces / warpgroups;
  int64_t fixed = alignTo(config.blockM * config.blockN * bytesOfD(), kScaleAlignment);
  if (config.splitK > 1)
    fixed += warpgroups * kFlagBytes;
  fixed = alignTo(fixed, kTileAlignment);
  int64_t scaleBytes = alignTo(config.blockM * static_cast<int64_t>(sizeof(float)), kScaleAlignment);
  int64_t perStage = (config.blockM + config.blockN) * kBlockK + scaleBytes + 2 * kBarrierBytes;
  stages = config.stages ? config.stages : (hopper::kSharedBytesPerBlock - fixed) / perStage;
  sharedBytes = fixed + stages * perStage;
}

int64_t Fp8GemmPlan::columnsOfScale() const {
  return kBlockK % config.blockN == 0 ? config.blockN : std::gcd(config.blockN, kBlockK);
}

int64_t Fp8GemmPlan::unroll() const {
  // Registers decide: sums and accumulators are 2 x 64 for a tile of 128 x 128, with swapAB also the columns' scales. Parts of K
  // have no fixed length.
  if (waves > 1 || fragmentColumns() > (config.swapAB ? 96 : 128) || columnsOfScale() != config.blockN || config.splitK > 1)
    return 1;
  for (int64_t factor : {4, 3, 2})
    if (kBlocks() % factor == 0)
      return factor;
  return 1;
}

int64_t Fp8GemmPlan::earlyBlocks() const { return std::min(stages, kBlocks() / config.splitK); }

int64_t Fp8GemmPlan::storeSwizzle() const {
  int64_t rowBytes = stagingColumns() * bytesOfD();
  return rowBytes % 128 == 0 ? 128 : rowBytes % 64 == 0 ? 64 : 32;
}

//===----------------------------------------------------------------------===//
// Limits
//===----------------------------------------------------------------------===//

/// Why there is no such tile, or null.
static const char *refuseTile(const Fp8GemmConfig &config) {
  if (config.swapAB) {
    if (config.blockN != 64 && config.blockN != 128)
      return "with swapAB blockN must be 64 or 128";
    if (config.blockM != 8 && (config.blockM < 16 || config.blockM > 128 || config.blockM % 16))
      return "with swapAB blockM must be 8 or a multiple of 16 up to 128";
    if (config.blockM == 8 && config.multicast == Multicast::a)
      return "blocks that share A load half of it each: 8 rows at least, so that blockM must be 16 or more";
    return nullptr;
  }
  if (config.blockM != 64 && config.blockM != 128 && config.blockM != 256)
    return "blockM must be 64, 128 or 256 (8 to 128 with swapAB)";
  if (config.blockN < 16 || config.blockN > 192 || config.blockN % 16)
    return "blockN must be a multiple of 16 from 16 to 192";
  if (config.blockM == 256 && config.blockN > 128)
    return "with blockM = 256 blockN must be at most 128: two pieces' sums and one's products live in 232 registers";
  return nullptr;
}

Result<void> checkFp8Gemm(const Fp8GemmConfig &config) {
  auto refuse = [&](const std::string &why) { return fail(config.symbolName() + ": " + why); };
  if (config.n <= 0 || config.n % 8)
    return refuse("N must be a positive multiple of 8, since TMA needs rows of bf16 D that are multiples of 16 bytes");
  if (config.k <= 0)
    return refuse("K must be positive");
  if (const char *why = refuseTile(config))
    return refuse(why);
  // Columns, K and the index of a scale of B are i32 in the kernel.
  constexpr int64_t kMaxDim = int64_t(1) << 24;
  if (config.n > kMaxDim || config.k > kMaxDim)
    return refuse("N and K must be at most " + std::to_string(kMaxDim));
  Fp8GemmPlan plan(config);
  if (config.splitK < 1 || config.splitK > plan.kBlocks())
    return refuse("splitK must be from 1 to the " + std::to_string(plan.kBlocks()) + " blocks of K");
  if (config.stages < 0)
    return refuse("stages must not be negative");
  if (plan.sharedBytes > hopper::kSharedBytesPerBlock)
    return refuse(std::to_string(config.stages) + " stages need " + std::to_string(plan.sharedBytes) +
                  " bytes of shared memory, a block has " + std::to_string(hopper::kSharedBytesPerBlock));
  return {};
}

//===----------------------------------------------------------------------===//
// Recipe
//===----------------------------------------------------------------------===//

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
  SizeExpr m = SizeExpr::dim("M"), paddedM = SizeExpr(4) * SizeExpr::ceilDiv(m, 4), n = config.n, k = config.k;
  int64_t pitch = alignTo(config.k, kRowAlignment), kBlocks = plan.kBlocks();
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
  SizeExpr scaleStride = SizeExpr(16) * SizeExpr::ceilDiv(m, 4);
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
    SizeExpr clustersM = SizeExpr::ceilDiv(m, config.blockM * config.clusterM());
    SizeExpr fragments = clustersM * SizeExpr(config.clusterM() * plan.paddedTilesN() * plan.pieces());
    Operand workspace = {"workspace", "f32", true, {fragments * config.splitK, hopper::kWgmmaRows * plan.fragmentColumns()}};
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

static LaunchRecipe recipeOf(const Fp8GemmPlan &plan, const std::string &symbolName) {
  const Fp8GemmConfig &config = plan.config;
  RecipeBuilder to;
  LaunchRecipe &recipe = to.recipe;
  addOperands(to, plan);
  recipe.kernel = symbolName;
  recipe.programmatic = true;
  recipe.block = {plan.threads(), 1, 1};
  recipe.cluster = {config.cluster(), 1, 1};
  recipe.dynamicSharedBytes = plan.sharedBytes;
  // Persistent: at most one block per multiprocessor, each walks its share of the tiles; the blocks of a cluster walk together.
  SizeExpr cells = SizeExpr::ceilDiv(SizeExpr::dim("M"), config.blockM * config.clusterM()) *
                   SizeExpr(plan.paddedTilesN() / config.clusterN() * config.splitK);
  SizeExpr sms = SizeExpr::dim("sms");
  recipe.grid = config.cluster() == 1 ? SizeExpr::min(sms, cells) : SizeExpr(2) * SizeExpr::min(SizeExpr::ceilDiv(sms, 2), cells);
  int64_t tilesOfRow = plan.paddedTilesN() * config.splitK * plan.pieces();
  recipe.limits = {
      {"M", std::min(kMaxTiles / tilesOfRow * config.blockM, (int64_t(1) << 31) - config.clusterM() * config.blockM)}};
  recipe.config = describe(plan);
  return std::move(to.recipe);
}

//===----------------------------------------------------------------------===//
// Entry points
//===----------------------------------------------------------------------===//

Result<LaunchRecipe> buildFp8Gemm(gpu::GPUModuleOp gpuModule, const Fp8GemmConfig &config, std::string symbolName) {
  if (auto ok = checkFp8Gemm(config); !ok)
    return tl::unexpected(ok.error());
  if (symbolName.empty())
    symbolName = config.symbolName();
  if (gpuModule.lookupSymbol(symbolName))
    return fail("gpu.module @" + gpuModule.getName().str() + " already has a symbol " + symbolName);
  Fp8GemmPlan plan(config);
  HopperBuilder builder(gpuModule.getLoc(), gpuModule.getContext());
  builder.setInsertionPointToEnd(gpuModule.getBody());
  emitFp8Gemm(builder, plan, symbolName);
  return recipeOf(plan, symbolName);
}

Result<CompiledKernel> compileAlone(function_ref<Result<LaunchRecipe>(gpu::GPUModuleOp)> build, const AssemblerOptions &options) {
  DialectRegistry registry;
  registerNvvmLowering(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  OpBuilder builder(module->getBodyRegion());
  auto gpuModule = gpu::GPUModuleOp::create(builder, module->getLoc(), "kernels");
  Result<LaunchRecipe> recipe = build(gpuModule);
  if (!recipe)
    return tl::unexpected(recipe.error());
  Result<PtxText> ptx = compileToPtx(gpuModule, recipe->kernel + ".mlir");
  if (!ptx)
    return tl::unexpected(ptx.error());
  Result<GpuArtifact> artifact = assemble(std::move(ptx->ptx), options);
  if (!artifact)
    return tl::unexpected(artifact.error());
  artifact->ir = std::move(ptx->ir);
  return CompiledKernel{std::move(*recipe), std::move(*artifact)};
}

Result<CompiledKernel> compileFp8Gemm(const Fp8GemmConfig &config, const AssemblerOptions &options) {
  return compileAlone([&](gpu::GPUModuleOp gpuModule) { return buildFp8Gemm(gpuModule, config); }, options);
}

} // namespace quant::nvvm
