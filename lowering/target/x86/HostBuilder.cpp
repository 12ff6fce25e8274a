//===- HostBuilder.cpp - writing a kernel's loops in few words ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/HostBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant::host;

//===----------------------------------------------------------------------===//
// Types and constants
//===----------------------------------------------------------------------===//

Type HostBuilder::ptr() { return LLVM::LLVMPointerType::get(builder.getContext()); }
Value HostBuilder::cst(int64_t value) { return arith::ConstantOp::create(builder, loc, builder.getI64IntegerAttr(value)); }
Value HostBuilder::cst32(int32_t value) { return arith::ConstantOp::create(builder, loc, builder.getI32IntegerAttr(value)); }
Value HostBuilder::cstF32(float value) { return arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(value)); }

Value HostBuilder::splatInt(VectorType type, int64_t value) {
  unsigned width = type.getElementTypeBitWidth();
  auto element = IntegerAttr::get(type.getElementType(), APInt(width, value, /*isSigned=*/true, /*implicitTrunc=*/true));
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, element));
}
Value HostBuilder::splatF32(int64_t lanes, float value) {
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(vecF32(lanes), value));
}
Value HostBuilder::splat(Value scalar, int64_t lanes) {
  return vector::BroadcastOp::create(builder, loc, vec(lanes, scalar.getType()), scalar);
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Value HostBuilder::add(Value a, Value b) { return arith::AddIOp::create(builder, loc, a, b); }
Value HostBuilder::sub(Value a, Value b) { return arith::SubIOp::create(builder, loc, a, b); }
Value HostBuilder::mul(Value a, Value b) { return arith::MulIOp::create(builder, loc, a, b); }
Value HostBuilder::div(Value a, int64_t b) { return b == 1 ? a : arith::DivUIOp::create(builder, loc, a, cst(b)).getResult(); }
Value HostBuilder::rem(Value a, int64_t b) { return arith::RemUIOp::create(builder, loc, a, cst(b)); }
Value HostBuilder::min(Value a, Value b) { return arith::MinSIOp::create(builder, loc, a, b); }
Value HostBuilder::max(Value a, Value b) { return arith::MaxSIOp::create(builder, loc, a, b); }
Value HostBuilder::compare(arith::CmpIPredicate predicate, Value a, Value b) {
  return arith::CmpIOp::create(builder, loc, predicate, a, b);
}
Value HostBuilder::select(Value condition, Value a, Value b) { return arith::SelectOp::create(builder, loc, condition, a, b); }

Value HostBuilder::addF(Value a, Value b) { return arith::AddFOp::create(builder, loc, a, b); }
Value HostBuilder::subF(Value a, Value b) { return arith::SubFOp::create(builder, loc, a, b); }
Value HostBuilder::mulF(Value a, Value b) { return arith::MulFOp::create(builder, loc, a, b); }
Value HostBuilder::divF(Value a, Value b) { return arith::DivFOp::create(builder, loc, a, b); }
Value HostBuilder::maxF(Value a, Value b) { return arith::MaxNumFOp::create(builder, loc, a, b); }
Value HostBuilder::fma(Value a, Value b, Value c) { return math::FmaOp::create(builder, loc, a, b, c); }
Value HostBuilder::sqrt(Value a) { return math::SqrtOp::create(builder, loc, a); }
Value HostBuilder::exp(Value a) { return math::ExpOp::create(builder, loc, a); }
Value HostBuilder::compareF(arith::CmpFPredicate predicate, Value a, Value b) {
  return arith::CmpFOp::create(builder, loc, predicate, a, b);
}
Value HostBuilder::sumLanes(Value vector) {
  return vector::ReductionOp::create(builder, loc, vector::CombiningKind::ADD, vector, arith::FastMathFlags::reassoc);
}
Value HostBuilder::maxLanes(Value vector) {
  return vector::ReductionOp::create(builder, loc, vector::CombiningKind::MAXNUMF, vector, arith::FastMathFlags::nnan);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value HostBuilder::at(Value base, Value index, int64_t bytes) {
  return LLVM::GEPOp::create(builder, loc, ptr(), i8(), base, ArrayRef<LLVM::GEPArg>{mul(index, bytes)});
}

static unsigned elementAlignment(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    type = vector.getElementType();
  return isa<LLVM::LLVMPointerType>(type) ? 8 : bytesOf(type);
}

Value HostBuilder::load(Type type, Value address) {
  return LLVM::LoadOp::create(builder, loc, type, address, elementAlignment(type));
}
void HostBuilder::store(Value value, Value address) {
  LLVM::StoreOp::create(builder, loc, value, address, elementAlignment(value.getType()));
}
void HostBuilder::prefetch(Value address, int32_t locality) {
  auto imm = [&](int32_t value) { return builder.getI32IntegerAttr(value); };
  LLVM::Prefetch::create(builder, loc, address, imm(/*read*/ 0), imm(locality), imm(/*data*/ 1));
}

Value HostBuilder::loadAsF32(Type element, Value address, int64_t lanes) {
  if (element.isF32())
    return load(vecF32(lanes), address);
  if (element.isF16())
    return arith::ExtFOp::create(builder, loc, vecF32(lanes), load(vec(lanes, element), address));
  assert(element.isBF16() && "not a floating-point type that kernels load");
  // A bf16 is the upper half of an f32.
  VectorType wide = vec(lanes, i32());
  Value bits = arith::ExtUIOp::create(builder, loc, wide, load(vec(lanes, builder.getI16Type()), address));
  Value shifted = arith::ShLIOp::create(builder, loc, bits, splatInt(wide, 16));
  return arith::BitcastOp::create(builder, loc, vecF32(lanes), shifted);
}

Value HostBuilder::loadScalarAsF32(Type element, Value address) {
  if (isa<Float8E8M0FNUType>(element)) {
    // ue8m0 is the exponent of an f32; 0 stands for 2^-127, which is a subnormal: 0x00400000.
    Value bits = arith::ExtUIOp::create(builder, loc, i32(), load(i8(), address));
    Value exponent = arith::ShLIOp::create(builder, loc, bits, cst32(23));
    Value isZero = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, bits, cst32(0));
    Value isNan = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, bits, cst32(255));
    Value finite = select(isZero, cst32(0x00400000), exponent);
    return arith::BitcastOp::create(builder, loc, f32(), select(isNan, cst32(0x7fc00000), finite));
  }
  if (element.isF32())
    return load(f32(), address);
  return vector::ExtractOp::create(builder, loc, loadAsF32(element, address, 1), 0);
}

