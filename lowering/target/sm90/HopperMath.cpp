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

static Value lowerWgmma(HopperLowering &, WgmmaOp op, WgmmaOp::Adaptor adaptor, HopperBuilder &b) {
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
  return acc;
}

static Value lowerWgmmaWait(HopperLowering &, WgmmaWaitOp op, WgmmaWaitOp::Adaptor adaptor, HopperBuilder &b) {
  // Waiting for all: accumulators in flight over a loop's back edge make ptxas serialise the wgmmas (C7514). The other math
  // warpgroup keeps the tensor core busy while this one promotes.
  return b.pack(b.wgmmaWait(adaptor.getAccumulator(), op.getType().getColumns()));
}

static Value lowerZero(HopperLowering &, ZeroOp op, ZeroOp::Adaptor, HopperBuilder &b) {
  return b.zeroVector(op.getType().getValues());
}

static Value lowerLoadRowScales(HopperLowering &lowering, LoadRowScalesOp op, LoadRowScalesOp::Adaptor adaptor,
                                HopperBuilder &b) {
  Value row = b.add(adaptor.getFirst(), lowering.contextOf(op).fragmentRow(b));
  Value top = b.sharedPointer(b.add(adaptor.getTile(), b.mul(row, kF32Bytes)));
  return b.pack({b.load(b.f32(), top), b.load(b.f32(), b.offset(top, 8 * kF32Bytes))});
}

static Value lowerLoadColumnScales(HopperLowering &lowering, LoadColumnScalesOp op, LoadColumnScalesOp::Adaptor adaptor,
                                   HopperBuilder &b) {
  Value first = b.sharedPointer(b.add(adaptor.getTile(), b.mul(lowering.contextOf(op).fragmentColumn(b), kF32Bytes)));
  SmallVector<Value> scales;
  for (int64_t column = 0; column < op.getType().getColumns(); column += 8) {
    Value pair = b.load(VectorType::get(2, b.getF32Type()), b.offset(first, column * kF32Bytes), 2 * kF32Bytes);
    scales.append({b.extract(pair, 0), b.extract(pair, 1)});
  }
  return b.pack(scales);
}

static Value lowerLoadBlockScale(HopperLowering &, LoadBlockScaleOp, LoadBlockScaleOp::Adaptor adaptor, HopperBuilder &b) {
  // The part of the index that does not change in the loop first, so that it is added before the loop.
  Value at = adaptor.getPointer();
  if (auto sum = adaptor.getIndex().getDefiningOp<arith::AddIOp>())
    at = b.at(b.at(at, b.f32(), sum.getLhs()), b.f32(), sum.getRhs());
  else
    at = b.at(at, b.f32(), adaptor.getIndex());
  return b.loadConstant(b.getF32Type(), at, kF32Bytes);
}

/// The scale of the top (0) or bottom (1) row.
static Value rowScale(PromoteOp op, PromoteOp::Adaptor adaptor, HopperBuilder &b, int64_t row) {
  return isa<RowScalesType>(op.getRows().getType()) ? b.extract(adaptor.getRows(), row) : adaptor.getRows();
}

// A thread's values come in fours: two columns of its top row, two of its bottom row.

static void scaleByShare(PromoteOp op, PromoteOp::Adaptor adaptor, HopperBuilder &b, SmallVector<Value> &perValue) {
  int64_t valuesOfShare = op.getType().getValues() / static_cast<int64_t>(op.getColumns().size());
  for (Value column : adaptor.getColumns()) {
    Value top = b.mul(rowScale(op, adaptor, b, 0), column), bottom = b.mul(rowScale(op, adaptor, b, 1), column);
    for (int64_t i = 0; i < valuesOfShare; i += 4)
      perValue.append({top, top, bottom, bottom});
  }
}

static void scaleByColumn(PromoteOp op, PromoteOp::Adaptor adaptor, HopperBuilder &b, SmallVector<Value> &perValue) {
  for (int64_t i = 0; i < op.getType().getValues(); ++i) {
    Value column = b.extract(adaptor.getColumns()[0], i / 4 * 2 + i % 2);
    perValue.push_back(b.mul(rowScale(op, adaptor, b, i % 4 / 2), column));
  }
}

static Value lowerPromote(HopperLowering &, PromoteOp op, PromoteOp::Adaptor adaptor, HopperBuilder &b) {
  SmallVector<Value> perValue;
  if (isa<ColumnScalesType>(op.getColumns()[0].getType()))
    scaleByColumn(op, adaptor, b, perValue);
  else
    scaleByShare(op, adaptor, b, perValue);
  return b.fma(b.pack(perValue), adaptor.getProducts(), adaptor.getSum());
}

void populateMathPatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns.add<LowerBy<lowerWgmma>, LowerBy<lowerWgmmaWait>, LowerBy<lowerZero>, LowerBy<lowerLoadRowScales>,
               LowerBy<lowerLoadColumnScales>, LowerBy<lowerLoadBlockScale>, LowerBy<lowerPromote>>(lowering);
}

} // namespace quant::nvvm
