//===- Sm90Scheduler.cpp - schedules of H100/H200 kernels -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/hopper/GemmSchedule.h"
#include "dialects/hopper/MlaDecodeSchedule.h"
#include "dialects/machine/Gpu.h"
#include "passes/schedule/AttentionCost.h"
#include "passes/schedule/ChooseVariants.h"
#include "passes/schedule/Scheduler.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>

using namespace mlir;
using namespace quant;

namespace {

/// Weight rows of a block of plain threads: a warp for each row of a matmul's, eight for each warp of a grouped one's.
constexpr int64_t kTileRows = 4, kGroupedTileRows = 32;

bool isFp8Block(qblock::BlockTensorType type, ArrayRef<int64_t> block) {
  return type && isa<Float8E4M3FNType>(type.getStorageType()) && type.getScaleType().isF32() && type.getBlock() == block;
}

bool isInt8Rows(qblock::BlockTensorType type) {
  if (!type || !type.getStorageType().isSignlessInteger(8) || type.hasZeroPoint() || type.getZeroConstant())
    return false;
  int64_t rank = type.getRank();
  return type.getBlockExtent(rank - 2) == 1 && type.getBlockExtent(rank - 1) >= type.getDimSize(rank - 1);
}

/// What a matmul, grouped or not, asks of the kernel. K in one piece: then what a token's row is does not depend on how many
/// come with it.
schedule::GemmProblem problemOf(Operation *matmul) {
  machine::GemmConfig asked = hopper::getGemmConfig<deepseek::MlaAbsorbOp, deepseek::MlaExpandOp>(matmul);
  return {.n = asked.n,
          .k = asked.k,
          .outputType = asked.outputType,
          .allowSplitK = false,
          .groups = asked.groups,
          .topK = asked.topK,
          .swiglu = asked.swiglu,
          .powerOfTwoScales = asked.powerOfTwoScales,
          .element = asked.element,
          .bf16Scales = asked.bf16Scales,
          .mla = asked.mla};
}

/// Why FP8 codes are not what the kernel reads; empty if they are.
std::string refuseFp8(qblock::BlockTensorType x, qblock::BlockTensorType w, Type result) {
  bool isGrouped = w && w.getRank() == 3;
  if (!isFp8Block(w, isGrouped ? ArrayRef<int64_t>{1, 128, 128} : ArrayRef<int64_t>{128, 128}))
    return "the weight is not f8E4M3FN in 128x128 blocks with f32 scales";
  if (!isFp8Block(x, isGrouped ? ArrayRef<int64_t>{1, 1, 128} : ArrayRef<int64_t>{1, 128}) || !x.getKMajorScales())
    return "the activations are not f8E4M3FN in groups of 128 with k_major f32 scales";
  if (auto rows = dyn_cast<ShapedType>(result); rows && !rows.getElementType().isBF16())
    return "the result is not bf16";
  return {};
}

/// The same of INT8.
std::string refuseInt8(qblock::BlockTensorType x, qblock::BlockTensorType w) {
  if (!isInt8Rows(w))
    return "the weight is not i8 with a scale for each row";
  if (!w.getScaleType().isF32() && !w.getScaleType().isBF16())
    return "the weight's scales are neither f32 nor bf16";
  if (!isInt8Rows(x) || !x.getScaleType().isF32() || x.getKMajorScales())
    return "the activations are not i8 with an f32 scale for each row";
  return {};
}

bool isBf16(Type weight) {
  auto type = dyn_cast<RankedTensorType>(weight);
  return type && type.getElementType().isBF16();
}

bool isMla(Operation *op) { return isa<deepseek::MlaAbsorbOp, deepseek::MlaExpandOp>(op); }

/// The same of a weight in bf16.
std::string refuseBf16(Type x) {
  auto rows = dyn_cast<ShapedType>(x);
  if (!rows || !rows.getElementType().isBF16())
    return "x is not bf16 as the weight is (qblock-round-activations rounds it where the kernel reads its rows)";
  return {};
}

/// Why the kernel does not read the operands of mla_absorb or mla_expand beside kv_b in bf16; empty if it does.
std::string refuseMla(Operation *op) {
  if (!isBf16(op->getOperand(1).getType()))
    return "kv_b is not bf16: its blocks would have to be dequantized on their way to the tensor cores";
  if (auto absorb = dyn_cast<deepseek::MlaAbsorbOp>(op); absorb && absorb.getRope()) {
    auto table = dyn_cast<ShapedType>(absorb.getRope().getType());
    if (!table || !table.getElementType().isF32())
      return "the table of rope is not f32";
  }
  auto result = dyn_cast<ShapedType>(op->getResult(0).getType());
  if (!result || !(result.getElementType().isBF16() || result.getElementType().isF32()))
    return "the result is neither bf16 nor f32";
  return refuseBf16(op->getOperand(0).getType());
}

/// Why the tensor cores' kernels do not compute this matmul or grouped matmul; empty if they do.
std::string refuseGemm(Operation *matmul) {
  auto x = dyn_cast<qblock::BlockTensorType>(matmul->getOperand(0).getType()),
       w = dyn_cast<qblock::BlockTensorType>(matmul->getOperand(1).getType());
  auto grouped = dyn_cast<qblock::GroupedMatmulOp>(matmul);
  Type xType = matmul->getOperand(0).getType(), wType = matmul->getOperand(1).getType();
  std::string why = isMla(matmul)   ? refuseMla(matmul)
                    : isBf16(wType) ? refuseBf16(xType)
                    : isInt8Rows(w) ? refuseInt8(x, w)
                                    : refuseFp8(x, w, matmul->getResult(0).getType());
  if (!why.empty())
    return why;
  if (grouped && grouped.getRows())
    return "x is read row by row by a list: TMA reads neighbouring rows (qblock-gather-rows puts them there)";
  schedule::GemmProblem problem = problemOf(matmul);
  if (int64_t bytes = problem.k * problem.config().elementBytes(); bytes % machine::kSm90a.tmaAlignment)
    return llvm::formatv(
        "rows of {0} bytes: TMA reads rows that begin at multiples of {1} bytes, and a program's activations have "
        "no pitch",
        bytes, machine::kSm90a.tmaAlignment);
  auto checked = machine::checkGemm(problem.config());
  return checked ? std::string() : checked.error().message;
}

/// Why an op of many multiplications has no kernel on the tensor cores; empty for ops that have few.
std::string refuseOther(Operation *op) {
  if (auto core = dyn_cast<deepseek::MlaCoreOp>(op)) {
    auto config = hopper::getMlaDecodeConfig(core);
    return config ? "its queries are not complete (deepseek-decompose-mla=tensor-cores=true makes mla_decode)"
                  : config.error().message;
  }
  if (isa<WeightsOpInterface>(op))
    return "there is no kernel of " + op->getName().getStringRef().str() + " for the tensor cores yet";
  return {};
}

class Sm90Scheduler : public Scheduler {
public:
  Sm90Scheduler(machine::Gpu gpu, const SchedulerOptions &options) : gpu(std::move(gpu)), options(options) {}

