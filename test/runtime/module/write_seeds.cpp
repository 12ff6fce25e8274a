//===- write_seeds.cpp - seeds for fuzz_module ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_module.h"

#include <fstream>

using namespace quant::runtime::test;

/// write_seeds DIR: the toy module, in both forms that fuzz_module takes.
int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  TestModule toy = toyModule();
  std::ofstream(argv[1] + std::string("/file"), std::ios::binary) << '\0' << toy.build();
  std::ofstream(argv[1] + std::string("/json"), std::ios::binary) << '\1' << toy.manifest.dump() << '\0' << toy.program.dump();
  return 0;
}
