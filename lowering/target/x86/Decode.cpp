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
#include "llvm/ADT/bit.h"

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

/// x and y unpacked: of each 128-bit part the elements of the lower or of the upper half, in turn.
static Value unpack(HostBuilder &b, Value x, Value y, bool upper) {
  auto type = cast<VectorType>(x.getType());
  int64_t count = type.getNumElements(), inPart = 128 / type.getElementTypeBitWidth();
  SmallVector<int64_t> mask;
  for (int64_t part = 0; part < count; part += inPart)
    for (int64_t i = 0; i < inPart / 2; ++i) {
      int64_t element = part + (upper ? inPart / 2 : 0) + i;
      llvm::append_values(mask, element, count + element);
    }
  return vector::ShuffleOp::create(b, x, y, mask);
}

/// 64 FP8 codes through a 128-entry table of bf16, which holds every FP8 value exactly: two byte permutes look up low and high
/// bytes, an or puts the sign back, unpacking pairs them to bf16. Unpacking works inside 128-bit parts, so the dwords come out
/// shuffled: columnOf64(2 * vector + half, lane).
SmallVector<Value> quant::host::unpack64Pairs(HostBuilder &b, Type storage, Value codes) {
  const llvm::fltSemantics &semantics = cast<FloatType>(storage).getFloatSemantics();
  Value low = lookUp(b, bf16Table(b, semantics, 0, 0), codes, bf16Table(b, semantics, 0, 64));
  Value high = lookUp(b, bf16Table(b, semantics, 1, 0), codes, bf16Table(b, semantics, 1, 64));
  high = b.bitOr(high, b.bitAnd(codes, 0x80));
  SmallVector<Value> result;
  for (bool upper : {false, true})
    result.push_back(vector::BitCastOp::create(b, b.vec(kLanes, b.i32()), unpack(b, low, high, upper)));
  return result;
}

