//===- fuzz_recipe.cpp - fuzzes launch recipes --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/api/simulator.h"

using namespace quant;

/// A recipe gives operands and a launch, or an error.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto recipe = sim::Recipe::parse({reinterpret_cast<const char *>(data), size}, "");
  if (!recipe)
    return 0;
  sim::Dims dims = {{abi::Dim::M, 100}, {abi::Dim::Sms, 4}};
  (void)recipe->kernel();
  auto operands = recipe->operands(dims);
  if (!operands)
    return 0;
  std::vector<sim::Buffer> buffers;
  for (const sim::RecipeOperand &operand : *operands)
    buffers.push_back({.name = operand.name, .bytes = {}, .writable = operand.written});
  (void)recipe->launch(dims, std::move(buffers));
  return 0;
}
