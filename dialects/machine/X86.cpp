//===- X86.cpp - the CPUs that kernels are built for -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/X86.h"

#include <algorithm>

namespace quant::machine {

const std::vector<X86Unit> &x86Units() {
  // Second-level caches: 512 KB on Zen to Zen 3, 1 MB on Zen 4, 1.25 MB and more on Ice Lake and what followed it in servers
  // (AMD's and Intel's data sheets); Haswell's 256 KB are not counted on.
  static const std::vector<X86Unit> units = {
      // From Sapphire Rapids on. Eight tiles of 16 rows of 64 bytes (Intel SDM volume 1, chapter 18): four of sums, two of x and
      // two of the weight. Its cores have 2 MB of second-level cache.
      {.name = "amx",
       .llvmCpu = "x86-64-v4",
       .llvmFeatures = "+avx512vbmi,+avx512vnni,+avx512bf16,+amx-tile,+amx-bf16,+amx-int8,-prefer-256-bit",
       .requiredFeatures = {"avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd",
                            "avx512vbmi", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"},
       .registerBits = 512,
       .l2Bytes = 2 << 20,
       .hasByteTables = true,
       .hasPackedDots = true,
       .hasTiles = true,
       .inputParts = 3,
       .callRows = 256,
       .packedColumns = 2048,
       .dotSums = 8,
       .dotTokens = 4,
       .dotPieces = 1,
       .tileTokens = 12,
       .tileVectors = 2,
       .panelColumns = 256},
      // From Zen 4 on, and Sapphire Rapids without AMX. On Zen a dot product of pairs takes as long as an f32
      // multiply-add, on Intel twice as long: three parts of x gain nothing on either.
      {.name = "avx512bf16",
       .llvmCpu = "x86-64-v4",
       .llvmFeatures = "+avx512vbmi,+avx512vnni,+avx512bf16,-prefer-256-bit",
       .requiredFeatures = {"avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd",
                            "avx512vbmi", "avx512_vnni", "avx512_bf16"},
       .registerBits = 512,
       .l2Bytes = 1 << 20,
       .hasByteTables = true,
       .hasPackedDots = true,
       .hasTiles = false,
       .inputParts = 0,
       .callRows = 256,
       .packedColumns = 1024,
       .dotSums = 8,
       .dotTokens = 8,
       .dotPieces = 1,
       .tileTokens = 12,
       .tileVectors = 2,
       .panelColumns = 256},
      // From Ice Lake and Zen 4 on. 32 registers of 512 bits (Intel SDM volume 1, chapter 15): 8 sums of dot products, and the
      // 8 of the block at hand, beside the tables and the decoded codes; a tile of 12 x 2 sums, 2 vectors of weights and one of
      // x.
      {.name = "avx512",
       .llvmCpu = "x86-64-v4",
       .llvmFeatures = "+avx512vbmi,-prefer-256-bit",
       .requiredFeatures = {"avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd",
                            "avx512vbmi"},
       .registerBits = 512,
       .l2Bytes = 512 << 10,
       .hasByteTables = true,
       .hasPackedDots = false,
       .hasTiles = false,
       .inputParts = 0,
       .callRows = 0,
       .packedColumns = 0,
       .dotSums = 8,
       .dotTokens = 8,
       .dotPieces = 1,
       .tileTokens = 12,
       .tileVectors = 2,
       .panelColumns = 256},
      // From Haswell and Zen on. 16 registers of 256 bits (Intel SDM volume 1, chapter 14), two for a vector of 16 f32: 4 sums of
      // dot products take 8; a tile of 6 x 1 takes 12.
      {.name = "avx2",
       .llvmCpu = "x86-64-v3",
       .llvmFeatures = "",
       .requiredFeatures = {"avx2", "fma", "f16c", "bmi2"},
       .registerBits = 256,
       .l2Bytes = 512 << 10,
       .hasByteTables = false,
       .hasPackedDots = false,
       .hasTiles = false,
       .inputParts = 0,
       .callRows = 0,
       .packedColumns = 0,
       .dotSums = 4,
       .dotTokens = 4,
       .dotPieces = 4,
       .tileTokens = 6,
       .tileVectors = 1,
       .panelColumns = 256}};
  return units;
}

const X86Unit *findX86Unit(std::string_view name) {
  auto found = std::ranges::find(x86Units(), name, &X86Unit::name);
  return found == x86Units().end() ? nullptr : &*found;
}

std::vector<std::string> x86UnitNames() {
  std::vector<std::string> names;
  for (const X86Unit &unit : x86Units())
    names.emplace_back(unit.name);
  return names;
}

std::vector<std::string> x86UnitsFor(bool hasNarrowInputs) {
  std::vector<std::string> names;
  for (const X86Unit &unit : x86Units())
    if (!unit.hasPackedDots || hasNarrowInputs || unit.inputParts > 0)
      names.emplace_back(unit.name);
  return names;
}

std::string x86UnitList() {
  std::string list;
  const std::vector<X86Unit> &units = x86Units();
  for (size_t index = 0; index < units.size(); ++index)
    list += (index == 0 ? "" : index + 1 == units.size() ? " or " : ", ") + std::string(units[index].name);
  return list;
}

} // namespace quant::machine
