//===- HostBuilder.cpp - writing a kernel's loops in few words ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/HostBuilder.h"

#include "dialects/rows/NarrowFloats.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

//===----------------------------------------------------------------------===//
// Types and vectors
//===----------------------------------------------------------------------===//

Type HostBuilder::ptr() { return LLVM::LLVMPointerType::get(getContext()); }
Value HostBuilder::splat(Value scalar, int64_t lanes) {
  return vector::BroadcastOp::create(*this, vec(lanes, scalar.getType()), scalar);
}
Value HostBuilder::sumLanes(Value vector) {
  return vector::ReductionOp::create(*this, vector::CombiningKind::ADD, vector, arith::FastMathFlags::reassoc);
}
Value HostBuilder::maxLanes(Value vector) {
  return vector::ReductionOp::create(*this, vector::CombiningKind::MAXNUMF, vector, arith::FastMathFlags::nnan);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value HostBuilder::at(Value base, Value index, int64_t bytes) {
  return LLVM::GEPOp::create(*this, ptr(), i8(), base, ArrayRef<LLVM::GEPArg>{mul(index, bytes)});
}

static unsigned elementAlignment(Type type) {
  if (auto vector = dyn_cast<VectorType>(type))
    type = vector.getElementType();
  return isa<LLVM::LLVMPointerType>(type) ? 8 : bytesOf(type);
}

Value HostBuilder::load(Type type, Value address) {
  return LLVM::LoadOp::create(*this, type, address, elementAlignment(type));
}
void HostBuilder::store(Value value, Value address) {
  LLVM::StoreOp::create(*this, value, address, elementAlignment(value.getType()));
}
void HostBuilder::prefetch(Value address, int32_t locality) {
  auto imm = [&](int32_t value) { return getI32IntegerAttr(value); };
  LLVM::Prefetch::create(*this, address, imm(/*read*/ 0), imm(locality), imm(/*data*/ 1));
}

Value HostBuilder::loadAsF32(Type element, Value address, int64_t lanes) {
  if (element.isF32())
    return load(vecF32(lanes), address);
  if (element.isF16())
    return arith::ExtFOp::create(*this, vecF32(lanes), load(vec(lanes, element), address));
  assert(element.isBF16() && "not a floating-point type that kernels load");
  // A bf16 is the upper half of an f32.
  VectorType wide = vec(lanes, i32());
  Value bits = arith::ExtUIOp::create(*this, wide, load(vec(lanes, getI16Type()), address));
  Value shifted = arith::ShLIOp::create(*this, bits, integer(wide, 16));
  return arith::BitcastOp::create(*this, vecF32(lanes), shifted);
}

Value HostBuilder::loadScalarAsF32(Type element, Value address) {
  if (isa<Float8E8M0FNUType>(element))
    return rows::decodeE8M0(*this, load(i8(), address));
  if (element.isF32())
    return load(f32(), address);
  return vector::ExtractOp::create(*this, loadAsF32(element, address, 1), 0);
}

Value HostBuilder::loadIndex(Value address) { return arith::ExtSIOp::create(*this, i64(), load(i32(), address)); }

Value HostBuilder::rowAddress(const rows::Rows &rows, Value row) {
  int64_t bytes = bytesOf(rows.element);
  Value first = at(rows.base, rows.offset, bytes);
  return rows.isList ? first : at(first, mul(row, rows.stride), bytes);
}

Value HostBuilder::loadColumns(const rows::Rows &rows, Value rowAddress, Value column, int64_t lanes) {
  return loadAsF32(rows.element, at(rowAddress, column, bytesOf(rows.element)), lanes);
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void HostBuilder::chunks(int64_t count, function_ref<void(Value, int64_t)> body) {
  int64_t whole = count / kLanes * kLanes;
  if (whole == kLanes)
    body(size(0), kLanes);
  else if (whole > 0)
    loop(size(0), size(whole), kLanes, [&](Value offset) { body(offset, kLanes); });
  if (count > whole)
    body(size(whole), count - whole);
}

Value HostBuilder::reduceChunks(int64_t count, Value init, function_ref<Value(Value, int64_t, Value)> body,
                                function_ref<Value(Value)> combine, function_ref<Value(Value, Value)> join) {
  int64_t whole = count / kLanes * kLanes;
  Value result = init;
  if (whole > 0) {
    SmallVector<Value> acc = loop(size(0), size(whole), kLanes, {splat(init, kLanes)}, [&](Value offset, ValueRange carried) {
      return SmallVector<Value>{body(offset, kLanes, carried[0])};
    });
    result = combine(acc[0]);
  }
  if (count > whole) {
    int64_t lanes = count - whole;
    Value tail = combine(body(size(whole), lanes, splat(init, lanes)));
    result = whole > 0 ? join(result, tail) : tail;
  }
  return result;
}
