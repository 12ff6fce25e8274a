//===- TileRegisters.h - AMX and dot products, as they are -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Intel SDM volume 1, chapter 18. A kernel numbers its tile registers itself (0 to 7): the intrinsics that LLVM allocates
// registers for send loop-carried tiles through memory. All tiles are 16 rows of 64 bytes.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_TILEREGISTERS_H
#define QUANT_LOWERING_TARGET_X86_TILEREGISTERS_H

#include "lowering/target/x86/HostBuilder.h"

namespace quant::host {

inline constexpr int64_t kTileRows = 16;

/// Makes all registers of this thread tiles of 16 rows of 64 bytes, by way of 64 bytes of scratch; and gives them back, so that
/// the system need not save them.
void configureTiles(HostBuilder &b, Value scratch);
void releaseTiles(HostBuilder &b);

void zeroTile(HostBuilder &b, int64_t tile);
/// Rows of 64 bytes that lie `stride` bytes apart.
void loadTile(HostBuilder &b, int64_t tile, Value address, int64_t stride);
void storeTile(HostBuilder &b, int64_t tile, Value address, int64_t stride);

/// sum[m][n] (f32) += over pairs k: x[m][2k] * w[k][2n] + x[m][2k + 1] * w[k][2n + 1], all bf16; denormals are 0.
void multiplyTilesBf16(HostBuilder &b, int64_t sum, int64_t x, int64_t w);
/// The same in i32 over four int8 of each dword.
void multiplyTilesInt8(HostBuilder &b, int64_t sum, int64_t x, int64_t w);

/// 32 f32 rounded to bf16 (to nearest, ties to even; denormals are 0), two neighbours in each of 16 dwords.
Value roundPairs(HostBuilder &b, Value low, Value high);

/// Of 16 dwords each: sum + the products of two bf16, denormals being 0; of four unsigned x and signed w, in i32.
Value dotPairs(HostBuilder &b, Value sum, Value x, Value w);
Value dotBytes(HostBuilder &b, Value sum, Value x, Value w);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_TILEREGISTERS_H
