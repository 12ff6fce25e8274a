//===- speed.cpp - how fast weights are encoded here ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/speed.h"

#include "tools/quant-convert/quantize/pack.h"

#include <chrono>
#include <random>

using namespace quant;
using namespace quant::convert;

double convert::encodeSpeed(const Scheme &scheme, bool zeroPoints, const Clip &clip) {
  constexpr int64_t kRows = 16, kColumns = 4096;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> values(kRows * kColumns);
  float amax = 0;
  for (float &value : values) {
    value = normal(random);
    amax = std::max(amax, std::abs(value));
  }
  NumberFormat format(scheme, zeroPoints);
  auto start = std::chrono::steady_clock::now();
  double seconds = 0;
  int64_t rounds = 0;
  for (; seconds < 0.1; ++rounds) {
    EncodedRows encoded = encodeRows(format, scheme, {values, kRows, kColumns, amax}, clip);
    packRows(scheme, encoded.codes, kColumns);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return static_cast<double>(rounds * kRows * kColumns) / seconds;
}
