//===- FuseSwiglu.cpp - gate|up, SwiGLU and quantization as one op ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/machine/GemmPlan.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace quant {
#define GEN_PASS_DEF_FUSESWIGLU
#include "passes/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::qblock;

namespace {

/// Whether a value is cut in two and used for nothing else, but for its size.
bool isCutInTwo(Value value) {
  auto users = llvm::make_filter_range(value.getUsers(), [](Operation *user) { return !isa<tensor::DimOp>(user); });
  return llvm::range_size(users) == 2 && llvm::all_of(users, llvm::IsaPred<tensor::ExtractSliceOp>);
}

/// The grouped matmul whose columns from `first` on, as many as `half` has, a value is; null if it is none, or is used otherwise.
GroupedMatmulOp halfOf(Value half, int64_t first) {
  auto slice = half.getDefiningOp<tensor::ExtractSliceOp>();
  if (!slice || !slice.hasUnitStride() || slice.getStaticOffsets().back() != first)
    return {};
  auto extended = slice.getSource().getDefiningOp<arith::ExtFOp>();
  auto matmul = extended ? extended.getIn().getDefiningOp<GroupedMatmulOp>() : GroupedMatmulOp();
  bool isAlone = matmul && matmul->hasOneUse() && isCutInTwo(extended);
  return isAlone ? matmul : GroupedMatmulOp();
}

bool isCodes(BlockTensorType type, ArrayRef<int64_t> block) {
  return type && isa<Float8E4M3FNType>(type.getStorageType()) && type.getScaleType().isF32() && type.getBlock() == block;
}

struct FuseIntoMatmul : OpRewritePattern<deepseek::SwigluOp> {
  FuseIntoMatmul(MLIRContext *context, Pass::Statistic &fused) : OpRewritePattern(context), fused(fused) {}

  LogicalResult matchAndRewrite(deepseek::SwigluOp op, PatternRewriter &rewriter) const override {
    constexpr double kAmaxFloor = 1e-4;
    auto type = op.getQuantized() ? cast<BlockTensorType>(op.getQuantized().getType()) : BlockTensorType();
    if (!isCodes(type, {1, 1, 128}) || !type.getKMajorScales() || op.getAmaxFloor().convertToDouble() != kAmaxFloor)
      return rewriter.notifyMatchFailure(op, "does not quantize experts' rows as the tensor cores' kernel does");
    if (!op.getResult().use_empty())
      return rewriter.notifyMatchFailure(op, "its floating-point result has users");
    int64_t columns = type.getShape().back();
    GroupedMatmulOp matmul = halfOf(op.getGate(), 0);
    if (!matmul || matmul != halfOf(op.getUp(), columns))
      return rewriter.notifyMatchFailure(op,
                                         "gate and up are not the halves of one grouped matmul that is used for nothing else");
    if (std::string why = refuse(matmul, columns); !why.empty())
      return rewriter.notifyMatchFailure(op, why);
    auto all = GroupedSwigluOp::create(rewriter, rewriter.getFusedLoc({matmul.getLoc(), op.getLoc()}), type, matmul.getX(),
                                       matmul.getW(), matmul.getOffsets(), op.getPowerOfTwo());
    rewriter.replaceAllUsesWith(op.getQuantized(), all);
    rewriter.eraseOp(op);
    ++fused;
    return success();
  }

private:
  Pass::Statistic &fused;

  /// Why the kernel does not compute it, or nothing.
  static std::string refuse(GroupedMatmulOp matmul, int64_t columns) {
    auto x = dyn_cast<BlockTensorType>(matmul.getX().getType()), w = dyn_cast<BlockTensorType>(matmul.getW().getType());
    if (!isCodes(x, {1, 1, 128}) || !x.getKMajorScales() || !isCodes(w, {1, 128, 128}) || matmul.getRows())
      return "x and w are not FP8 in the blocks that the kernel reads";
    if (!cast<ShapedType>(matmul.getType()).getElementType().isBF16() || w.getShape()[1] != 2 * columns)
      return "gate and up are not all of a result in bf16";
    if (w.getShape()[2] % machine::kSm90a.tmaAlignment)
      return "rows do not begin at multiples of 16 bytes";
    machine::GemmConfig config{.n = columns, .k = w.getShape()[2], .groups = w.getShape()[0], .swiglu = true};
    config.topK = x.getShape()[1];
    auto checked = machine::checkGemm(config);
    return checked ? std::string() : checked.error().message;
  }
};

struct FuseSwiglu : quant::impl::FuseSwigluBase<FuseSwiglu> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseIntoMatmul>(&getContext(), fused);
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
