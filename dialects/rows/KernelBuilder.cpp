//===- KernelBuilder.cpp - arithmetic and control in few words ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rows/KernelBuilder.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <numeric>

using namespace mlir;
using namespace quant::rows;

static bool isFloat(Value value) { return isa<FloatType>(getElementTypeOrSelf(value.getType())); }

//===----------------------------------------------------------------------===//
// Types and constants
//===----------------------------------------------------------------------===//

Type KernelBuilder::lanesOf(Type type, int64_t lanes) {
  Type element = getElementTypeOrSelf(type);
  return lanes == 1 ? element : VectorType::get(lanes, element);
}

Type KernelBuilder::withElement(Type type, Type element) {
  auto vector = dyn_cast<VectorType>(type);
  return vector ? vector.clone(element) : element;
}

int64_t KernelBuilder::laneCount(Type type) {
  auto vector = dyn_cast<VectorType>(type);
  return vector ? vector.getNumElements() : 1;
}

Value KernelBuilder::constant(Type type, double value) {
  auto element = dyn_cast<FloatType>(getElementTypeOrSelf(type));
  if (!element)
    return integer(type, static_cast<int64_t>(value));
  TypedAttr attribute = FloatAttr::get(element, value);
  if (auto vector = dyn_cast<VectorType>(type))
    attribute = SplatElementsAttr::get(vector, static_cast<Attribute>(attribute));
  return arith::ConstantOp::create(*this, attribute);
}

Value KernelBuilder::integer(Type type, int64_t value) {
  Type element = getElementTypeOrSelf(type);
  unsigned width = element.isIndex() ? IndexType::kInternalStorageBitWidth : element.getIntOrFloatBitWidth();
  TypedAttr attribute = IntegerAttr::get(element, APInt(width, value, /*isSigned=*/true, /*implicitTrunc=*/true));
  if (auto vector = dyn_cast<VectorType>(type))
    attribute = SplatElementsAttr::get(vector, static_cast<Attribute>(attribute));
  return arith::ConstantOp::create(*this, attribute);
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

template <typename IntOp, typename FloatOp>
static Value emit(KernelBuilder &b, Value left, Value right) {
  if (isFloat(left))
    return FloatOp::create(b, left, right);
  return IntOp::create(b, left, right);
}

Value KernelBuilder::add(Value a, Value b) { return emit<arith::AddIOp, arith::AddFOp>(*this, a, b); }
Value KernelBuilder::sub(Value a, Value b) { return emit<arith::SubIOp, arith::SubFOp>(*this, a, b); }
Value KernelBuilder::mul(Value a, Value b) { return emit<arith::MulIOp, arith::MulFOp>(*this, a, b); }
Value KernelBuilder::div(Value a, Value b) { return emit<arith::DivUIOp, arith::DivFOp>(*this, a, b); }
Value KernelBuilder::rem(Value a, Value b) { return arith::RemUIOp::create(*this, a, b); }
Value KernelBuilder::min(Value a, Value b) { return emit<arith::MinSIOp, arith::MinNumFOp>(*this, a, b); }
Value KernelBuilder::max(Value a, Value b) { return emit<arith::MaxSIOp, arith::MaxNumFOp>(*this, a, b); }
Value KernelBuilder::neg(Value a) { return arith::NegFOp::create(*this, a); }
Value KernelBuilder::bitAnd(Value a, Value b) { return arith::AndIOp::create(*this, a, b); }
Value KernelBuilder::bitOr(Value a, Value b) { return arith::OrIOp::create(*this, a, b); }
Value KernelBuilder::bitXor(Value a, Value b) { return arith::XOrIOp::create(*this, a, b); }
Value KernelBuilder::shiftLeft(Value a, Value b) { return arith::ShLIOp::create(*this, a, b); }
Value KernelBuilder::shiftRight(Value a, Value b) { return arith::ShRUIOp::create(*this, a, b); }

Value KernelBuilder::abs(Value a) {
  Value bits = bitcast(i32(), a);
  return bitcast(f32(), bitAnd(bits, integer(bits.getType(), 0x7FFFFFFF)));
}

Value KernelBuilder::fma(Value a, Value b, Value c) { return math::FmaOp::create(*this, a, b, c); }
Value KernelBuilder::sqrt(Value a) { return math::SqrtOp::create(*this, a); }
Value KernelBuilder::exp(Value a) { return math::ExpOp::create(*this, a); }
Value KernelBuilder::roundEven(Value a) { return math::RoundEvenOp::create(*this, a); }

//===----------------------------------------------------------------------===//
// Choice
//===----------------------------------------------------------------------===//

Value KernelBuilder::less(Value a, Value b) {
  if (isFloat(a))
    return arith::CmpFOp::create(*this, arith::CmpFPredicate::OLT, a, b);
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::slt, a, b);
}

