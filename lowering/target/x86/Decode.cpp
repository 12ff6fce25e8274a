//===- Decode.cpp - codes to f32 and back ---------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/Decode.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/APFloat.h"

using namespace mlir;
using namespace quant::host;

bool quant::host::isDecodable(Type storage) {
  return isa<Float8E4M3FNType, Float8E5M2Type, Float32Type, Float16Type, BFloat16Type>(storage) || storage.isInteger(8) ||
         storage.isInteger(4);
}

int64_t quant::host::storageBytes(Type storage, int64_t count) {
  return (count * storage.getIntOrFloatBitWidth() + 7) / 8;
}

//===----------------------------------------------------------------------===//
// Any instruction set
//===----------------------------------------------------------------------===//

/// E4M3 by way of f16: shifted into place the bits are value * 2^-8, subnormals included, and the conversion to f32 is exact.
/// Only the NaN codes need care.
static Value decodeE4M3(HostBuilder &b, Value bytes) {
  int64_t lanes = cast<VectorType>(bytes.getType()).getNumElements();
  OpBuilder &builder = b.builder;
  VectorType half = b.vec(lanes, builder.getI16Type());
  Value wide = arith::ExtSIOp::create(builder, b.loc, half, bytes);
  Value shifted = arith::ShLIOp::create(builder, b.loc, wide, b.splatInt(half, 7));
  Value bits = arith::AndIOp::create(builder, b.loc, shifted, b.splatInt(half, 0xBF80));
  Value scaled = arith::BitcastOp::create(builder, b.loc, b.vec(lanes, builder.getF16Type()), bits);
  Value value = b.mulF(arith::ExtFOp::create(builder, b.loc, b.vecF32(lanes), scaled), b.splatF32(lanes, 256.0f));
  Value magnitude = arith::AndIOp::create(builder, b.loc, bytes, b.splatInt(cast<VectorType>(bytes.getType()), 0x7F));
  Value isNan = b.compare(arith::CmpIPredicate::eq, magnitude, b.splatInt(cast<VectorType>(bytes.getType()), 0x7F));
  return b.select(isNan, b.splatF32(lanes, std::numeric_limits<float>::quiet_NaN()), value);
}

/// E5M2 is the upper half of an f16.
static Value decodeE5M2(HostBuilder &b, Value bytes) {
  int64_t lanes = cast<VectorType>(bytes.getType()).getNumElements();
  VectorType half = b.vec(lanes, b.builder.getI16Type());
  Value wide = arith::ExtUIOp::create(b.builder, b.loc, half, bytes);
  Value shifted = arith::ShLIOp::create(b.builder, b.loc, wide, b.splatInt(half, 8));
  Value value = arith::BitcastOp::create(b.builder, b.loc, b.vec(lanes, b.builder.getF16Type()), shifted);
  return arith::ExtFOp::create(b.builder, b.loc, b.vecF32(lanes), value);
}

static Value decodeInteger(HostBuilder &b, Value values) {
  int64_t lanes = cast<VectorType>(values.getType()).getNumElements();
  Value wide = arith::ExtSIOp::create(b.builder, b.loc, b.vec(lanes, b.i32()), values);
  return arith::SIToFPOp::create(b.builder, b.loc, b.vecF32(lanes), wide);
}

/// The nibbles of `lanes / 2` bytes, sign-extended to bytes, the lower nibble first.
static Value loadNibbles(HostBuilder &b, Value address, int64_t lanes) {
  int64_t pairs = (lanes + 1) / 2;
  VectorType bytes = b.vec(pairs, b.i8());
  Value packed = b.load(bytes, address), four = b.splatInt(bytes, 4);
  Value low = arith::ShRSIOp::create(b.builder, b.loc, arith::ShLIOp::create(b.builder, b.loc, packed, four), four);
  Value high = arith::ShRSIOp::create(b.builder, b.loc, packed, four);
  SmallVector<int64_t> interleave;
  for (int64_t lane = 0; lane < lanes; ++lane)
    interleave.push_back(lane / 2 + (lane % 2) * pairs);
  return vector::ShuffleOp::create(b.builder, b.loc, low, high, interleave);
}

