//===- rope.h - rotary positions and YaRN ------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// YaRN: Efficient Context Window Extension of Large Language Models (arXiv:2309.00071), as DeepSeek's models apply it:
// inference/model.py (precompute_freqs_cis, MLA.softmax_scale) and transformers' _compute_yarn_parameters.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_ROPE_H
#define QUANT_MODELS_ROPE_H

#include "models/config.h"

#include <vector>

namespace quant::models {

/// get_mscale of the sources: 0.1 * mscale * ln(factor) + 1, or 1 when factor <= 1.
double yarnMscale(double factor, double mscale);

/// The qkRopeHeadDim / 2 inverse frequencies, radians per position. theta^(-2i/d) when YaRN is off; else interpolated
/// (divided by ropeFactor) for the slow dimensions, kept for the fast ones, with a linear ramp between the dimensions that
/// turn betaFast and betaSlow times within originalSeqLen.
std::vector<double> yarnInverseFrequencies(const ModelConfig &config);

/// What cos and sin are multiplied with: attention_factor when given, else
/// yarnMscale(factor, mscale) / yarnMscale(factor, mscaleAllDim); 1 when YaRN is off.
double yarnCosSinFactor(const ModelConfig &config);

/// What q.k is multiplied with before the softmax: (nope + rope)^-0.5, times yarnMscale(factor, mscaleAllDim)^2 when YaRN is
/// on and mscaleAllDim is set.
double softmaxScale(const ModelConfig &config);

} // namespace quant::models

#endif // QUANT_MODELS_ROPE_H