Value KernelBuilder::equal(Value a, Value b) {
  if (isFloat(a))
    return arith::CmpFOp::create(*this, arith::CmpFPredicate::OEQ, a, b);
  return arith::CmpIOp::create(*this, arith::CmpIPredicate::eq, a, b);
}

Value KernelBuilder::compare(arith::CmpIPredicate predicate, Value a, Value b) {
  return arith::CmpIOp::create(*this, predicate, a, b);
}

Value KernelBuilder::isNan(Value a) { return arith::CmpFOp::create(*this, arith::CmpFPredicate::UNO, a, a); }

Value KernelBuilder::select(Value condition, Value then, Value otherwise) {
  return arith::SelectOp::create(*this, condition, then, otherwise);
}

//===----------------------------------------------------------------------===//
// Conversion and lanes
//===----------------------------------------------------------------------===//

Value KernelBuilder::bitcast(Type element, Value a) {
  return arith::BitcastOp::create(*this, withElement(a.getType(), element), a);
}

Value KernelBuilder::zeroExtend(Type element, Value a) {
  return arith::ExtUIOp::create(*this, withElement(a.getType(), element), a);
}

Value KernelBuilder::convert(Type element, Value a) {
  Type from = getElementTypeOrSelf(a.getType()), to = withElement(a.getType(), element);
  if (from == element)
    return a;
  if (isa<IndexType>(from) || isa<IndexType>(element))
    return isa<FloatType>(element) ? convert(element, convert(getI64Type(), a))
                                   : arith::IndexCastOp::create(*this, to, a).getResult();
  unsigned fromBits = from.getIntOrFloatBitWidth(), toBits = element.getIntOrFloatBitWidth();
  if (isFloat(a) && isa<IntegerType>(element))
    return convert(element, arith::FPToSIOp::create(*this, withElement(a.getType(), i32()), a));
  if (isFloat(a))
    return fromBits < toBits ? arith::ExtFOp::create(*this, to, a).getResult()
                             : arith::TruncFOp::create(*this, to, a).getResult();
  if (isa<FloatType>(element))
    return arith::SIToFPOp::create(*this, to, a);
  return fromBits < toBits ? arith::ExtSIOp::create(*this, to, a).getResult() : arith::TruncIOp::create(*this, to, a).getResult();
}

Value KernelBuilder::spread(Value value, int64_t lanes) {
  int64_t have = laneCount(value.getType());
  if (have == lanes)
    return value;
  if (have == 1)
    return vector::BroadcastOp::create(*this, VectorType::get(lanes, value.getType()), value);
  SmallVector<int64_t> source;
  for (int64_t lane = 0; lane < lanes; ++lane)
    source.push_back(lane * have / lanes);
  return vector::ShuffleOp::create(*this, value, value, source);
}

Value KernelBuilder::extract(Value vector, int64_t lane) {
  return isa<VectorType>(vector.getType()) ? vector::ExtractOp::create(*this, vector, lane).getResult() : vector;
}

Value KernelBuilder::extract(Value vector, int64_t first, int64_t count) {
  if (count == laneCount(vector.getType()))
    return vector;
  if (count == 1)
    return extract(vector, first);
  SmallVector<int64_t> source(count);
  std::iota(source.begin(), source.end(), first);
  return vector::ShuffleOp::create(*this, vector, vector, source);
}

Value KernelBuilder::pack(ArrayRef<Value> parts) {
  if (parts.size() == 1)
    return parts.front();
  SmallVector<Value> elements;
  for (Value part : parts)
    for (int64_t lane = 0; lane < laneCount(part.getType()); ++lane)
      elements.push_back(extract(part, lane));
  Type type = VectorType::get(elements.size(), elements.front().getType());
  return vector::FromElementsOp::create(*this, type, elements);
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void KernelBuilder::loop(Value begin, Value end, int64_t step, Body body) {
  loop(begin, end, integer(begin.getType(), step), body);
}

SmallVector<Value> KernelBuilder::loop(Value begin, Value end, int64_t step, ValueRange init, Fold body) {
  return loop(begin, end, integer(begin.getType(), step), init, body);
}

void KernelBuilder::loop(Value begin, Value end, Value step, Body body) {
  loop(begin, end, step, ValueRange(), [&](Value index, ValueRange) {
    body(index);
    return SmallVector<Value>();
  });
}

SmallVector<Value> KernelBuilder::loop(Value begin, Value end, Value step, ValueRange init, Fold body) {
  auto loop = scf::ForOp::create(*this, begin, end, step, init);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
  if (!init.empty()) // A loop that carries nothing has its terminator.
    scf::YieldOp::create(*this, next);
  return SmallVector<Value>(loop.getResults());
}

void KernelBuilder::ifThen(Value condition, function_ref<void()> then, function_ref<void()> otherwise) {
  auto branch = scf::IfOp::create(*this, condition, /*withElseRegion=*/static_cast<bool>(otherwise));
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  then();
  if (otherwise) {
    setInsertionPointToStart(branch.elseBlock());
    otherwise();
  }
}