Value quant::host::decode(HostBuilder &b, Type storage, Value address, int64_t lanes) {
  if (isa<Float32Type, Float16Type, BFloat16Type>(storage))
    return b.loadAsF32(storage, address, lanes);
  if (storage.isInteger(4))
    return decodeInteger(b, loadNibbles(b, address, lanes));
  Value bytes = b.load(b.vec(lanes, b.i8()), address);
  if (isa<Float8E4M3FNType>(storage))
    return decodeE4M3(b, bytes);
  if (isa<Float8E5M2Type>(storage))
    return decodeE5M2(b, bytes);
  return decodeInteger(b, bytes);
}

//===----------------------------------------------------------------------===//
// AVX-512 with byte permutes
//===----------------------------------------------------------------------===//

/// Byte `part` (0 low, 1 high) of the bf16 of codes first .. first + 63 of the positive half.
static Value bf16Table(HostBuilder &b, const llvm::fltSemantics &semantics, int part, int first) {
  SmallVector<int8_t> bytes;
  for (int code = first; code < first + 64; ++code) {
    llvm::APFloat value(semantics, APInt(8, code));
    bool lossy;
    value.convert(llvm::APFloat::BFloat(), llvm::APFloat::rmNearestTiesToEven, &lossy);
    bytes.push_back(static_cast<int8_t>(value.bitcastToAPInt().getZExtValue() >> (8 * part)));
  }
  return arith::ConstantOp::create(b.builder, b.loc, DenseElementsAttr::get(b.vec(64, b.i8()), ArrayRef(bytes)));
}

static Value lookUp(HostBuilder &b, Value table0, Value codes, Value table1) {
  return LLVM::CallIntrinsicOp::create(b.builder, b.loc, b.vec(64, b.i8()),
                                       b.builder.getStringAttr("llvm.x86.avx512.vpermi2var.qi.512"),
                                       ValueRange{table0, codes, table1})
      .getResult(0);
}

/// 64 FP8 codes through a 128-entry table of bf16, which holds every FP8 value exactly: two byte permutes look up low and high
/// bytes, an or puts the sign back, unpacking pairs them to bf16, and a shift or a mask makes each half of a dword an f32.
/// Unpacking works inside 128-bit parts, so the four vectors come out shuffled: columnOf64().
static SmallVector<Value> decode64ByTable(HostBuilder &b, Type storage, Value codes) {
  const llvm::fltSemantics &semantics = cast<FloatType>(storage).getFloatSemantics();
  OpBuilder &builder = b.builder;
  VectorType bytes = b.vec(64, b.i8()), words = b.vec(kLanes, b.i32());
  Value low = lookUp(b, bf16Table(b, semantics, 0, 0), codes, bf16Table(b, semantics, 0, 64));
  Value high = lookUp(b, bf16Table(b, semantics, 1, 0), codes, bf16Table(b, semantics, 1, 64));
  Value sign = arith::AndIOp::create(builder, b.loc, codes, b.splatInt(bytes, 0x80));
  high = arith::OrIOp::create(builder, b.loc, high, sign);
  SmallVector<Value> result;
  for (int64_t half = 0; half < 2; ++half) {
    SmallVector<int64_t> unpack;
    for (int64_t lane = 0; lane < 4; ++lane)
      for (int64_t j = 0; j < 8; ++j)
        llvm::append_values(unpack, 16 * lane + 8 * half + j, 64 + 16 * lane + 8 * half + j);
    Value pairs = vector::ShuffleOp::create(builder, b.loc, low, high, unpack);
    Value dwords = vector::BitCastOp::create(builder, b.loc, words, pairs);
    Value even = arith::ShLIOp::create(builder, b.loc, dwords, b.splatInt(words, 16));
    Value odd = arith::AndIOp::create(builder, b.loc, dwords, b.splatInt(words, 0xFFFF0000));
    for (Value bits : {even, odd})
      result.push_back(arith::BitcastOp::create(builder, b.loc, b.vecF32(), bits));
  }
  return result;
}

/// The column that lane `lane` of vector `vector` holds: of part lane / 4, the even (vector 0, 2) or odd codes of the lower (0, 1) or
/// upper half.
static int64_t columnOf64(int64_t vector, int64_t lane) { return lane / 4 * 16 + vector / 2 * 8 + lane % 4 * 2 + vector % 2; }

bool quant::host::hasShuffledDecode(HostBuilder &b, Type storage) {
  return b.target.hasByteTables && isa<Float8E4M3FNType, Float8E5M2Type>(storage);
}

