//===- random_values.h - random weights that make a well-behaved model -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A value depends on the seed, the tensor's name and the element's position, and on nothing else: not on chunks, threads
// or the order of writing. The generator is splitmix64 used as a counter (Steele, Lea, Flood: Fast splittable pseudorandom
// number generators, OOPSLA 2014).
//
//   linear weights     normal, standard deviation 1 / sqrt(in): outputs have the size of the inputs
//   as FP8             normal codes over the whole range of e4m3 (448 down to the subnormals and both zeros, no NaN) times
//                      positive block scales that bring them to that deviation, give or take sqrt(2); one block in 64 is
//                      a million times smaller, as good as zero. Powers of two for ue8m0.
//   embeddings         normal, 1
//   norm weights       normal around 1, 0.1
//   the gate's bias    normal, 0.05
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_RANDOM_VALUES_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_RANDOM_VALUES_H

#include "models/tensors.h"
#include "runtime/support/scheme.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace quant::convert {

/// Elements [begin, begin + n) of a tensor, begin a multiple of kValueGroup, are filled at a time.
inline constexpr int64_t kValueGroup = 4;

/// The values of one tensor.
class RandomValues {
public:
  /// `in` is the number of columns of the weight that `tensor` is, or is the scale of; `scheme` that of a quantized one.
  RandomValues(const models::TensorSpec &tensor, int64_t in, const Scheme &scheme, uint64_t seed);

  /// Writes the elements from `begin` on into `out`, as many as there is room for; codes are FP8 or I8, scales any type that
  /// holdsScales(), the rest BF16 or F32.
  void fill(int64_t begin, std::span<std::byte> out) const;

private:
  uint64_t word(uint64_t index) const;
  float scale(uint64_t index) const;

  models::TensorRole role;
  DType dtype, codes;
  ScaleFmt scaleFmt;
  uint64_t stream;
  float mean, deviation;
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_RANDOM_VALUES_H
