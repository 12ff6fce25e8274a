//===- fuzz_json.cpp - fuzzes the strict JSON parser ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/json_file.h"

#include <cstdlib>

/// What parses, prints and parses again to the same value.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  using quant::checkpoint::parseJsonStrict;
  auto json = parseJsonStrict({reinterpret_cast<const char *>(data), size});
  if (!json)
    return 0;
  auto again = parseJsonStrict(json->dump());
  if (!again || again->dump() != json->dump())
    std::abort();
  return 0;
}
