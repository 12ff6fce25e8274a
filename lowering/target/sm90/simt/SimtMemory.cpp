//===- SimtMemory.cpp - typed loads and stores -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace quant::nvvm {

static int64_t bytesOf(Type element) { return (element.getIntOrFloatBitWidth() + 7) / 8; }

/// What holds an element in memory: LLVM has no 8-bit floats.
static Type memoryType(Builder &builder, Type element) {
  return element.getIntOrFloatBitWidth() == 8 ? builder.getI8Type() : element;
}

//===----------------------------------------------------------------------===//
// Addresses
//===----------------------------------------------------------------------===//

Value SimtBuilder::at(Value pointer, Type element, Value index) {
  return create<LLVM::GEPOp>(pointer.getType(), memoryType(*this, element), pointer, ArrayRef<LLVM::GEPArg>{index});
}

Value SimtBuilder::at(Value pointer, Type element, int64_t index) {
  if (index == 0)
    return pointer;
  return create<LLVM::GEPOp>(pointer.getType(), memoryType(*this, element), pointer,
                             ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(index)});
}

Value SimtBuilder::rowAt(Value base, Type element, Value row, int64_t stride) {
  Value wide = create<arith::ExtSIOp>(getI64Type(), row);
  return at(base, element, mul(wide, constI64(stride)));
}

Value SimtBuilder::allocateShared(int64_t bytes) {
  Value address = offset(dynamicShared(), nextShared);
  nextShared += (bytes + 15) / 16 * 16;
  return address;
}

//===----------------------------------------------------------------------===//
// Loads
//===----------------------------------------------------------------------===//

Value SimtBuilder::loadI32(Value pointer) { return create<LLVM::LoadOp>(getI32Type(), pointer, 4); }

Value SimtBuilder::loadPointer(Value pointer) {
  return create<LLVM::LoadOp>(LLVM::LLVMPointerType::get(getContext(), 1), pointer, 8);
}

Value SimtBuilder::decodePair(Type element, Value codes) {
  StringRef name = isa<Float8E5M2Type>(element) ? "llvm.nvvm.e5m2x2.to.f16x2.rn" : "llvm.nvvm.e4m3x2.to.f16x2.rn";
  Value halves = intrinsic(VectorType::get(2, getF16Type()), name, codes);
  return create<LLVM::FPExtOp>(VectorType::get(2, getF32Type()), halves);
}

SmallVector<Value> SimtBuilder::decodeBytes(Type element, Value pointer, int64_t count) {
  SmallVector<Value> values;
  if (count == 1) {
    Value code = create<LLVM::ZExtOp>(getI16Type(), create<LLVM::LoadOp>(getI8Type(), pointer, 1));
    return {extract(decodePair(element, code), 0)};
  }
  Value codes = create<LLVM::LoadOp>(VectorType::get(count / 2, getI16Type()), pointer, count);
  for (int64_t pair = 0; pair < count / 2; ++pair) {
    Value decoded = decodePair(element, extract(codes, pair));
    values.append({extract(decoded, 0), extract(decoded, 1)});
  }
  return values;
}

SmallVector<Value> SimtBuilder::loadFloats(Type element, Value pointer, int64_t count) {
  if (isa<Float8E4M3FNType, Float8E5M2Type>(element))
    return decodeBytes(element, pointer, count);
  int64_t bytes = bytesOf(element) * count;
  Value loaded = create<LLVM::LoadOp>(VectorType::get(count, element), pointer, bytes);
  if (!element.isF32())
    loaded = create<LLVM::FPExtOp>(VectorType::get(count, getF32Type()), loaded);
  SmallVector<Value> values;
  for (int64_t index = 0; index < count; ++index)
    values.push_back(extract(loaded, index));
  return values;
}

Value SimtBuilder::loadScale(Type element, Value pointer) {
  if (!isa<Float8E8M0FNUType>(element))
    return loadFloat(element, pointer);
  // The exponent of a power of two. 0 is 2^-127, an f32 without its leading one; 255 is NaN.
  Value exponent = create<LLVM::ZExtOp>(getI32Type(), create<LLVM::LoadOp>(getI8Type(), pointer, 1));
  Value bits = select(equal(exponent, constI32(0)), constI32(0x400000), shiftLeft(exponent, 23));
  return f32OfBits(select(equal(exponent, constI32(255)), constI32(0x7FC00000), bits));
}

//===----------------------------------------------------------------------===//
// Stores
//===----------------------------------------------------------------------===//

void SimtBuilder::store(Value value, Value pointer) { create<LLVM::StoreOp>(value, pointer, bytesOf(value.getType())); }

Value SimtBuilder::encodePairE4M3(Value low, Value high) {
  // Round to nearest even, saturating at 448; NaN gives 0x7F.
  return intrinsic(getI16Type(), "llvm.nvvm.ff.to.e4m3x2.rn", {high, low});
}

void SimtBuilder::storeFloats(Type element, Value pointer, ArrayRef<Value> values) {
  int64_t count = static_cast<int64_t>(values.size());
  Value packed;
  if (isa<Float8E4M3FNType>(element)) {
    if (count == 1)
      return store(create<LLVM::TruncOp>(getI8Type(), encodePairE4M3(values[0], constF32(0.0))), pointer);
    SmallVector<Value> pairs;
    for (int64_t index = 0; index < count; index += 2)
      pairs.push_back(encodePairE4M3(values[index], values[index + 1]));
    packed = packVector(pairs);
  } else {
    packed = packVector(values);
    if (!element.isF32())
      packed = create<LLVM::FPTruncOp>(VectorType::get(count, element), packed);
  }
  create<LLVM::StoreOp>(packed, pointer, bytesOf(element) * count);
}

} // namespace quant::nvvm
