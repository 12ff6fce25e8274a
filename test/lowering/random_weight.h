//===- random_weight.h - weights of kernels' tests ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_LOWERING_RANDOM_WEIGHT_H
#define QUANT_TEST_LOWERING_RANDOM_WEIGHT_H

#include "test/lowering/kernel_runner.h"

#include <random>

namespace quant::test {

/// How a weight is stored, in MLIR's names.
struct WeightScheme {
  std::string storage;                     ///< f32, bf16, f8E4M3FN, f4E2M1FN, i8, i4 or ui4
  int64_t blockRows = 0, blockColumns = 0; ///< of a scale; 0: all of the dimension
  std::string zero = {};                   ///< ui8: a zero point for each scale
  bool hasGlobalScale = false;             ///< scales are f8E4M3FN, divided by one f32

  bool hasScales() const { return storage != "f32" && storage != "bf16"; }
};

/// A weight [rows, columns], or of `groups` such: how a kernel takes it, and its values.
struct RandomWeight {
  /// The kernel's arguments, the op that makes %w of them where they are not %w itself, and the type of %w.
  std::string arguments, assemble, type;
  /// In the order of the arguments; of groups tables.
  std::vector<Memory> tensors;
  std::vector<double> values;
};

/// Codes are all that are finite, scales and floats are normal. `groups` 0: one matrix.
RandomWeight randomWeight(const WeightScheme &scheme, int64_t groups, int64_t rows, int64_t columns, std::mt19937_64 &random);

std::vector<float> randomNormal(int64_t count, std::mt19937_64 &random);

} // namespace quant::test

#endif // QUANT_TEST_LOWERING_RANDOM_WEIGHT_H
