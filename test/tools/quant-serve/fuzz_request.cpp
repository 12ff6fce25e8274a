//===- fuzz_request.cpp - fuzzes bodies of requests -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/request.h"

#include <cstdlib>

/// A body is read or refused with a 4xx; what is read obeys the limits.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view body(reinterpret_cast<const char *>(data), size);
  for (bool chat : {false, true}) {
    auto call = quant::serve::parseCall(body, chat, "m");
    if (!call && (call.error().status < 400 || call.error().status > 499 || call.error().message.empty()))
      std::abort();
    if (!call)
      (void)call.error().json().dump();
    else if (call->n < 1 || call->stops.size() > 16 || (chat ? call->messages.empty() : call->prompts.empty()))
      std::abort();
  }
  return 0;
}
