//===- speed.h - how fast weights are encoded here --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_SPEED_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_SPEED_H

#include "tools/quant-convert/quantize/encode.h"

namespace quant::convert {

/// Weights a second that one thread encodes and packs in that scheme, measured on a sample for about 0.1 s.
double encodeSpeed(const Scheme &scheme, bool zeroPoints, const Clip &clip);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_SPEED_H
