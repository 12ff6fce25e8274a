//===- amax.h - scales of inputs by their largest magnitudes ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A static scale of a layer's inputs is amax / 448 (E4M3), where amax is made of the largest magnitudes of the pieces of a text,
// its history. The recipes are those of training in FP8: the running maximum; delayed scaling (TransformerEngine's
// DelayedScaling: the maximum of the last pieces); a percentile of the pieces, which gives up the greatest. Pieces in which no
// token reached the input do not count.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_AMAX_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_AMAX_H

#include "tools/quant-convert/calibrate/hessians.h"

namespace quant::convert {

enum class AmaxRecipe : uint8_t { RunningMax, Delayed, Percentile };

struct AmaxOptions {
  AmaxRecipe recipe = AmaxRecipe::RunningMax;
  int64_t history = 1024;   ///< of Delayed: pieces
  double percentile = 99.9; ///< of Percentile, in percent
};

/// The amax of the history: a percentile lies between two pieces as in numpy.percentile. Nothing where no token reached it.
std::optional<float> reduceAmax(const InputRange &range, const AmaxOptions &options);

/// Of a layer.
struct StaticScale {
  float amax = 0, scale = 0; ///< scale = amax / 448, in f32
  int64_t tokens = 0;        ///< that reached the layer
  int64_t pieces = 0;        ///< in which they did
  int64_t beyond = 0;        ///< pieces with inputs beyond amax, which saturate
  bool isBorrowed = false;   ///< of an expert with few tokens: amax is the largest of its layer's experts
};
using StaticScales = std::map<std::string, StaticScale, std::less<>>;

/// Scales of the layers. What engines fuse has one: q_a_proj (q_proj) and kv_a_proj_with_mqa, gate_proj and up_proj. Experts that
/// fewer than `expertFloor` tokens reached, or none, take the largest amax of this input among the experts of their layer.
/// Errors: a layer that no token reached, an amax of 0, of so little that the scale is none, or not finite.
Result<StaticScales> staticScales(const InputRanges &ranges, const AmaxOptions &options, int64_t expertFloor);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_AMAX_H
