//===- X86.h - the CPUs that kernels are built for -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A module holds code for several vector units of x86-64, and the runtime takes the best that the CPU has. What a unit is stands
// in one table (X86.cpp): its names, its registers, and how large the kernels' pieces are on it.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_MACHINE_X86_H
#define QUANT_DIALECTS_MACHINE_X86_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quant::machine {

/// A vector unit. Kernels are written in vectors of 16 f32, which LLVM splits where registers are narrower.
struct X86Unit {
  /// As --host-isa, --isa and module files name it.
  std::string_view name;
  /// CPU and features as LLVM names them.
  std::string_view llvmCpu, llvmFeatures;
  /// What a CPU must have for it, as Linux names it in /proc/cpuinfo and the runtime asks CPUID.
  std::vector<std::string> requiredFeatures;

  /// Width of a vector register.
  int64_t registerBits;
  /// The smallest second-level cache, in bytes, of a core that has the unit and is worth the trouble.
  int64_t l2Bytes;
  /// Tables of 128 bytes in two registers (vpermi2b): the fast way to decode FP8.
  bool hasByteTables;
  /// Dot products of bf16 pairs and of four bytes in vectors (vdpbf16ps, vpdpbusd), and of tiles of 16 rows of 64 bytes (AMX:
  /// tdpbf16ps).
  bool hasPackedDots, hasTiles;
  /// bf16 numbers that an f32 of x is split into for these products, whose sum is x: 3 are exact. 0: products are f32.
  int64_t inputParts;
  /// Weight rows that one call of such a product takes at most: x is split once for all of them.
  int64_t callRows;
  /// Columns of K that are decoded at a time for such products.
  int64_t packedColumns;
  /// Few tokens: dot products (weight rows x tokens) that are summed at a time in vectors of 16 f32, and the tokens up to which
  /// that is done. Powers of two.
  int64_t dotSums, dotTokens;
  /// More tokens are multiplied dotTokens at a time up to so many pieces, which decode the weight again each time.
  int64_t dotPieces;
  /// Many tokens: a register tile of the panel product, in tokens (a multiple of 3: the last tile is one or two thirds as high,
  /// or as high) and in vectors of 16 weight rows.
  int64_t tileTokens, tileVectors;
  /// Columns of K that are decoded at a time.
  int64_t panelColumns;

  /// inputParts, or what is left of it where x is rounded to bf16.
  int64_t partsOfInputs(bool rounds) const { return rounds && hasPackedDots ? 1 : inputParts; }
};

/// What IR is lowered for where nobody says.
inline constexpr std::string_view kDefaultX86Unit = "avx512";

/// Every unit, the best first.
const std::vector<X86Unit> &x86Units();
/// Those whose code differs from that of the units after them, where matmuls take x in f32, or in bf16 or int8.
std::vector<std::string> x86UnitsFor(bool hasNarrowInputs);
/// Null if there is none of that name.
const X86Unit *findX86Unit(std::string_view name);
/// Their names, the best first.
std::vector<std::string> x86UnitNames();
/// "avx512 or avx2", for messages.
std::string x86UnitList();

} // namespace quant::machine

#endif // QUANT_DIALECTS_MACHINE_X86_H
