//===- fuzz_ptx.cpp - fuzzes the PTX parser and what runs it -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/ptx.h"
#include "runtime/device/sim/simulator.h"

using namespace quant;

/// What loads runs a few steps, with an argument of each parameter's size.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto module = sim::Module::load({reinterpret_cast<const char *>(data), size});
  if (!module)
    return 0;
  std::vector<std::byte> memory(4096);
  for (const sim::Function &kernel : (*module)->ptx().functions) {
    sim::Launch launch;
    launch.kernel = kernel.name;
    launch.grid = {2, 2, 1};
    launch.block[0] = 64;
    launch.dynamicSharedBytes = 4096;
    launch.buffers = {{.name = "memory", .bytes = memory}};
    sim::TensorMapArgument map;
    map.map.rank = 2;
    map.map.elementBytes = 4;
    map.map.dim = {32, 32};
    map.map.stride = {4, 128};
    map.map.box = {32, 16};
    for (const sim::Variable &param : kernel.params)
      if (param.bytes == sim::TensorMap::kBytes)
        launch.arguments.push_back(map);
      else if (param.bytes == 8)
        launch.arguments.push_back(sim::PointerArgument{0, 0});
      else
        launch.arguments.push_back(sim::ScalarArgument{3});
    sim::Options options;
    options.threads = 1;
    options.maxSteps = 500;
    options.maxBytes = uint64_t(1) << 26;
    (void)sim::run(**module, launch, options);
  }
  return 0;
}
