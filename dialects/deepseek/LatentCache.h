//===- LatentCache.h - rows of the latent cache -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A row is the latent [C] and the rope key [R] of a token. f32 and bf16 rows are their numbers. Rows of the other formats are
// bytes, little-endian, the parts one after another, each at a multiple of its numbers' size:
//
//   fp8   C codes f8E4M3FN; an f32 scale for each 128, max(amax, 1e-4) / 448; R bf16: FlashMLA's layout. Rows end at a multiple
//   of 4 int8  C codes i8; one f16 scale, max(amax, 1e-4) / 127; R bf16 int4  for each 32 latents 16 bytes: byte i is code 16 + i
//   times 16, plus code i plus 8; their f16 scales,
//         max(amax, 1e-4) / 7; R bf16
//
// A code is the value over the scale as it is stored, to the nearest (even), within what the code holds: int4 -8 to 7. What a
// token stores depends on nothing but the token.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_DEEPSEEK_LATENTCACHE_H
#define QUANT_DIALECTS_DEEPSEEK_LATENTCACHE_H

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/qblock/RowPrograms.h"

namespace quant::deepseek {

/// The type of a cache with rows of `latent` and `rope` numbers: of these, or of bytes.
mlir::MemRefType cacheType(mlir::MLIRContext *context, CacheFormat format, int64_t latent, int64_t rope);

/// Where the parts of rows lie, and the words that read and write them.
class LatentCache {
public:
  /// Of an op's cache, whose rows hold `latent` and `rope` numbers.
  LatentCache(const rows::Rows &cache, std::optional<CacheFormat> format, int64_t latent, int64_t rope);

  int64_t latent;   ///< numbers of a latent
  rows::Rows ropes; ///< the rope keys

  /// Columns of a row's latent, as f32.
  rows::Num load(rows::RowBuilder &b, const rows::Num &row, const rows::Column &column) const;
  void store(rows::RowBuilder &b, const rows::Num &row, qblock::RowValue value) const;

private:
  std::optional<CacheFormat> format; ///< none: numbers as they are
  rows::Rows codes, scales;
  int64_t groupColumns = 0;

  void storeInt8(rows::RowBuilder &b, const rows::Num &row, qblock::RowValue value) const;
  void storeInt4(rows::RowBuilder &b, const rows::Num &row, qblock::RowValue value) const;
};

} // namespace quant::deepseek

#endif // QUANT_DIALECTS_DEEPSEEK_LATENTCACHE_H
