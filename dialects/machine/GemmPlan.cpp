//===- GemmPlan.cpp - the matmul's configurations, worked out -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/GemmPlan.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

namespace quant::machine {

std::string GemmConfig::symbolName() const {
  std::string name = isFp8() ? "sm90_fp8" : element == GemmElement::i8 ? "sm90_int8" : "sm90_bf16";
  if (isMla())
    name +=
        fmt::format("_mla_{}_h{}_d{}_r{}_v{}", isAbsorb() ? "absorb" : "expand", mla.heads, mla.nopeDim, mla.ropeDim, mla.vDim);
  else
    name += groups ? "_grouped_gemm" : "_gemm";
  if (isFp8())
    name += "_1d2d";
  if (groups)
    name += "_g" + std::to_string(groups);
  if (isMasked())
    name += "_masked";
  if (groupAlignment != 1)
    name += "_align" + std::to_string(groupAlignment);
  if (topK)
    name += "_top" + std::to_string(topK);
  name += "_n" + std::to_string(n) + "_k" + std::to_string(k) + "_bm" + std::to_string(blockM) + "_bn" + std::to_string(blockN);
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
  if (swiglu)
    name += powerOfTwoScales ? "_swiglu_ue8m0" : "_swiglu";
  if (bf16Scales)
    name += "_bf16scales";
  if (mla.completes)
    name += mla.interleaved ? "_rope" : "_halves";
  return outputType == OutputType::f32 ? name + "_f32" : name;
}

GemmConfig mlaGemmConfig(const MlaProjection &mla, int64_t latents) {
  bool isAbsorb = mla.kind == MlaProjection::Kind::absorb;
  int64_t headN = isAbsorb ? latents : mla.vDim;
  GemmConfig config{.n = mla.heads * headN, .k = isAbsorb ? mla.nopeDim : latents, .element = GemmElement::bf16, .mla = mla};
  config.blockN = std::gcd(config.blockN, headN);
  return config;
}

//===----------------------------------------------------------------------===//
// Plan
//===----------------------------------------------------------------------===//

/// Bytes of shared memory beside the stages, in the order in which the kernel allocates: D's staging, one flag for each
/// warpgroup, the table of groups.
static int64_t fixedSharedBytes(const GemmPlan &plan) {
  constexpr int64_t kFlagBytes = 4;
  const GemmConfig &config = plan.config;
  int64_t bytes = alignTo(config.blockM * config.blockN * plan.bytesOfD(), plan.arch.tmaTileAlignment);
  if (config.splitK > 1)
    bytes += plan.warpgroups * kFlagBytes;
  bytes += plan.groupTableBytes();
  return alignTo(bytes, swizzleAlignment(kBlockBytes));
}

/// Bytes of shared memory of a stage: swizzled A and B, A's scales, a full and an empty barrier.
static int64_t sharedBytesPerStage(const GemmPlan &plan) {
  const GemmConfig &config = plan.config;
  int64_t scaleBytes = alignTo(plan.scaleBytesPerStage(), plan.arch.tmaTileAlignment);
  return (config.blockM + config.weights() * config.blockN) * kBlockBytes + scaleBytes + 2 * plan.arch.mbarrierBytes;
}

static int64_t bestTilesPerGroup(const GemmPlan &plan, int64_t sms) {
  int64_t rows = plan.clusterM() * plan.config.blockM, columns = plan.clusterN() * plan.config.blockN;
  int64_t clusters = sms / plan.cluster();
  auto readBy = [&](int64_t group) { return group * rows + ceilDiv(clusters, group) * columns; };
  // Of two that read the same, the larger one comes back to the weight less often.
  return readBy(8) < readBy(16) ? 8 : 16;
}

GemmPlan::GemmPlan(const GemmConfig &config, const Gpu &gpu) : config(config), arch(gpu.arch) {
  constexpr int64_t kMaxWarpgroups = 2;
  warpgroups = std::min(slices(), kMaxWarpgroups);
  int64_t fixed = fixedSharedBytes(*this), perStage = sharedBytesPerStage(*this);
  stages = config.stages ? config.stages : (arch.sharedBytesPerBlock - fixed) / perStage;
  sharedBytes = fixed + stages * perStage;
  tilesPerGroup = bestTilesPerGroup(*this, gpu.sms);
}

int64_t GemmPlan::columnsOfScale() const {
  return kScaleBlock % config.blockN == 0 ? config.blockN : std::gcd(config.blockN, kScaleBlock);
}

int64_t GemmPlan::unroll() const {
  // Registers decide: sums and accumulators are 2 x 64 for a tile of 128 x 128, with swapAB also the columns' scales. Parts of K
  // have no fixed length.
  bool isTight = productsPerWarpgroup() > 1 || wgmmaN() > (config.swapAB ? 96 : 128) || columnsOfScale() != config.blockN;
  if ((config.isFp8() && isTight) || config.splitK > 1)
    return 1;
  for (int64_t factor : {4, 3, 2})
    if (kBlocks() % factor == 0)
      return factor;
  return 1;
}

int64_t GemmPlan::earlyBlocks() const { return std::min(stages, kBlocks() / config.splitK); }

int64_t GemmPlan::loadedBytesPerStage() const {
  return (config.blockM + config.weights() * config.blockN) * kBlockBytes + scaleBytesPerStage();
}

int64_t GemmPlan::storeSwizzle() const {
  int64_t rowBytes = stagingColumns() * bytesOfD();
  return rowBytes % 128 == 0 ? 128 : rowBytes % 64 == 0 ? 64 : 32;
}

//===----------------------------------------------------------------------===//
// Limits
//===----------------------------------------------------------------------===//

/// Why there is no such tile, or null.
static const char *refuseTile(const GemmConfig &config) {
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
  if (config.blockN < 16 || config.blockN > (config.isFp8() ? 192 : 256) || config.blockN % 16)
    return config.isFp8() ? "blockN must be a multiple of 16 from 16 to 192" : "blockN must be a multiple of 16 from 16 to 256";
  if (config.blockM == 256 && config.blockN > 128)
    return "with blockM = 256 blockN must be at most 128: two slices' sums and one's products live in 232 registers";
  return nullptr;
}

/// Why there are no such groups, or nothing.
static std::string refuseGroups(const GemmConfig &config, const GemmPlan &plan) {
  constexpr int64_t kMaxAlignment = 1 << 16, kMaxTopK = 256, kMaxScales = int64_t(1) << 31;
  if (config.groups < 0 || config.groups > kMaxGroups)
    return "there are 1 to " + std::to_string(kMaxGroups) + " groups, not " + std::to_string(config.groups);
  if (config.bias || config.splitK != 1)
    return "groups of rows take neither a bias nor a split K";
  if (config.groupAlignment < 1 || config.groupAlignment > kMaxAlignment || config.topK < 0 || config.topK > kMaxTopK)
    return "groups begin at multiples of 1 to " + std::to_string(kMaxAlignment) + " rows, and a token is in at most " +
           std::to_string(kMaxTopK);
  if (config.isMasked() && (config.groupAlignment != 1 || config.topK))
    return "masked groups, each in a place of its own, take neither an alignment nor a top-k";
  if (config.groups * (config.isFp8() ? plan.scaleRowsB() * plan.kBlocks() : plan.rowsB()) >= kMaxScales)
    return "the scales of all groups' weights are more than the kernel counts, 2^31";
  return {};
}

/// Why D cannot be quantized, or null.
static const char *refuseSwiglu(const GemmConfig &config) {
  if (!config.isFp8())
    return "swiglu is of f8E4M3FN";
  if (config.n % kScaleBlock || config.blockN != kScaleBlock)
    return "with swiglu N must be a multiple of 128 and blockN 128: a row's scale is that of 128 columns";
  if (config.swapAB || (config.blockM != 64 && config.blockM != 128))
    return "with swiglu blockM must be 64 or 128, without swapAB: sums of gate and up live in 232 registers";
  if (config.bias || config.accumulate || config.splitK != 1 || config.outputType != OutputType::bf16)
    return "swiglu takes neither a bias, an accumulation, a split K nor an output type: D is f8E4M3FN";
  return nullptr;
}

/// Why there are no such products of heads, or nothing.
static std::string refuseMla(const GemmConfig &config) {
  const MlaProjection &mla = config.mla;
  constexpr int64_t kMaxHeads = 1024, kMaxHeadDim = 1 << 16;
  // A transposed B lies in panels of 64 columns.
  int64_t step = config.isAbsorb() ? 64 : 16, blockK = kBlockBytes / config.elementBytes();
  if (config.element != GemmElement::bf16)
    return "kv_b must be bf16";
  if (config.groups || config.bias || config.accumulate || config.splitK != 1 || config.multicast != Multicast::none)
    return "products of heads take no groups of rows, no bias, accumulation, split K or cluster";
  if (config.swapAB && config.isAbsorb())
    return "absorb takes no swapAB: wgmma would read both operands transposed";
  if (mla.heads < 1 || mla.heads > kMaxHeads || config.n % mla.heads)
    return "there are 1 to " + std::to_string(kMaxHeads) + " heads, and N is a multiple of their number, " +
           std::to_string(mla.heads);
  if (std::max({mla.nopeDim, mla.ropeDim, mla.vDim}) > kMaxHeadDim || std::min({mla.nopeDim, mla.ropeDim, mla.vDim}) < 0)
    return "nope_dim, rope_dim and v_dim must be from 0 to " + std::to_string(kMaxHeadDim);
  if (config.k % blockK)
    return std::string(config.isAbsorb() ? "nope_dim" : "the latents") + ", " + std::to_string(config.k) +
           ", must be a multiple of " + std::to_string(blockK) + ": what lies behind them is the next head's";
  if (config.headN() % step)
    return std::string(config.isAbsorb() ? "the latents" : "v_dim") + ", " + std::to_string(config.headN()) +
           ", must be a multiple of " + std::to_string(step) + ": a tile is one head's";
  if (config.headN() % config.blockN || config.blockN % step)
    return "blockN, " + std::to_string(config.blockN) + ", must be a multiple of " + std::to_string(step) + " that divides " +
           std::to_string(config.headN());
  if ((mla.completes && (!config.isAbsorb() || mla.ropeDim == 0)) || mla.ropeDim % 8)
    return "rope_dim, " + std::to_string(mla.ropeDim) + ", must be a multiple of 8, and only absorb turns queries";
  return {};
}

/// Why the elements do not go with the rest, or null.
static const char *refuseElement(const GemmConfig &config) {
  if (config.bf16Scales && config.element != GemmElement::i8)
    return "only scales of an INT8 weight can be bf16";
  if (config.element == GemmElement::i8 && config.splitK != 1)
    return "INT8 takes no split K: parts are added as f32, and its sums are exact integers";
  // |sum| <= K 2^14 in an i32.
  if (config.element == GemmElement::i8 && config.k > (int64_t(1) << 17) - 1)
    return "K of INT8 must be at most 131071, so that sums fit 32 bits";
  return nullptr;
}

Result<void> checkGemm(const GemmConfig &config, const Gpu &gpu) {
  auto refuse = [&](const std::string &why) { return fail(config.symbolName() + ": " + why); };
  if (config.n <= 0 || config.n % 8)
    return refuse("N must be a positive multiple of 8, since TMA needs rows of bf16 D that are multiples of 16 bytes");
  if (config.k <= 0)
    return refuse("K must be positive");
  if (std::string why = config.isMla() ? refuseMla(config) : std::string(); !why.empty())
    return refuse(why);
  if (const char *why = refuseTile(config))
    return refuse(why);
  if (const char *why = refuseElement(config))
    return refuse(why);
  // Columns, K and the index of a scale of B are i32 in the kernel.
  constexpr int64_t kMaxDim = int64_t(1) << 24;
  if (config.n > kMaxDim || config.k > kMaxDim)
    return refuse("N and K must be at most " + std::to_string(kMaxDim));
  GemmPlan plan(config, gpu);
  if (config.splitK < 1 || config.splitK > plan.kBlocks())
    return refuse("splitK must be from 1 to the " + std::to_string(plan.kBlocks()) + " blocks of K");
  if (const char *why = config.swiglu ? refuseSwiglu(config) : nullptr)
    return refuse(why);
  if (config.powerOfTwoScales && !config.swiglu)
    return refuse("only a quantized D has scales (swiglu)");
  if (std::string why = config.groups ? refuseGroups(config, plan) : std::string(); !why.empty())
    return refuse(why);
  if (config.stages < 0)
    return refuse("stages must not be negative");
  if (plan.sharedBytes > gpu.arch.sharedBytesPerBlock)
    return refuse(std::to_string(config.stages) + " stages need " + std::to_string(plan.sharedBytes) +
                  " bytes of shared memory, a block has " + std::to_string(gpu.arch.sharedBytesPerBlock));
  return {};
}

} // namespace quant::machine
