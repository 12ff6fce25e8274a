//===- Decode.cpp - codes to f32 and back ---------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/Decode.h"

#include "dialects/rows/NarrowFloats.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/APFloat.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

bool quant::host::isDecodable(Type storage) {
  if (isa<Float8E4M3FNType, Float8E5M2Type, Float4E2M1FNType, Float32Type, Float16Type, BFloat16Type>(storage))
    return true;
  auto integer = dyn_cast<IntegerType>(storage);
  return integer && !integer.isSigned() && (integer.getWidth() == 8 || integer.getWidth() == 4);
}

bool quant::host::isNibbles(Type storage) { return storage.getIntOrFloatBitWidth() == 4; }

int64_t quant::host::storageBytes(Type storage, int64_t count) { return (count * storage.getIntOrFloatBitWidth() + 7) / 8; }

//===----------------------------------------------------------------------===//
// Any instruction set
//===----------------------------------------------------------------------===//

/// E5M2 is the upper half of an f16.
static Value decodeE5M2(HostBuilder &b, Value bytes) {
  return b.convert(b.f32(), b.bitcast(b.getF16Type(), b.shiftLeft(b.zeroExtend(b.getI16Type(), bytes), 8)));
}

static Value decodeInteger(HostBuilder &b, Value values, bool isUnsigned) {
  return b.convert(b.f32(), isUnsigned ? b.zeroExtend(b.i32(), values) : b.convert(b.i32(), values));
}

/// The nibbles of `lanes / 2` bytes, extended to bytes, the lower nibble first.
static Value loadNibbles(HostBuilder &b, Value address, int64_t lanes, bool isUnsigned) {
  int64_t pairs = (lanes + 1) / 2;
  VectorType bytes = b.vec(pairs, b.i8());
  Value packed = b.load(bytes, address);
  auto signExtend = [&](Value upper) -> Value { return arith::ShRSIOp::create(b, upper, b.integer(bytes, 4)); };
  Value low = isUnsigned ? b.bitAnd(packed, 15) : signExtend(b.shiftLeft(packed, 4));
  Value high = isUnsigned ? b.shiftRight(packed, 4) : signExtend(packed);
  SmallVector<int64_t> interleave;
  for (int64_t lane = 0; lane < lanes; ++lane)
    interleave.push_back(lane / 2 + (lane % 2) * pairs);
  return vector::ShuffleOp::create(b, low, high, interleave);
}

Value quant::host::decode(HostBuilder &b, Type storage, Value address, int64_t lanes) {
  // A bf16 is the upper half of an f32.
  if (storage.isBF16())
    return b.bitcast(b.f32(), b.shiftLeft(b.zeroExtend(b.i32(), b.load(b.vec(lanes, b.getI16Type()), address)), 16));
  if (isa<Float32Type, Float16Type>(storage))
    return b.convert(b.f32(), b.load(b.vec(lanes, storage), address));
  bool isUnsigned = storage.isUnsignedInteger();
  if (isa<Float4E2M1FNType>(storage))
    return rows::decodeE2M1(b, loadNibbles(b, address, lanes, /*isUnsigned=*/true));
  if (storage.isInteger(4))
    return decodeInteger(b, loadNibbles(b, address, lanes, isUnsigned), isUnsigned);
  Value bytes = b.load(b.vec(lanes, b.i8()), address);
  if (isa<Float8E4M3FNType>(storage))
    return rows::decodeE4M3(b, bytes);
  if (isa<Float8E5M2Type>(storage))
    return decodeE5M2(b, bytes);
  return decodeInteger(b, bytes, isUnsigned);
}

Value quant::host::loadCodes(HostBuilder &b, Type storage, Value address, int64_t lanes) {
  return storage.getIntOrFloatBitWidth() == 4 ? loadNibbles(b, address, lanes, storage.isUnsignedInteger())
                                              : b.load(b.vec(lanes, b.i8()), address);
}

// In row programs a vector of one element is a scalar.
Value HostBuilder::loadLanes(Type element, Value address, int64_t lanes) {
  Value vector = decode(*this, element, address, lanes);
  return lanes == 1 ? extract(vector, 0) : vector;
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
  return arith::ConstantOp::create(b, DenseElementsAttr::get(b.vec(64, b.i8()), ArrayRef(bytes)));
}

static Value lookUp(HostBuilder &b, Value table0, Value codes, Value table1) {
  return LLVM::CallIntrinsicOp::create(b, b.vec(64, b.i8()), b.getStringAttr("llvm.x86.avx512.vpermi2var.qi.512"),
                                       ValueRange{table0, codes, table1})
      .getResult(0);
}

