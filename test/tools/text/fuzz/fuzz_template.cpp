//===- fuzz_template.cpp - fuzzes chat templates --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/chat_template.h"

#include <nlohmann/json.hpp>

/// Whatever is accepted renders or says why not, with a few messages and with none.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto parsed = quant::text::ChatTemplate::parse({reinterpret_cast<const char *>(data), size});
  if (!parsed)
    return 0;
  static const nlohmann::ordered_json variables = nlohmann::ordered_json::parse(R"({"bos_token": "<s>", "eos_token": "</s>",
    "add_generation_prompt": true, "tools": [{"function": {"name": "f", "x": 1.5}}], "messages": [{"role": "system", "content": "s"},
    {"role": "user", "content": "é\n"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "0", "type": "function",
    "function": {"name": "f", "arguments": {}}}]}, {"role": "tool", "content": "r"}, {"role": "assistant", "content": "<think>x</think>a"}]})");
  (void)parsed->render(variables);
  (void)parsed->render(nlohmann::ordered_json::object());
  return 0;
}