/// The same as f32: a shift or a mask makes each half of a dword one.
static SmallVector<Value> decode64ByTable(HostBuilder &b, Type storage, Value codes) {
  SmallVector<Value> result;
  for (Value pairs : unpack64Pairs(b, storage, codes))
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

/// 64 codes in an order in which `codeOf(vector, lane)` comes out of the table where columnOf64() would without.
static Value loadShuffled(HostBuilder &b, Value address, function_ref<int64_t(int64_t vector, int64_t lane)> codeOf) {
  SmallVector<int64_t> order(64);
  for (int64_t vector = 0; vector < 4; ++vector)
    for (int64_t lane = 0; lane < kLanes; ++lane)
      order[columnOf64(vector, lane)] = codeOf(vector, lane);
  Value raw = b.load(b.vec(64, b.i8()), address);
  return vector::ShuffleOp::create(b, raw, raw, order);
}

SmallVector<Value> quant::host::decode64(HostBuilder &b, Type storage, Value address) {
  auto inOrder = [](int64_t vector, int64_t lane) { return vector * kLanes + lane; };
  return decode64ByTable(b, storage, loadShuffled(b, address, inOrder));
}

SmallVector<Value> quant::host::decode64Pairs(HostBuilder &b, Type storage, Value address) {
  auto neighbours = [](int64_t vector, int64_t lane) { return vector / 2 * 2 * kLanes + 2 * lane + vector % 2; };
  return unpack64Pairs(b, storage, loadShuffled(b, address, neighbours));
}

//===----------------------------------------------------------------------===//
// In another order
//===----------------------------------------------------------------------===//

/// Codes that decode32() takes.
static constexpr int64_t kWordCodes = 32;

/// Words as the upper halves of f32.
static Value unpackUpperHalves(HostBuilder &b, Value words, bool upper) {
  Value pairs = unpack(b, b.integer(words.getType(), 0), words, upper);
  return vector::BitCastOp::create(b, b.vecF32(cast<VectorType>(pairs.getType()).getNumElements() / 2), pairs);
}

/// The word of 16 that lane `lane` of both halves, unpacked one after the other, holds.
static int64_t wordOfUnpacked(int64_t lane) { return lane / 8 * 4 + lane % 8 / 4 * 8 + lane % 4; }

/// 32 FP8 codes are 16 words of two: the lower codes, then the upper ones, each as the upper byte of a word that a shift and a
/// mask make the upper half of an f32 (E4M3) or an f16 (E5M2). The f32 has a bias of 127 where E4M3 has one of 7: it is the
/// number times 2^-120, subnormal or not. Zen 1 converts f16 in the port that multiply-adds read their third operand through.
static SmallVector<Value> decode32(HostBuilder &b, Type storage, Value codes) {
  Value words = vector::BitCastOp::create(b, b.vec(kLanes, b.getI16Type()), codes);
  SmallVector<Value> result;
  for (Value upper : {b.shiftLeft(words, 8), words}) {
    if (isa<Float8E5M2Type>(storage)) {
      result.push_back(b.convert(b.f32(), b.bitcast(b.getF16Type(), b.bitAnd(upper, 0xFF00))));
      continue;
    }
    Value shifted = arith::ShRSIOp::create(b, upper, b.integer(words.getType(), 4));
    Value half = b.bitAnd(shifted, 0x87F0);
    result.push_back(b.pack({unpackUpperHalves(b, half, false), unpackUpperHalves(b, half, true)}));
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
  if (hasDecode64(b, storage))
    return columnOf64(vector, lane);
  return 2 * (isa<Float8E5M2Type>(storage) ? lane : wordOfUnpacked(lane)) + vector;
}

/// What a code of four bits means.
static float numberOfNibble(Type storage, int64_t code) {
  if (auto type = dyn_cast<FloatType>(storage))
    return llvm::APFloat(type.getFloatSemantics(), APInt(4, code)).convertToFloat();
  return static_cast<float>(!storage.isUnsignedInteger() && code > 7 ? code - 16 : code);
}

/// Byte `part` (0 low, 1 high) of the bf16 of the 16 numbers, which are exact in it.
static Value bf16Bytes(HostBuilder &b, ArrayRef<float> numbers, int part) {
  SmallVector<int8_t> bytes;
  for (float number : numbers)
    bytes.push_back(static_cast<int8_t>(llvm::bit_cast<uint32_t>(number) >> (16 + 8 * part)));
  bytes.append(bytes.begin(), bytes.end()); // a permute looks up inside 128-bit parts
  return arith::ConstantOp::create(b, DenseElementsAttr::get(b.vec(32, b.i8()), ArrayRef(bytes)));
}

/// 64 indices below 16 in a table that bf16Bytes() made.
static Value lookUpBytes(HostBuilder &b, Value table, Value indices) {
  SmallVector<Value> halves;
  for (int64_t first : {0, 32})
    halves.push_back(LLVM::CallIntrinsicOp::create(b, b.vec(32, b.i8()), b.getStringAttr("llvm.x86.avx2.pshuf.b"),
                                                   ValueRange{table, b.extract(indices, first, 32)})
                         .getResult(0));
  return b.pack(halves);
}

/// 64 bytes of codes by permutes of bytes: both nibbles of a byte look up the two bytes of their bf16, the upper half of an f32.
/// Unpacking works inside 128-bit parts, whose 4 x 4 bytes are transposed before, so that code j of dword i comes out in lane i
/// of vector j. Shifts of dwords, one for each j, take twice the time on Zen 1.
static SmallVector<Value> lookUp128Nibbles(HostBuilder &b, ArrayRef<float> numbers, Value packed) {
  SmallVector<int64_t> transposed;
  for (int64_t i = 0; i < 64; ++i)
    transposed.push_back(i / 16 * 16 + i % 4 * 4 + i % 16 / 4);
  Value bytes = vector::ShuffleOp::create(b, packed, packed, transposed);
  Value low = bf16Bytes(b, numbers, 0), high = bf16Bytes(b, numbers, 1);
  SmallVector<Value> result(kNibbles);
  for (int64_t nibble : {0, 1}) {
    Value indices = nibble ? b.shiftRight(bytes, 4) : b.bitAnd(bytes, 15);
    Value lowBytes = lookUpBytes(b, low, indices), highBytes = lookUpBytes(b, high, indices);
    for (int64_t word : {0, 1}) {
      Value words = vector::BitCastOp::create(b, b.vec(32, b.getI16Type()), unpack(b, lowBytes, highBytes, word));
      for (int64_t dword : {0, 1})
        result[4 * word + 2 * dword + nibble] = unpackUpperHalves(b, words, dword);
    }
  }
  return result;
}

/// 64 bytes are 16 dwords of eight codes. Code j of each is in vector j. With AVX-512 each, 4 times j bits down, is an index of a
/// permute that looks its number up: the permute takes the lower four bits of an index alone.
static SmallVector<Value> decode128Nibbles(HostBuilder &b, Type storage, Value address, int64_t zero) {
  SmallVector<float> numbers;
  for (int64_t code = 0; code < 16; ++code)
    numbers.push_back(numberOfNibble(storage, code) - static_cast<float>(zero));
  if (!b.target.hasByteTables)
    return lookUp128Nibbles(b, numbers, b.load(b.vec(4 * kLanes, b.i8()), address));
  Value packed = b.load(b.vec(kLanes, b.i32()), address);
  Value table = arith::ConstantOp::create(b, DenseElementsAttr::get(b.vecF32(), ArrayRef(numbers)));
  SmallVector<Value> result;
  for (int64_t j = 0; j < kNibbles; ++j) {
    auto name = b.getStringAttr("llvm.x86.avx512.permvar.sf.512");
    Value indices = j ? b.shiftRight(packed, 4 * j) : packed;
    result.push_back(LLVM::CallIntrinsicOp::create(b, b.vecF32(), name, ValueRange{table, indices}).getResult(0));
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
