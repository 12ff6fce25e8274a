//===- arguments.h - an argument of each parameter's size -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_SIM_ARGUMENTS_H
#define QUANT_TEST_TOOLS_QUANT_SIM_ARGUMENTS_H

#include "tools/quant-sim/ptx/ptx.h"
#include "tools/quant-sim/api/simulator.h"

namespace quant::test {

/// Arguments for a kernel that nothing is known of: the launch's first buffer as an address and as rows of 128 bytes, and small
/// numbers.
inline void addArguments(sim::Launch &launch, const sim::Function &kernel) {
  sim::TensorMapArgument map;
  map.map.rank = 2;
  map.map.elementBytes = 4;
  map.map.dim = {32, launch.buffers[0].bytes.size() / 128};
  map.map.stride = {4, 128};
  map.map.box = {32, 16};
  for (const sim::Variable &param : kernel.params)
    if (param.bytes == sim::TensorMap::kBytes)
      launch.arguments.push_back(map);
    else if (param.bytes == 8)
      launch.arguments.push_back(sim::PointerArgument{0, 0});
    else
      launch.arguments.push_back(sim::ScalarArgument{3});
}

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_SIM_ARGUMENTS_H
