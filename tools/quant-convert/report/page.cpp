//===- page.cpp - reports as HTML pages -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/page.h"

#include <nlohmann/json.hpp>

using namespace quant;

/// JSON that ends no script element, whatever its texts hold.
static std::string scriptText(const nlohmann::json &data) {
  std::string text;
  for (char character : data.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
    if (character == '<') // in texts alone
      text += "\\u003c";
    else
      text += character;
  return text;
}

std::string convert::fillPage(std::string_view page, const nlohmann::json &data) {
  constexpr std::string_view begin = R"(<script id="data" type="application/json">)", end = "</script>";
  size_t from = page.find(begin) + begin.size(), to = page.find(end, from);
  return std::string(page.substr(0, from)) + scriptText(data) + std::string(page.substr(to));
}
