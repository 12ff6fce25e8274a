//===- fuzz_index.cpp - fuzzes the parser of the shard index --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/index.h"

#include <cstdlib>

/// What parses names only plain files.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto weights = quant::checkpoint::parseIndex({reinterpret_cast<const char *>(data), size});
  if (!weights)
    return 0;
  for (const auto &[tensor, file] : *weights)
    if (file.empty() || file == ".." || file.find('/') != file.npos)
      std::abort();
  return 0;
}
