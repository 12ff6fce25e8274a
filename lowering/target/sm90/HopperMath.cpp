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

/// Bytes of K of one wgmma.
static constexpr int64_t kInstructionKBytes = 32;
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

/// Step `step` of K of a tile, from its address in units.
static Value descriptorOfStep(HopperBuilder &b, TileType tile, bool transposed, Value address, int64_t step) {
  // Steps of rows: of a transposed tile, whose panels stand side by side along N.
  int64_t k = kInstructionKBytes / tile.getElementBytes();
  if (transposed)
    return b.swizzled128Descriptor(b.add(address, (step * k * tile.getSwizzle()) >> kDescriptorShift), tile.getPanelBytes());
  // Along K the address moves inside the swizzle row, panel after panel; the hardware applies the XOR to the final address.
  int64_t panel = step * k / tile.getPanelColumns(), inPanel = step * kInstructionKBytes % tile.getSwizzle();
  return b.swizzled128Descriptor(b.add(address, (panel * tile.getPanelBytes() + inPanel) >> kDescriptorShift));
}

/// What the sums begin with; null for zeros.
static Value sumsBefore(WgmmaOp op, WgmmaOp::Adaptor adaptor, HopperBuilder &b) {
  if (!op.getInto())
    return {};
  return isa<FragmentType>(op.getInto().getType()) ? b.accumulatorsOf(adaptor.getInto()) : adaptor.getInto();
}

static Value lowerWgmma(HopperLowering &, WgmmaOp op, WgmmaOp::Adaptor adaptor, HopperBuilder &b) {
  TileType tileB = op.getB().getType();
  auto tileA = dyn_cast<TileType>(op.getA().getType());
  HopperBuilder::WgmmaForm form = {op.getType().getColumns(), tileB.getElementType(), op.getTransposed()};
  int64_t steps = (op.getTransposed() ? tileB.getRows() : tileB.getColumns()) * tileB.getElementBytes() / kInstructionKBytes;
  Value addressA = tileA ? inUnits(adaptor.getA(), b) : Value(), addressB = inUnits(adaptor.getB(), b);
  Value acc = sumsBefore(op, adaptor, b);
  b.wgmmaFence();
  for (int64_t step = 0; step < steps; ++step) {
    Value descriptorB = descriptorOfStep(b, tileB, op.getTransposed(), addressB, step);
    if (tileA) {
      acc = b.wgmma(form, descriptorOfStep(b, tileA, false, addressA, step), descriptorB, acc, adaptor.getOver());
      continue;
    }
    SmallVector<Value> registers;
    for (int64_t i = 0; i < 4; ++i)
      registers.push_back(b.extract(adaptor.getA(), 4 * step + i));
    acc = b.wgmmaFromRegisters(form, registers, descriptorB, acc);
  }
  b.wgmmaCommit();
  return acc;
}

static Value lowerWgmmaWait(HopperLowering &, WgmmaWaitOp op, WgmmaWaitOp::Adaptor adaptor, HopperBuilder &b) {
  // Accumulators in flight over a loop's back edge make ptxas serialise the wgmmas (C7514): all are waited for before. The other
  // math warpgroup keeps the tensor core busy meanwhile.
  return b.pack(b.wgmmaWait(adaptor.getAccumulator(), static_cast<int64_t>(op.getPending())));
}

static Value lowerZero(HopperLowering &, ZeroOp op, ZeroOp::Adaptor, HopperBuilder &b) {
  FragmentType type = op.getType();
  if (type.getElementType().isF32())
    return b.zeroVector(type.getValues());
  return b.integer(VectorType::get(type.getValues(), type.getElementType()), 0);
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

/// Element `index` of a list of scales, or the last one in front of `until`, as f32.
static Value loadScale(LoadScalesOp op, LoadScalesOp::Adaptor adaptor, HopperBuilder &b, Value index) {
  Type element = op.getPointer().getType().getElementType();
  return b.loadNumber(element, b.at(adaptor.getPointer(), element, b.minUnsigned(index, b.add(adaptor.getUntil(), -1))));
}

static Value lowerLoadScales(HopperLowering &lowering, LoadScalesOp op, LoadScalesOp::Adaptor adaptor, HopperBuilder &b) {
  const KernelContext &kernel = lowering.contextOf(op);
  SmallVector<Value> scales;
  auto columns = dyn_cast<ColumnScalesType>(op.getType());
  Value first = b.add(adaptor.getIndex(), columns ? kernel.fragmentColumn(b) : kernel.fragmentRow(b));
  for (int64_t i = 0; i < (columns ? columns.getColumns() : 16); i += 8) {
    scales.push_back(loadScale(op, adaptor, b, b.add(first, i)));
    if (columns)
      scales.push_back(loadScale(op, adaptor, b, b.add(first, i + 1)));
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

static Value lowerLoadIndex(HopperLowering &, LoadIndexOp, LoadIndexOp::Adaptor adaptor, HopperBuilder &b) {
  return b.load(b.i32(), b.at(adaptor.getPointer(), b.i32(), adaptor.getIndex()), 4);
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
  return b.fma(b.pack(perValue), b.convert(b.f32(), adaptor.getProducts()), adaptor.getSum());
}

void populateMathPatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns.add<LowerBy<lowerWgmma>, LowerBy<lowerWgmmaWait>, LowerBy<lowerZero>, LowerBy<lowerLoadRowScales>,
               LowerBy<lowerLoadColumnScales>, LowerBy<lowerLoadScales>, LowerBy<lowerLoadBlockScale>, LowerBy<lowerLoadIndex>,
               LowerBy<lowerPromote>>(lowering);
}

} // namespace quant::nvvm
