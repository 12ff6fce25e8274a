//===- BlockCycles.h - what cost models of tensor-core kernels share *- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_SCHEDULE_BLOCKCYCLES_H
#define QUANT_PASSES_SCHEDULE_BLOCKCYCLES_H

#include "passes/schedule/CostModel.h"

#include <algorithm>
#include <iterator>

namespace quant::schedule {

/// Cycles from wgmma's last operation to its wait's return, and of the two barriers of a stage.
inline constexpr double kWgmmaLatency = 60, kBarrierLatency = 40;
/// Bytes a cycle from registers through shared memory to L2.
inline constexpr double kStoreBytesPerCycle = 32;
/// The share of the shorter of main loop and HBM that does not hide behind the longer.
inline constexpr double kNotHidden = 0.1;

/// Cycles of one block of a tile's main loop at each limit.
struct BlockCycles {
  double tensor, shared, l2, chain;

  double largest() const { return std::max({tensor, shared, l2, chain}); }
  CostLimit limit() const {
    const double cycles[] = {tensor, shared, l2, chain};
    return static_cast<CostLimit>(std::max_element(std::begin(cycles), std::end(cycles)) - std::begin(cycles));
  }
};

} // namespace quant::schedule

#endif // QUANT_PASSES_SCHEDULE_BLOCKCYCLES_H
