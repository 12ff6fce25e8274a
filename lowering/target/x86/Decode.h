//===- Decode.h - codes to f32 and back ---------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_DECODE_H
#define QUANT_LOWERING_TARGET_X86_DECODE_H

#include "lowering/target/x86/HostBuilder.h"

namespace quant::host {

/// Whether kernels can read a weight of this element type.
bool isDecodable(Type storage);

/// Whether elements have four bits: two in a byte, the first in its lower half.
bool isNibbles(Type storage);

/// Bytes that `count` elements take in memory.
int64_t storageBytes(Type storage, int64_t count);

/// `lanes` consecutive elements from `address` on, at most 16, as f32. Exact: subnormals keep their value, E4M3's 0x7F and
/// 0xFF are NaN.
Value decode(HostBuilder &b, Type storage, Value address, int64_t lanes);

/// `lanes` consecutive codes of an integer type as i8; unsigned ones as their bits.
Value loadCodes(HostBuilder &b, Type storage, Value address, int64_t lanes);

/// Whether there is a fast way for 64 elements at a time.
bool hasDecode64(const HostBuilder &b, Type storage);
/// 64 consecutive elements as four vectors of 16.
llvm::SmallVector<Value> decode64(HostBuilder &b, Type storage, Value address);
/// 64 consecutive elements as bf16: two vectors of 16 dwords, each of two neighbours.
llvm::SmallVector<Value> decode64Pairs(HostBuilder &b, Type storage, Value address);
/// 64 codes as bf16: of each 128-bit part the lower half of its codes in the first vector, the upper half in the second.
llvm::SmallVector<Value> unpack64Pairs(HostBuilder &b, Type storage, Value codes);

/// Elements that are decoded at once, faster in another order than in their own: 64 of FP8 where there is hasDecode64(),
/// otherwise 32, 128 of four bits; 0: there is no such way.
int64_t shuffledColumns(HostBuilder &b, Type storage);
/// The element that lane `lane` of vector `vector` holds in that order.
int64_t shuffledColumn(HostBuilder &b, Type storage, int64_t vector, int64_t lane);
/// shuffledColumns() consecutive elements as vectors of 16 in that order; `zero` is taken off integers of four bits. Where there
/// is hasDeferredNans(), numbers times kDeferredFactor that are never NaN, and `largestCode` takes note of the codes.
llvm::SmallVector<Value> decodeShuffled(HostBuilder &b, Type storage, Value address, int64_t zero, Value *largestCode);
/// As many f32 in that order: those that meet them.
Value shuffle(HostBuilder &b, Type storage, Value values);

/// Whether decodeShuffled() leaves it to its caller to look for NaN: two instructions for 32 codes instead of twelve.
bool hasDeferredNans(const HostBuilder &b, Type storage);
inline constexpr double kDeferredFactor = 0x1p-120;
/// What those who meet such numbers are multiplied by, so that products are as far from the least f32 as from the largest one:
/// inputs up to 2^68 stay finite.
inline constexpr double kInputFactor = 0x1p60;
/// What `largestCode` is before the first codes, and whether one of all that it saw is NaN.
Value initialLargestCode(HostBuilder &b);
Value hasNans(HostBuilder &b, Value largestCode);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_DECODE_H
