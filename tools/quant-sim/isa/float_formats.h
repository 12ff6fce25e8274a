//===- float_formats.h - the formats of PTX types --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_ISA_FLOAT_FORMATS_H
#define QUANT_TOOLS_QUANT_SIM_ISA_FLOAT_FORMATS_H

#include "runtime/support/narrow.h"
#include "tools/quant-sim/ptx/ptx.h"

#include <cstdint>

namespace quant::sim {

/// The format of F16, BF16, E4M3, E5M2 and of their packed types.
const FloatFormat &formatOf(Type type);

/// The code of `value`. `saturate`: beyond the largest finite value, infinity too, comes that value; otherwise infinity.
inline uint32_t encode(double value, const FloatFormat &format, Rounding rounding, bool saturate) {
  return encodeFloat(value, format, rounding, saturate ? Overflow::Saturate : Overflow::Infinity);
}

/// Values of all 256 codes of E4M3 or E5M2, as f32.
const CodeValues &fp8Table(Type type);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_ISA_FLOAT_FORMATS_H