  FailureOr<SmallVector<program::ScheduleAttr>> schedule(func::FuncOp kernel, Operation *op) const override {
    if (auto decode = dyn_cast<deepseek::MlaDecodeOp>(op))
      return onTensorCores(decode);
    bool isMatmul = isMla(op) || isa<qblock::MatmulOp, qblock::GroupedMatmulOp, qblock::GroupedSwigluOp>(op);
    std::string why = isMatmul ? refuseGemm(op) : refuseOther(op);
    if (!isMatmul || !why.empty())
      return SmallVector{onThreads(kernel, op, why)};
    return onTensorCores(op);
  }

private:
  machine::Gpu gpu;
  SchedulerOptions options;

  /// A kernel of plain threads; `why` where the tensor cores would be faster, which is remarked, too.
  static program::ScheduleAttr onThreads(func::FuncOp kernel, Operation *op, const std::string &why) {
    Builder builder(op->getContext());
    SmallVector<NamedAttribute> parameters;
    if (isa<qblock::MatmulOp, qblock::GroupedMatmulOp>(op)) {
      int64_t rows = isa<qblock::MatmulOp>(op) ? kTileRows : kGroupedTileRows;
      parameters.push_back(builder.getNamedAttr("tile", builder.getDenseI64ArrayAttr({0, rows, 0})));
    }
    StringAttr reason = why.empty() ? StringAttr() : builder.getStringAttr("no tensor cores: " + why);
    if (reason)
      kernel.emitRemark("runs on plain threads: ") << reason.getValue();
    return program::ScheduleAttr::get(op->getContext(), builder.getStringAttr("simt"), {}, builder.getDictionaryAttr(parameters),
                                      reason, {});
  }

