//===- fuzz_module.cpp - fuzzes the module reader -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_module.h"

#include "runtime/module/module.h"

#include <cstdlib>
#include <sstream>

using namespace quant::runtime;

/// All that an accepted program says of sizes and grids holds for the largest and smallest dims.
static void use(const Program &program) {
  for (const Dims &dims : {program.limits.largest(), Dims{1, 0, 0, 1}})
    for (const Dispatch &dispatch : program.dispatches)
      if (!dispatch.grid.evaluate(quant::abi::Sizes(dims)))
        std::abort();
}

/// What is accepted can be printed.
static void use(const Target &target) {
  std::ostringstream os;
  printProgram(os, target);
  use(target.program);
  if (target.draft)
    use(*target.draft);
}

/// The first byte says what the rest is: a whole file (even) or `manifest \0 program` to be put in one.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  std::string file(reinterpret_cast<const char *>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    test::repairHashes(file);
  } else {
    size_t split = std::min(file.find('\0'), file.size());
    std::string program = file.substr(std::min(split + 1, file.size()));
    std::string code = test::toyModule().code[0].second;
    file = test::buildContainer({{"manifest.json", file.substr(0, split)},
                                 {"program.host.json", program},
                                 {"code.host.future", code},
                                 {"code.host.baseline", code}});
  }
  quant::Result<Module> module = parseModule(test::bytesOf(file), "fuzz");
  if (module)
    for (const Target &target : module->targets)
      if (target.name == "host")
        use(target);
  return !module && module.error().message.empty() ? std::abort(), 0 : 0;
}
