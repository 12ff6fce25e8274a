//===- latent_cache.h - rows of the latent cache in tests ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The layouts of dialects/deepseek/LatentCache.h, written down a second time.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_LOWERING_LATENT_CACHE_H
#define QUANT_TEST_LOWERING_LATENT_CACHE_H

#include "test/lowering/kernel_runner.h"

namespace quant::test {

/// A cache of rows of `latent` + `rope` numbers in a format: "f32", "bf16", "fp8", "int8", "int4".
class LatentCache {
public:
  LatentCache(std::string format, int64_t latent, int64_t rope) : format(std::move(format)), latent(latent), rope(rope) {}

  /// The memref's type, and the ops' attribute behind others.
  std::string type() const;
  std::string attribute() const { return isOfBytes() ? ", cache_format = #deepseek.cache<" + format + ">" : ""; }
  int64_t rowBytes() const;

  /// Rows that hold `values` as well as the format can; `values` become what is read back.
  Memory store(std::vector<float> &values) const;
  std::vector<float> load(const Memory &memory) const;
  /// What a stored number errs at most, of the largest one.
  double error() const;

private:
  std::string format;
  int64_t latent, rope;

  bool isOfBytes() const { return format != "f32" && format != "bf16"; }
  int64_t groupColumns() const { return format == "fp8" ? 128 : format == "int8" ? latent : 32; }
  int64_t groups() const { return (latent + groupColumns() - 1) / groupColumns(); }
  int64_t scaleBytes() const { return format == "fp8" ? 4 : 2; }
  int64_t firstScale() const;
  int64_t firstRope() const { return firstScale() + groups() * scaleBytes(); }
  void storeLatent(const float *values, std::byte *row) const;
  void loadLatent(const std::byte *row, float *values) const;
};

} // namespace quant::test

#endif // QUANT_TEST_LOWERING_LATENT_CACHE_H
