//===- PointerBuilder.cpp - memory by address -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/common/PointerBuilder.h"

#include "dialects/rows/NarrowFloats.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace quant;

Type PointerBuilder::ptr(unsigned addressSpace) { return LLVM::LLVMPointerType::get(getContext(), addressSpace); }

/// LLVM has no 8-bit floats.
static Type memoryType(Builder &b, Type element) {
  return isa<FloatType>(element) && element.getIntOrFloatBitWidth() == 8 ? b.getI8Type() : element;
}

Value PointerBuilder::at(Value pointer, Type element, Value index) {
  return LLVM::GEPOp::create(*this, pointer.getType(), memoryType(*this, element), pointer, ArrayRef<LLVM::GEPArg>{index});
}

Value PointerBuilder::at(Value pointer, Type element, int64_t index) {
  if (index == 0)
    return pointer;
  return LLVM::GEPOp::create(*this, pointer.getType(), memoryType(*this, element), pointer,
                             ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(index)});
}

Value PointerBuilder::rowAddress(const rows::Rows &rows, Value row) {
  if (rows.isTable)
    return at(load(rows.base.getType(), at(rows.base, getI64Type(), row)), rows.element, rows.offset);
  Value first = at(rows.base, rows.element, rows.offset);
  return rows.isList ? first : at(first, rows.element, mul(convert(getI64Type(), row), rows.stride));
}

static unsigned elementBytes(Type type) {
  Type element = getElementTypeOrSelf(type);
  return isa<LLVM::LLVMPointerType>(element) ? 8 : bytesOf(element);
}

Value PointerBuilder::load(Type type, Value pointer, unsigned alignment) {
  return LLVM::LoadOp::create(*this, type, pointer, alignment ? alignment : elementBytes(type));
}

void PointerBuilder::store(Value value, Value pointer, unsigned alignment) {
  LLVM::StoreOp::create(*this, value, pointer, alignment ? alignment : elementBytes(value.getType()));
}

Value PointerBuilder::loadLanes(Type element, Value pointer, int64_t lanes) {
  if (isa<Float8E4M3FNType>(element))
    return rows::decodeE4M3(*this, load(lanesOf(i8(), lanes), pointer));
  return convert(f32(), load(lanesOf(element, lanes), pointer));
}

void PointerBuilder::storeLanes(Type element, Value pointer, Value values) {
  if (isa<Float8E4M3FNType>(element))
    return store(rows::encodeE4M3(*this, values), pointer);
  // LLVM calls a function of the C library to make a bf16 where there is no instruction.
  store(element.isBF16() ? rows::encodeBF16(*this, values) : convert(element, values), pointer);
}

Value PointerBuilder::loadNumber(Type element, Value pointer) {
  if (element.isInteger(32))
    return convert(sizeType(), load(element, pointer));
  if (isa<Float8E8M0FNUType>(element))
    return rows::decodeE8M0(*this, load(i8(), pointer));
  return loadLanes(element, pointer, 1);
}

void PointerBuilder::storeNumber(Type element, Value pointer, Value value) {
  if (element.isInteger(32))
    return store(convert(element, value), pointer);
  if (isa<Float8E8M0FNUType>(element))
    return store(rows::encodeE8M0(*this, value), pointer);
  storeLanes(element, pointer, value);
}
