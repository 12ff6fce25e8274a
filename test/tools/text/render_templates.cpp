//===- render_templates.cpp - templates to texts, for the oracle ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// render-templates <CASES >RESULTS: test/interop/test_chat_template.py compares what it prints with Jinja2's. CASES is a JSON
// array of
// {"template": text, "variables": object}, RESULTS one of {"text": ...} or {"error": ...}.
//
//===----------------------------------------------------------------------===//

#include "tools/text/chat_template.h"

#include <nlohmann/json.hpp>

#include <iostream>

using namespace quant;
using Json = nlohmann::ordered_json;

static Json resultOf(const Json &one) {
  Result<text::ChatTemplate> parsed = text::ChatTemplate::parse(one["template"].get<std::string>());
  if (!parsed)
    return {{"error", parsed.error().message}};
  Result<std::string> rendered = parsed->render(one["variables"]);
  return rendered ? Json{{"text", *rendered}} : Json{{"error", rendered.error().message}};
}

int main() {
  Json results = Json::array();
  for (const Json &one : Json::parse(std::cin))
    results.push_back(resultOf(one));
  std::cout << results.dump() << '\n';
}