  FailureOr<SmallVector<program::ScheduleAttr>> onTensorCores(deepseek::MlaDecodeOp decode) const {
    // A call of a few sequences in the middle of an answer, to say how long that takes.
    constexpr int64_t kTokens = 32, kKeys = 4096;
    auto config = hopper::getMlaDecodeConfig(decode);
    if (!config)
      return decode.emitError("has no kernel: ") << config.error().message;
    Builder builder(decode.getContext());
    schedule::MlaDecodeCost cost = schedule::predictMlaDecode(*config, kTokens, kKeys, gpu);
    std::string why = llvm::formatv(
        "{0} heads in {1} tile(s) of 64 rows for each token, blocks of {2} keys; {3} tokens with {4} keys each: {5:f1} us, "
        "most of it {6}",
        config->heads, config->tilesOfToken(), machine::MlaDecodeConfig::kBlock, kTokens, kKeys, cost.seconds * 1e6,
        schedule::costLimitName(cost.limit));
    return SmallVector{program::ScheduleAttr::get(decode.getContext(), builder.getStringAttr("tensor"), {},
                                                  builder.getDictionaryAttr({}), builder.getStringAttr(why), {})};
  }

  FailureOr<SmallVector<program::ScheduleAttr>> onTensorCores(Operation *matmul) const {
    schedule::GemmProblem problem = problemOf(matmul);
    schedule::VariantOptions limits;
    limits.maxM = options.maxTokens;
    limits.maxKernels = static_cast<size_t>(std::max<int64_t>(1, options.maxKernels));
    // All experts' weights are read through HBM whatever the tile is, so that tiles differ by little, of most of a model's time.
    if (problem.groups)
      limits.enough = 0.002;
    std::vector<schedule::GemmVariant> variants = schedule::chooseVariants(problem, gpu, limits);
    if (variants.empty())
      return matmul->emitError("no tile of the matmul fits ") << problem.n << " x " << problem.k;
    return llvm::map_to_vector(variants, [&](const schedule::GemmVariant &variant) {
      return attributeOf(matmul, problem, variant, variants.size() == 1);
    });
  }

  program::ScheduleAttr attributeOf(Operation *matmul, const schedule::GemmProblem &problem, const schedule::GemmVariant &variant,
                                    bool isOnly) const {
    Builder builder(matmul->getContext());
    // The middle of the range, in octaves.
    auto m = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(variant.minM) * static_cast<double>(variant.maxM))));
    schedule::RankedConfig choice{variant.config, schedule::predictCost(variant.config, m, gpu)};
    auto range = isOnly ? DenseI64ArrayAttr() : builder.getDenseI64ArrayAttr({variant.minM, variant.maxM});
    std::string why = llvm::formatv("at M = {0}: {1}", m, schedule::explainConfig(choice, m, gpu));
    return program::ScheduleAttr::get(matmul->getContext(), builder.getStringAttr("tensor"), range,
                                      hopper::getGemmParameters(builder, variant.config), builder.getStringAttr(why),
                                      builder.getStringAttr(secondBest(problem, choice, m)));
  }

  /// The best config of another form at M, and how much longer it takes.
  std::string secondBest(const schedule::GemmProblem &problem, const schedule::RankedConfig &choice, int64_t m) const {
    for (const schedule::RankedConfig &other : schedule::rankConfigs(problem, m, gpu, 2))
      if (!(other.config == choice.config))
        return llvm::formatv("{0}: {1:f1} us, this one {2:f1} us", other.config.symbolName(), other.cost.seconds * 1e6,
                             choice.cost.seconds * 1e6);
    return "there is no other";
  }
};

} // namespace

SchedulerResult quant::createSm90Scheduler(const SchedulerOptions &options, function_ref<InFlightDiagnostic()> emitError) {
  Result<machine::Gpu> gpu = machine::findGpu(options.gpu);
  if (!gpu)
    return emitError() << gpu.error().message;
  return std::unique_ptr<Scheduler>(std::make_unique<Sm90Scheduler>(std::move(*gpu), options));
}
