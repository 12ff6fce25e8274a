//===- units.cpp - bytes and times for people -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/units.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

using namespace quant;

std::string tools::humanBytes(uint64_t bytes) {
  static constexpr const char *units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000)
    return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 999.5; value /= 1000)
    ++unit;
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, units[unit]);
  return text;
}

std::string tools::humanCount(uint64_t count) {
  static constexpr const char *units[] = {"", "k", "M", "B", "T", "P", "E"};
  if (count < 1000)
    return std::to_string(count);
  double value = static_cast<double>(count);
  size_t unit = 0;
  for (; value >= 999.5; value /= 1000)
    ++unit;
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f%s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, units[unit]);
  return text;
}

std::string tools::humanTime(double seconds) {
  // A day count is of no use where a rate has not settled yet.
  int64_t total = static_cast<int64_t>(std::clamp(seconds, 0.0, 359999.0) + 0.5);
  char text[32];
  if (total >= 3600)
    std::snprintf(text, sizeof(text), "%d:%02d:%02d", int(total / 3600), int(total / 60 % 60), int(total % 60));
  else
    std::snprintf(text, sizeof(text), "%d:%02d", int(total / 60), int(total % 60));
  return text;
}