/// 64 FP8 codes through a 128-entry table of bf16, which holds every FP8 value exactly: two byte permutes look up low and high
/// bytes, an or puts the sign back, unpacking pairs them to bf16. Unpacking works inside 128-bit parts, so the dwords come out
/// shuffled: columnOf64(2 * vector + half, lane).
static SmallVector<Value> pairs64ByTable(HostBuilder &b, Type storage, Value codes) {
  const llvm::fltSemantics &semantics = cast<FloatType>(storage).getFloatSemantics();
  Value low = lookUp(b, bf16Table(b, semantics, 0, 0), codes, bf16Table(b, semantics, 0, 64));
  Value high = lookUp(b, bf16Table(b, semantics, 1, 0), codes, bf16Table(b, semantics, 1, 64));
  high = b.bitOr(high, b.bitAnd(codes, 0x80));
  SmallVector<Value> result;
  for (int64_t half = 0; half < 2; ++half) {
    SmallVector<int64_t> unpack;
    for (int64_t lane = 0; lane < 4; ++lane)
      for (int64_t j = 0; j < 8; ++j)
        llvm::append_values(unpack, 16 * lane + 8 * half + j, 64 + 16 * lane + 8 * half + j);
    result.push_back(vector::BitCastOp::create(b, b.vec(kLanes, b.i32()), vector::ShuffleOp::create(b, low, high, unpack)));
  }
  return result;
}

/// The same as f32: a shift or a mask makes each half of a dword one.
static SmallVector<Value> decode64ByTable(HostBuilder &b, Type storage, Value codes) {
  SmallVector<Value> result;
  for (Value pairs : pairs64ByTable(b, storage, codes))
    for (Value bits : {b.shiftLeft(pairs, 16), b.bitAnd(pairs, 0xFFFF0000)})
      result.push_back(b.bitcast(b.f32(), bits));
  return result;
}

/// The column that lane `lane` of vector `vector` holds: of part lane / 4, the even (vector 0, 2) or odd codes of the lower (0,
/// 1) or upper half.
static int64_t columnOf64(int64_t vector, int64_t lane) { return lane / 4 * 16 + vector / 2 * 8 + lane % 4 * 2 + vector % 2; }

bool quant::host::hasDecode64(const HostBuilder &b, Type storage) {
  return b.target.hasByteTables && isa<Float8E4M3FNType, Float8E5M2Type>(storage);
}

/// 64 codes, shuffled so that the vectors of their table come out in order.
static Value loadShuffled(HostBuilder &b, Value address) {
  SmallVector<int64_t> order(64);
  for (int64_t vector = 0; vector < 4; ++vector)
    for (int64_t lane = 0; lane < kLanes; ++lane)
      order[columnOf64(vector, lane)] = vector * kLanes + lane;
  Value raw = b.load(b.vec(64, b.i8()), address);
  return vector::ShuffleOp::create(b, raw, raw, order);
}

SmallVector<Value> quant::host::decode64(HostBuilder &b, Type storage, Value address) {
  return decode64ByTable(b, storage, loadShuffled(b, address));
}

SmallVector<Value> quant::host::decode64Pairs(HostBuilder &b, Type storage, Value address) {
  return pairs64ByTable(b, storage, loadShuffled(b, address));
}

//===----------------------------------------------------------------------===//
// In another order
//===----------------------------------------------------------------------===//

/// Codes that decode32() takes.
static constexpr int64_t kWordCodes = 32;

/// 32 FP8 codes are 16 words of two: the lower codes, then the upper ones, each as the upper byte of a word that a shift and a
/// mask make an f16. That of E4M3 has a bias of 15 where the code has one of 7: it is the number times 2^-8, subnormal or not.
static SmallVector<Value> decode32(HostBuilder &b, Type storage, Value codes) {
  Value words = vector::BitCastOp::create(b, b.vec(kLanes, b.getI16Type()), codes);
  SmallVector<Value> result;
  for (Value upper : {b.shiftLeft(words, 8), words}) {
    Value half = isa<Float8E5M2Type>(storage) ? b.bitAnd(upper, 0xFF00)
                                              : b.bitAnd(arith::ShRSIOp::create(b, upper, b.integer(words.getType(), 1)), 0xBF80);
    result.push_back(b.convert(b.f32(), b.bitcast(b.getF16Type(), half)));
  }
  return result;
}

bool quant::host::hasDeferredNans(const HostBuilder &b, Type storage) {
  return isa<Float8E4M3FNType>(storage) && !hasDecode64(b, storage);
}

Value quant::host::initialLargestCode(HostBuilder &b) { return b.integer(b.vec(kWordCodes, b.i8()), 0); }

/// Twice a code as a byte is largest, 0xFE, for 0x7F and 0xFF.
static Value largestOf(HostBuilder &b, Value largestCode, Value codes) {
  return arith::MaxUIOp::create(b, largestCode, b.add(codes, codes));
}

Value quant::host::hasNans(HostBuilder &b, Value largestCode) {
  Value equal = b.equal(largestCode, 0xFE);
  return b.compare(arith::CmpIPredicate::ne, b.extract(vector::BitCastOp::create(b, b.vec(1, b.i32()), equal), 0), 0);
}

/// Codes of four bits in a dword.
static constexpr int64_t kNibbles = 8;

