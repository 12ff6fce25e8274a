//===- tensor_name.cpp - what the name of a tensor tells ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/tensor_name.h"

#include <algorithm>
#include <charconv>
#include <vector>

using namespace quant;

static std::vector<std::string_view> splitAtDots(std::string_view name) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= name.size();) {
    size_t end = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

static bool isNumber(std::string_view part) {
  return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
}

int64_t tools::numberAfter(std::string_view name, std::string_view key) {
  auto parts = splitAtDots(name);
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    int64_t number;
    std::string_view next = parts[i + 1];
    if (parts[i] == key && isNumber(next) && std::from_chars(next.begin(), next.end(), number).ec == std::errc())
      return number;
  }
  return -1;
}

std::string tools::nameOfKind(std::string_view name) {
  std::string kind;
  for (std::string_view part : splitAtDots(name))
    kind += (kind.empty() ? "" : ".") + (isNumber(part) ? "*" : std::string(part));
  return kind;
}

std::string tools::moduleKind(std::string_view name) {
  std::string kind;
  auto parts = splitAtDots(name);
  for (size_t i = 0; i < parts.size(); ++i) {
    bool frame = (i == 0 && parts[i] == "model") || parts[i] == "layers" || isNumber(parts[i]);
    bool last = i + 1 == parts.size() && parts[i] == "weight" && !kind.empty();
    if (!frame && !last)
      kind += (kind.empty() ? "" : ".") + std::string(parts[i]);
  }
  return kind.empty() ? std::string(name) : kind;
}
