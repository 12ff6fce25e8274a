//===- HopperMath.cpp - wgmma, scales and promotion ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/HopperLowering.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace quant;
using namespace quant::hopper;

namespace quant::nvvm {

/// K of one e4m3 wgmma.
static constexpr int64_t kInstructionK = 32;
/// Matrix descriptors count in units of 16 bytes.
static constexpr int64_t kDescriptorShift = 4;
static constexpr unsigned kF32Bytes = 4;

/// An address of a swizzled tile in a descriptor's units. All terms of its sum are multiples of a unit, which only we know: so
/// the shift is done on what does not change in the loop.
static Value inUnits(Value address, HopperBuilder &b) {
  constexpr int64_t kUnit = int64_t(1) << kDescriptorShift;
  APInt constant;
  if (matchPattern(address, m_ConstantInt(&constant)) && constant.getSExtValue() % kUnit == 0)
    return b.int32(constant.getSExtValue() / kUnit);
  if (auto sum = address.getDefiningOp<arith::AddIOp>())
    return b.add(inUnits(sum.getLhs(), b), inUnits(sum.getRhs(), b));
  if (auto product = address.getDefiningOp<arith::MulIOp>())
    if (matchPattern(product.getRhs(), m_ConstantInt(&constant)) && constant.getSExtValue() % kUnit == 0)
      return b.mul(product.getLhs(), constant.getSExtValue() / kUnit);
  // In a cluster the address has the block's rank from bit 24 on, which is no part of the field.
  return b.bitAnd(b.shiftRight(address, kDescriptorShift), (int64_t(1) << 14) - 1);
}

namespace {
struct LowerWgmma : HopperPattern<WgmmaOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(WgmmaOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    Value lowA = inUnits(adaptor.getA(), b), lowB = inUnits(adaptor.getB(), b);
    b.wgmmaFence();
    Value acc;
    for (int64_t k = 0; k < op.getA().getType().getColumns(); k += kInstructionK) {
      // Along K the address moves inside the swizzle row; the hardware applies the XOR to the final address.
      Value descriptorA = b.swizzled128Descriptor(b.add(lowA, k >> kDescriptorShift));
      Value descriptorB = b.swizzled128Descriptor(b.add(lowB, k >> kDescriptorShift));
      acc = b.wgmmaE4M3(descriptorA, descriptorB, acc, op.getType().getColumns(), adaptor.getOver());
    }
    b.wgmmaCommit();
    rewriter.replaceOp(op, acc);
    return success();
  }
};

struct LowerWgmmaWait : HopperPattern<WgmmaWaitOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(WgmmaWaitOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    // Waiting for all: accumulators in flight over a loop's back edge make ptxas serialise the wgmmas (C7514). The other math
    // warpgroup keeps the tensor core busy while this one promotes.
    rewriter.replaceOp(op, b.pack(b.wgmmaWait(adaptor.getAccumulator(), op.getType().getColumns())));
    return success();
  }
};

struct LowerZero : HopperPattern<ZeroOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(ZeroOp op, Adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    rewriter.replaceOp(op, b.zeroVector(op.getType().getValues()));
    return success();
  }
};

struct LowerLoadRowScales : HopperPattern<LoadRowScalesOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(LoadRowScalesOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    Value row = b.add(adaptor.getFirst(), lowering.contextOf(op).fragmentRow(b));
    Value top = b.sharedPointer(b.add(adaptor.getTile(), b.mul(row, kF32Bytes)));
    rewriter.replaceOp(op, b.pack({b.load(b.f32(), top), b.load(b.f32(), b.offset(top, 8 * kF32Bytes))}));
    return success();
  }
};

struct LowerLoadColumnScales : HopperPattern<LoadColumnScalesOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(LoadColumnScalesOp op, Adaptor adaptor, HopperBuilder &b,
                      ConversionPatternRewriter &rewriter) const override {
    Value first = b.sharedPointer(b.add(adaptor.getTile(), b.mul(lowering.contextOf(op).fragmentColumn(b), kF32Bytes)));
    SmallVector<Value> scales;
    for (int64_t column = 0; column < op.getType().getColumns(); column += 8) {
      Value pair = b.load(VectorType::get(2, b.getF32Type()), b.offset(first, column * kF32Bytes), 2 * kF32Bytes);
      scales.append({b.extract(pair, 0), b.extract(pair, 1)});
    }
    rewriter.replaceOp(op, b.pack(scales));
    return success();
  }
};

struct LowerLoadBlockScale : HopperPattern<LoadBlockScaleOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(LoadBlockScaleOp op, Adaptor adaptor, HopperBuilder &b,
                      ConversionPatternRewriter &rewriter) const override {
    // The part of the index that does not change in the loop first, so that it is added before the loop.
    Value at = adaptor.getPointer();
    if (auto sum = adaptor.getIndex().getDefiningOp<arith::AddIOp>())
      at = b.at(b.at(at, b.f32(), sum.getLhs()), b.f32(), sum.getRhs());
    else
      at = b.at(at, b.f32(), adaptor.getIndex());
    rewriter.replaceOp(op, b.loadConstant(b.getF32Type(), at, kF32Bytes));
    return success();
  }
};

struct LowerPromote : HopperPattern<PromoteOp> {
  using HopperPattern::HopperPattern;

  LogicalResult lower(PromoteOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    SmallVector<Value> perValue;
    if (isa<ColumnScalesType>(op.getColumns()[0].getType()))
      scaleByColumn(op, adaptor, b, perValue);
    else
      scaleByShare(op, adaptor, b, perValue);
    rewriter.replaceOp(op, b.fma(b.pack(perValue), adaptor.getProducts(), adaptor.getSum()));
    return success();
  }

  /// The scale of the top (0) or bottom (1) row.
  static Value rowScale(PromoteOp op, Adaptor adaptor, HopperBuilder &b, int64_t row) {
    return isa<RowScalesType>(op.getRows().getType()) ? b.extract(adaptor.getRows(), row) : adaptor.getRows();
  }

  // A thread's values come in fours: two columns of its top row, two of its bottom row.

  static void scaleByShare(PromoteOp op, Adaptor adaptor, HopperBuilder &b, SmallVector<Value> &perValue) {
    int64_t valuesOfShare = op.getType().getValues() / static_cast<int64_t>(op.getColumns().size());
    for (Value column : adaptor.getColumns()) {
      Value top = b.mul(rowScale(op, adaptor, b, 0), column), bottom = b.mul(rowScale(op, adaptor, b, 1), column);
      for (int64_t i = 0; i < valuesOfShare; i += 4)
        perValue.append({top, top, bottom, bottom});
    }
  }

  static void scaleByColumn(PromoteOp op, Adaptor adaptor, HopperBuilder &b, SmallVector<Value> &perValue) {
    for (int64_t i = 0; i < op.getType().getValues(); ++i) {
      Value column = b.extract(adaptor.getColumns()[0], i / 4 * 2 + i % 2);
      perValue.push_back(b.mul(rowScale(op, adaptor, b, i % 4 / 2), column));
    }
  }
};
} // namespace

void populateMathPatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns
      .add<LowerWgmma, LowerWgmmaWait, LowerZero, LowerLoadRowScales, LowerLoadColumnScales, LowerLoadBlockScale, LowerPromote>(
          lowering);
}

} // namespace quant::nvvm
