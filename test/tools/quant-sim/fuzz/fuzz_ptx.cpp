//===- fuzz_ptx.cpp - fuzzes the PTX parser and what runs it -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/arguments.h"

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
    test::addArguments(launch, kernel);
    sim::Options options;
    options.threads = 1;
    options.maxSteps = 500;
    options.maxBytes = uint64_t(1) << 26;
    (void)sim::run(**module, launch, options);
  }
  return 0;
}