int64_t quant::host::shuffledColumns(HostBuilder &b, Type storage) {
  if (isNibbles(storage))
    return kNibbles * kLanes;
  return hasDecode64(b, storage) ? 64 : isa<Float8E4M3FNType, Float8E5M2Type>(storage) ? kWordCodes : 0;
}

int64_t quant::host::shuffledColumn(HostBuilder &b, Type storage, int64_t vector, int64_t lane) {
  if (isNibbles(storage))
    return kNibbles * lane + vector;
  return hasDecode64(b, storage) ? columnOf64(vector, lane) : 2 * lane + vector;
}

/// What a code of four bits means.
static float numberOfNibble(Type storage, int64_t code) {
  if (auto type = dyn_cast<FloatType>(storage))
    return llvm::APFloat(type.getFloatSemantics(), APInt(4, code)).convertToFloat();
  return static_cast<float>(!storage.isUnsignedInteger() && code > 7 ? code - 16 : code);
}

/// 16 E2M1 codes, the lowest bits of dwords: a permute of AVX2 looks up the magnitude by the lower three bits of an index, the
/// fourth is the sign.
static Value lookUpE2M1(HostBuilder &b, Value codes) {
  constexpr int64_t kHalf = kLanes / 2;
  SmallVector<float> numbers;
  for (int64_t code = 0; code < kHalf; ++code)
    numbers.push_back(numberOfNibble(b.getType<Float4E2M1FNType>(), code));
  Value table = arith::ConstantOp::create(b, DenseElementsAttr::get(b.vecF32(kHalf), ArrayRef(numbers)));
  SmallVector<Value> halves;
  for (int64_t first : {int64_t(0), kHalf}) {
    Value indices = b.extract(codes, first, kHalf);
    auto name = b.getStringAttr("llvm.x86.avx2.permps");
    halves.push_back(LLVM::CallIntrinsicOp::create(b, b.vecF32(kHalf), name, ValueRange{table, indices}).getResult(0));
  }
  Value sign = b.bitAnd(b.shiftLeft(codes, 28), 0x80000000);
  return b.bitcast(b.f32(), b.bitOr(b.bitcast(b.i32(), b.pack(halves)), sign));
}

/// 64 bytes are 16 dwords of eight codes. Code j of each, times 4 bits down, is an index of a permute that looks its number up:
/// the permute takes the lower four bits of an index alone. Without AVX-512 integers become the lowest bits of an f32.
static SmallVector<Value> decode128Nibbles(HostBuilder &b, Type storage, Value address, int64_t zero) {
  VectorType words = b.vec(kLanes, b.i32());
  Value packed = b.load(words, address);
  SmallVector<float> numbers;
  for (int64_t code = 0; code < 16; ++code)
    numbers.push_back(numberOfNibble(storage, code) - static_cast<float>(zero));
  Value table = arith::ConstantOp::create(b, DenseElementsAttr::get(b.vecF32(), ArrayRef(numbers)));
  SmallVector<Value> result;
  for (int64_t j = 0; j < kNibbles; ++j) {
    Value shifted = j ? b.shiftRight(packed, 4 * j) : packed;
    if (b.target.hasByteTables) {
      auto name = b.getStringAttr("llvm.x86.avx512.permvar.sf.512");
      result.push_back(LLVM::CallIntrinsicOp::create(b, b.vecF32(), name, ValueRange{table, shifted}).getResult(0));
      continue;
    }
    if (isa<Float4E2M1FNType>(storage)) {
      result.push_back(lookUpE2M1(b, shifted));
      continue;
    }
    // The bits of 2^23 with a code in the lowest ones are 2^23 + code. A two's complement code is 8 less than its sign bit turned
    // around.
    constexpr int64_t kTwo23 = 0x4B000000;
    bool isUnsigned = storage.isUnsignedInteger();
    Value bits = b.bitXor(b.bitAnd(shifted, 15), b.integer(words, kTwo23 + (isUnsigned ? 0 : 8)));
    double offset = 0x1p23 + static_cast<double>(zero + (isUnsigned ? 0 : 8));
    result.push_back(b.sub(b.bitcast(b.f32(), bits), b.splatF32(kLanes, offset)));
  }
  return result;
}

SmallVector<Value> quant::host::decodeShuffled(HostBuilder &b, Type storage, Value address, int64_t zero, Value *largestCode) {
  if (isNibbles(storage))
    return decode128Nibbles(b, storage, address, zero);
  Value codes = b.load(b.vec(shuffledColumns(b, storage), b.i8()), address);
  if (hasDecode64(b, storage))
    return decode64ByTable(b, storage, codes);
  if (hasDeferredNans(b, storage))
    *largestCode = largestOf(b, *largestCode, codes);
  return decode32(b, storage, codes);
}

Value quant::host::shuffle(HostBuilder &b, Type storage, Value values) {
  int64_t count = cast<VectorType>(values.getType()).getNumElements();
  SmallVector<int64_t> mask(count);
  for (int64_t index = 0; index < count; ++index)
    mask[index] = shuffledColumn(b, storage, index / kLanes, index % kLanes);
  return vector::ShuffleOp::create(b, values, values, mask);
}
