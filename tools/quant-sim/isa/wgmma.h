//===- wgmma.h - the operands of a wgmma ------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_ISA_WGMMA_H
#define QUANT_TOOLS_QUANT_SIM_ISA_WGMMA_H

#include "tools/quant-sim/machine/machine.h"

#include <vector>

namespace quant::sim {

/// Rows of a wgmma that one warp computes, and bytes of K that any wgmma covers.
constexpr int kWarpRows = 16, kKBytes = 32;

/// A matrix in shared memory as a descriptor gives it (PTX ISA, "Matrix Descriptor Format").
struct MatrixDescriptor {
  uint64_t start = 0, leadingBytes = 0, strideBytes = 0;
  uint32_t swizzleBytes = 0, baseOffset = 0;

  static MatrixDescriptor unpack(uint64_t bits);
  /// Where 16 bytes of K of row `row` lie, K-major: from byte `k`, a multiple of 16.
  uint64_t kMajor(uint64_t row, uint64_t k) const;
  /// Where element (row, k) of 16 bits lies, the rows contiguous ("MN-major", transposed).
  uint64_t mnMajor(uint64_t row, uint64_t k) const;
  /// What is wrong with it, or nothing.
  std::string check() const;
};

/// What a wgmma multiplies: D[16 rows, n] = A * B (+ D), for the rows of one warp.
struct WgmmaShape {
  Type element = Type::E4M3, elementB = Type::E4M3;
  int n = 0;
  int k() const { return kKBytes * 8 / bitsOf(element); }
};

/// a: [16][k], b: [k][n], d: [16][n]; all row-major.
void multiplyAdd(const WgmmaShape &shape, const float *a, const float *b, float *d);
void multiplyAddInteger(const WgmmaShape &shape, const int32_t *a, const int32_t *b, int32_t *d);

/// The element at `bits` as a float, and as an integer.
float elementValue(Type type, uint32_t bits);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_ISA_WGMMA_H
