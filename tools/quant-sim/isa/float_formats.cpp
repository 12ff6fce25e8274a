//===- float_formats.cpp - the formats of PTX types -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/float_formats.h"

namespace quant::sim {

const FloatFormat &formatOf(Type type) {
  switch (type) {
  case Type::F16:
  case Type::F16x2:
    return kF16;
  case Type::BF16:
  case Type::BF16x2:
    return kBF16;
  case Type::E5M2:
  case Type::E5M2x2:
    return kE5M2;
  default:
    return kE4M3FN;
  }
}

const CodeValues &fp8Table(Type type) {
  static const CodeValues e4m3 = valuesOf(kE4M3FN), e5m2 = valuesOf(kE5M2);
  return type == Type::E5M2 ? e5m2 : e4m3;
}

} // namespace quant::sim
