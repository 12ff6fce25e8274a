//===- MlaDecodePlan.h - attention over a latent cache on tensor cores -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   score[s]  = sum over c < 576 of q[t, h, c] * cache[row(s), c] * softmax scale        for s <= positions[t]
//   o[t, h]   = sum over s of softmax(score)[s] * cache[row(s), :512]
//   row(s)    = pages[sequences[t], s / 64] * 64 + s % 64
//
// DeepSeek's multi-head latent attention in its absorbed form: queries in the latent space (512) with their rope part (64)
// behind, keys and values in the same rows of a paged cache, all bf16; sums, maximum and exponentials in f32.
//
// Two math warpgroups have half of a tile's result each, 64 rows x 256 columns of f32; both multiply the tile's queries by the
// keys of a block of 64 positions, which is a page, so that each has all weights in its own registers. A third warpgroup loads.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_MACHINE_MLADECODEPLAN_H
#define QUANT_DIALECTS_MACHINE_MLADECODEPLAN_H

#include "dialects/machine/Gpu.h"
#include "runtime/abi/kernel_abi.h"

#include <cstdint>
#include <string>

namespace quant::machine {

/// One kernel. Tokens, sequences and rows of the cache are kernel arguments.
struct MlaDecodeConfig {
  /// What the kernel is built for: columns of a latent, and of the rope part.
  static constexpr int64_t kLatent = 512, kRope = 64, kColumns = kLatent + kRope;
  /// Positions of a block.
  static constexpr int64_t kBlock = abi::kPageRows;

  /// Heads of a token: 128 in DeepSeek-V3, or a rank's share of them.
  int64_t heads = 128;
  /// Columns of the table of pages.
  int64_t pages = 0;
  /// DeepSeek-V3's without YaRN: 1 / sqrt(128 + 64).
  double softmaxScale = 0.07216878364870322;
  /// Also gives the logarithm of each row's sum of exponentials, by which results of parts of the keys are merged.
  bool lse = false;

  /// Parts that the keys of each tile are cut into, each computed by a block of its own, where tiles alone would leave
  /// multiprocessors idle: the kernel then gives each part's result, normalised, and the logarithm of its sum, in f32, and
  /// MlaCombineConfig's kernel merges them. A token's last bits depend on it, and on the tokens of its sequence that share its
  /// tile.
  int64_t splits = 1;

  /// Tiles of a token, of 64 heads or fewer.
  int64_t tilesOfToken() const { return (heads + kSm90a.wgmmaRows - 1) / kSm90a.wgmmaRows; }
  /// sm90_mla_decode_h128_p2560_s3d93cd3a: heads, pages, the bits of the scale as f32; _lse, _sk8.
  std::string symbolName() const;
};

/// The kernel that merges results of parts of the keys: with m the largest of their lse and w_i = exp(lse_i - m),
///
///   o = sum of w_i o_i / sum of w_i        lse = m + ln(sum of w_i)
struct MlaCombineConfig {
  int64_t heads = 128, splits = 2;
  bool lse = false;

  /// sm90_mla_combine_h128_sk8; _lse.
  std::string symbolName() const;
};

/// Nothing, or why there is no such kernel.
Result<void> checkMlaDecode(const MlaDecodeConfig &config);
Result<void> checkMlaCombine(const MlaCombineConfig &config);

/// More parts than this leave the merging kernel more to do than they save.
inline constexpr int64_t kMaxKeySplits = 128;

} // namespace quant::machine

#endif // QUANT_DIALECTS_MACHINE_MLADECODEPLAN_H