SmallVector<Value> quant::host::decode64Shuffled(HostBuilder &b, Type storage, Value address) {
  return decode64ByTable(b, storage, b.load(b.vec(64, b.i8()), address));
}

SmallVector<Value> quant::host::shuffle64(HostBuilder &b, ArrayRef<Value> vectors) {
  SmallVector<Value> result;
  for (int64_t vector = 0; vector < 4; ++vector) {
    // Each part of four lanes comes from one source.
    auto merge = [&](Value x, Value y, bool join) {
      SmallVector<int64_t> mask(kLanes);
      for (int64_t lane = 0; lane < kLanes; ++lane)
        mask[lane] = join ? lane + (lane / 8) * kLanes : columnOf64(vector, lane % 4) + lane / 4 % 2 * kLanes;
      return vector::ShuffleOp::create(b.builder, b.loc, x, y, mask).getResult();
    };
    Value low = merge(vectors[0], vectors[1], false), high = merge(vectors[2], vectors[3], false);
    result.push_back(merge(low, high, true));
  }
  return result;
}

SmallVector<Value> quant::host::decode64(HostBuilder &b, Type storage, Value address) {
  if (hasShuffledDecode(b, storage)) {
    SmallVector<int64_t> order(64);
    // The codes are shuffled first, so that the vectors come out in order.
    for (int64_t vector = 0; vector < 4; ++vector)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        order[columnOf64(vector, lane)] = vector * kLanes + lane;
    Value raw = b.load(b.vec(64, b.i8()), address);
    return decode64ByTable(b, storage, vector::ShuffleOp::create(b.builder, b.loc, raw, raw, order));
  }
  SmallVector<Value> result;
  for (int64_t quarter = 0; quarter < 4; ++quarter)
    result.push_back(decode(b, storage, b.at(address, storageBytes(storage, kLanes * quarter), 1), kLanes));
  return result;
}

//===----------------------------------------------------------------------===//
// f32 to E4M3
//===----------------------------------------------------------------------===//

Value quant::host::encodeE4M3(HostBuilder &b, Value vector) {
  OpBuilder &builder = b.builder;
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  VectorType words = b.vec(lanes, b.i32());
  auto integer = [&](int64_t value) { return b.splatInt(words, value); };
  auto shiftRight = [&](Value value, int64_t bits) {
    return arith::ShRUIOp::create(builder, b.loc, value, integer(bits)).getResult();
  };
  auto bitsOf = [&](Value value) { return arith::BitcastOp::create(builder, b.loc, words, value).getResult(); };
  Value bits = bitsOf(vector);
  Value sign = arith::AndIOp::create(builder, b.loc, shiftRight(bits, 24), integer(0x80));
  Value magnitudeBits = arith::AndIOp::create(builder, b.loc, bits, integer(0x7FFFFFFF));
  Value magnitude = arith::BitcastOp::create(builder, b.loc, b.vecF32(lanes), magnitudeBits);
  Value clamped = arith::MinNumFOp::create(builder, b.loc, magnitude, b.splatF32(lanes, 448.0f));
  // Normal codes: round the 23-bit fraction to 3 bits, then move the exponent's bias from 127 to 7.
  Value normalBits = bitsOf(clamped);
  Value odd = arith::AndIOp::create(builder, b.loc, shiftRight(normalBits, 20), integer(1));
  Value rounded = b.add(b.add(normalBits, integer(0x7FFFF)), odd);
  Value normal = b.sub(shiftRight(rounded, 20), integer(120 << 3));
  // Subnormal codes count steps of 2^-9, the spacing of f32 just above 2^14: adding 2^14 rounds to them.
  Value shifted = b.addF(clamped, b.splatF32(lanes, 16384.0f));
  Value subnormal = b.sub(bitsOf(shifted), bitsOf(b.splatF32(lanes, 16384.0f)));
  Value isSubnormal = b.compareF(arith::CmpFPredicate::OLT, clamped, b.splatF32(lanes, 0x1p-6f));
  Value isNan = b.compareF(arith::CmpFPredicate::UNO, vector, vector);
  Value code = b.select(isNan, integer(0x7F), b.select(isSubnormal, subnormal, normal));
  Value signedCode = arith::OrIOp::create(builder, b.loc, code, sign);
  return arith::TruncIOp::create(builder, b.loc, b.vec(lanes, b.i8()), signedCode);
}