Value HostBuilder::loadIndex(Value address) { return arith::ExtSIOp::create(builder, loc, i64(), load(i32(), address)); }

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void HostBuilder::loop(Value begin, Value end, int64_t step, Body body) {
  auto loop = scf::ForOp::create(builder, loc, begin, end, cst(step));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

SmallVector<Value> HostBuilder::loop(Value begin, Value end, int64_t step, ArrayRef<Value> init, Fold body) {
  auto loop = scf::ForOp::create(builder, loc, begin, end, cst(step), init,
                                 [&](OpBuilder &, Location, Value index, ValueRange carried) {
                                   scf::YieldOp::create(builder, loc, body(index, carried));
                                 });
  return SmallVector<Value>(loop.getResults());
}

void HostBuilder::ifThen(Value condition, function_ref<void()> then, function_ref<void()> otherwise) {
  auto branch = scf::IfOp::create(builder, loc, condition, /*withElseRegion=*/static_cast<bool>(otherwise));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  then();
  if (otherwise) {
    builder.setInsertionPointToStart(branch.elseBlock());
    otherwise();
  }
}

void HostBuilder::chunks(int64_t count, function_ref<void(Value, int64_t)> body) {
  int64_t whole = count / kLanes * kLanes;
  if (whole == kLanes)
    body(cst(0), kLanes);
  else if (whole > 0)
    loop(cst(0), cst(whole), kLanes, [&](Value offset) { body(offset, kLanes); });
  if (count > whole)
    body(cst(whole), count - whole);
}

Value HostBuilder::reduceChunks(int64_t count, Value init, function_ref<Value(Value, int64_t, Value)> body,
                                function_ref<Value(Value)> combine, function_ref<Value(Value, Value)> join) {
  int64_t whole = count / kLanes * kLanes;
  Value result = init;
  if (whole > 0) {
    SmallVector<Value> acc = loop(cst(0), cst(whole), kLanes, {splat(init, kLanes)}, [&](Value offset, ValueRange carried) {
      return SmallVector<Value>{body(offset, kLanes, carried[0])};
    });
    result = combine(acc[0]);
  }
  if (count > whole) {
    int64_t lanes = count - whole;
    Value tail = combine(body(cst(whole), lanes, splat(init, lanes)));
    result = whole > 0 ? join(result, tail) : tail;
  }
  return result;
}
