//===- scales.h - block scales: the rule, and reading them ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SCALES_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SCALES_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/support/scheme.h"

#include <array>
#include <span>
#include <string>
#include <vector>

namespace quant::convert {

using Tensor = checkpoint::Checkpoint::Tensor;
/// Rows and columns that share a scale.
using Block = std::array<int64_t, 2>;

/// The block of a matrix of that shape: a side of 0 is all of the matrix's. None is 0 then.
Block sidesOf(const Block &block, std::span<const int64_t> matrix);

/// "FILE: tensor 'NAME'".
std::string describe(const Tensor &tensor);

/// The scale of a block whose largest magnitude is `amax`: amax / 448 in f32, DeepSeek's rule. For ue8m0 the power of two at or
/// above it, 2^-127 at least (exact, where log2 in f32 may round a scale just above a power of two down to it). A block of zeros
/// has scale 1, as in transformers: DeepSeek's kernel would give 0 and codes 0 / 0 = NaN. Where amax / 448 underflows to 0 (amax
/// below 2^-141, only f32 weights have such) the scale is the smallest float. Always finite and positive.
float blockScale(float amax, ScaleFmt format);

/// Whether a block of that largest magnitude can keep a given scale: no element divided by it rounds beyond 448, that is
/// amax / scale <= 464 in f32. bf16 rounding moves a weight by 2^-9 of itself at most, so that a checkpoint that was dequantized
/// keeps every scale, and every code with it: the codes are 2^-4 of themselves apart at least. A scale of zero fits a block of
/// zeros. For ue8m0 the scale must be a power of two, too.
bool scaleFits(float scale, float amax, ScaleFmt format);

/// The scale of an FP8 weight, null where there is none. Fails for a weight that has one and is not F8_E4M3.
Result<const Tensor *> findFp8Scale(const checkpoint::Checkpoint &input, const Tensor &weight);

/// "...: is FP8 and its scale ... is in no shard; is the download complete?"
Error missingScale(const Tensor &weight);

/// A tensor named as a scale goes with an FP8 weight; one without it means that something is missing.
Result<void> checkHasWeight(const checkpoint::Checkpoint &input, const Tensor &scale);

/// Dtype (F32, BF16, F16 or F8_E8M0) and shape are those of the weight's block scales, and every value is finite and not
/// negative. A side of 0 of `block` is all of the weight's; of a scale that is one number the shape is any of ones.
Result<void> checkScale(const Tensor &weight, const Tensor &scale, const Block &block);

/// The same for many pairs of weight and scale, on `threads` threads; the error is the first pair's.
Result<void> checkScales(std::span<const std::pair<const Tensor *, const Tensor *>> pairs, const Block &block, unsigned threads);

/// Elements [begin, begin + out.size()) of a scale.
void readScales(const Tensor &scale, int64_t begin, std::span<float> out);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SCALES_H
