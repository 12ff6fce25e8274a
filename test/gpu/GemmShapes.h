//===- GemmShapes.h - the GEMMs that are tested and timed ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_GPU_GEMMSHAPES_H
#define QUANT_TEST_GPU_GEMMSHAPES_H

#include "dialects/machine/GemmPlan.h"

#include <vector>

namespace quant::test {

/// Every FP8 linear layer of DeepSeek-V3/R1 671B, then the merged ones (q_a|kv_a, one expert's gate|up, the dense gate|up).
inline std::vector<machine::GemmConfig> modelShapes() {
  return {{1536, 7168},  {24576, 1536}, {576, 7168},  {32768, 512}, {7168, 16384}, {18432, 7168},
          {7168, 18432}, {2048, 7168},  {7168, 2048}, {2112, 7168}, {4096, 7168},  {36864, 7168}};
}

/// DeepGEMM's dense benchmark: what is timed.
inline std::vector<machine::GemmConfig> denseShapes() {
  return {{2112, 7168}, {576, 7168}, {24576, 1536}, {32768, 512}, {7168, 16384}, {4096, 7168}, {7168, 2048}};
}

/// Edges: N far below a tile and in its second half, K below, beside and beyond a block.
inline std::vector<machine::GemmConfig> oddShapes() {
  return {{8, 7168}, {136, 512}, {256, 64}, {256, 144}, {384, 2000}, {8, 16}};
}

/// Every tile the builder offers, for small M (64 rows) and small N (64 columns).
inline std::vector<machine::GemmConfig> tileShapes() {
  return {{7168, 2048, 64, 128}, {576, 7168, 64, 64}, {576, 7168, 128, 64}, {136, 2000, 64, 64}};
}

/// Each part of the family on a shape with an edge in every direction: tiles, operand order, clusters, a split K, a K that is no
/// multiple of 16, what is done to the sum.
inline std::vector<machine::GemmConfig> familyShapes() {
  using enum machine::Multicast;
  constexpr auto f32 = machine::OutputType::f32;
  std::vector<machine::GemmConfig> shapes;
  for (auto [blockM, blockN] :
       {std::pair{64, 16}, {64, 112}, {64, 192}, {128, 32}, {128, 144}, {128, 176}, {128, 192}, {256, 64}, {256, 128}})
    shapes.push_back({.n = 584, .k = 1100, .blockM = blockM, .blockN = blockN});
  for (auto [blockM, blockN] : {std::pair{8, 64}, {8, 128}, {16, 64}, {32, 128}, {80, 64}, {128, 128}})
    shapes.push_back({.n = 584, .k = 1100, .blockM = blockM, .blockN = blockN, .swapAB = true});
  shapes.push_back({.n = 584, .k = 1100, .multicast = a});
  shapes.push_back({.n = 584, .k = 1100, .blockM = 128, .blockN = 192, .multicast = b});
  shapes.push_back({.n = 584, .k = 1100, .blockM = 16, .blockN = 64, .swapAB = true, .splitK = 3});
  shapes.push_back({.n = 576, .k = 7168, .blockM = 64, .blockN = 64, .splitK = 4});
  shapes.push_back({.n = 584, .k = 1100, .blockM = 256, .blockN = 128, .multicast = b});
  shapes.push_back({.n = 584, .k = 1100, .blockM = 48, .blockN = 128, .swapAB = true, .multicast = a});
  shapes.push_back({.n = 584, .k = 1100, .blockM = 64, .blockN = 64, .swapAB = true, .multicast = b, .splitK = 3});
  shapes.push_back({.n = 584, .k = 1100, .splitK = 2, .bias = true});
  shapes.push_back({.n = 584, .k = 1100, .bias = true});
  shapes.push_back({.n = 584, .k = 1100, .accumulate = true});
  shapes.push_back({.n = 584, .k = 1100, .outputType = f32});
  shapes.push_back({.n = 584, .k = 1100, .bias = true, .accumulate = true, .outputType = f32});
  shapes.push_back(
      {.n = 584, .k = 1100, .blockM = 16, .blockN = 64, .swapAB = true, .bias = true, .accumulate = true, .outputType = f32});
  return shapes;
}

/// Groups of rows: contiguous and masked, tiles of either order of operands, clusters, an edge in every direction; then a rank's
/// share of DeepSeek-V3's experts.
inline std::vector<machine::GemmConfig> groupedShapes() {
  using enum machine::Multicast;
  constexpr auto masked = machine::GroupLayout::masked;
  return {{.n = 584, .k = 1104, .groups = 5},
          {.n = 584, .k = 1104, .blockM = 16, .blockN = 64, .swapAB = true, .groups = 5},
          {.n = 584, .k = 1104, .blockM = 64, .blockN = 64, .groups = 5, .groupLayout = masked},
          {.n = 584, .k = 1104, .blockM = 128, .blockN = 128, .multicast = b, .groups = 5},
          {.n = 4096, .k = 7168, .groups = 8},
          {.n = 7168, .k = 2048, .groups = 8},
          {.n = 4096, .k = 7168, .blockM = 16, .blockN = 128, .swapAB = true, .groups = 8, .groupLayout = masked}};
}

/// INT8 and bf16: both orders of operands, the widest tile, groups, an edge in every direction.
inline std::vector<machine::GemmConfig> elementShapes() {
  using enum machine::GemmElement;
  std::vector<machine::GemmConfig> shapes;
  for (machine::GemmElement element : {i8, bf16}) {
    shapes.push_back({.n = 584, .k = 1100, .element = element});
    shapes.push_back({.n = 584, .k = 1100, .blockN = 256, .element = element});
    shapes.push_back({.n = 584, .k = 1100, .blockM = 256, .outputType = machine::OutputType::f32, .element = element});
    shapes.push_back({.n = 584, .k = 1100, .blockM = 16, .blockN = 64, .swapAB = true, .bias = true, .element = element});
    shapes.push_back({.n = 584, .k = 1100, .multicast = machine::Multicast::a, .element = element});
    shapes.push_back({.n = 584, .k = 1104, .groups = 5, .element = element});
    shapes.push_back({.n = 584,
                      .k = 1104,
                      .blockM = 16,
                      .blockN = 64,
                      .swapAB = true,
                      .groups = 5,
                      .groupLayout = machine::GroupLayout::masked,
                      .element = element});
    shapes.push_back({.n = 7168, .k = 2048, .element = element});
  }
  shapes.push_back({.n = 584, .k = 1100, .element = i8, .bf16Scales = true});
  return shapes;
}

} // namespace quant::test

#endif // QUANT_TEST_GPU_GEMMSHAPES_H
