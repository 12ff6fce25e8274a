//===- rope.cpp - rotary positions and YaRN -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

using namespace quant::models;

/// The (fractional) index of the dimension that turns `rotations` times within the original length.
static double correctionDim(const ModelConfig &config, double rotations) {
  double length = static_cast<double>(config.originalSeqLen);
  double dim = static_cast<double>(config.qkRopeHeadDim);
  return dim * std::log(length / (rotations * 2 * std::numbers::pi)) / (2 * std::log(config.ropeTheta));
}

double quant::models::yarnMscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

std::vector<double> quant::models::yarnInverseFrequencies(const ModelConfig &config) {
  int64_t dim = config.qkRopeHeadDim;
  double low = std::max(std::floor(correctionDim(config, config.betaFast)), 0.0);
  double high = std::min(std::ceil(correctionDim(config, config.betaSlow)), static_cast<double>(dim - 1));
  if (low == high)
    high += 0.001;
  std::vector<double> frequencies(static_cast<size_t>(dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double frequency = std::pow(config.ropeTheta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
    if (config.hasRopeScaling) {
      double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
      frequency = frequency / config.ropeFactor * ramp + frequency * (1 - ramp);
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}

double quant::models::yarnCosSinFactor(const ModelConfig &config) {
  if (!config.hasRopeScaling)
    return 1.0;
  if (config.ropeAttentionFactor)
    return *config.ropeAttentionFactor;
  return yarnMscale(config.ropeFactor, config.mscale) / yarnMscale(config.ropeFactor, config.mscaleAllDim);
}

double quant::models::softmaxScale(const ModelConfig &config) {
  double scale = 1.0 / std::sqrt(static_cast<double>(config.qkHeadDim()));
  if (!config.hasRopeScaling || config.mscaleAllDim == 0)
    return scale;
  double mscale = yarnMscale(config.ropeFactor, config.mscaleAllDim);
  return scale * mscale * mscale;
}
