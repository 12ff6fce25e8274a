//===- stop_strings.cpp - texts that end an answer ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/generate/stop_strings.h"

#include <algorithm>
#include <utility>

namespace quant::generate {

StopStrings::StopStrings(std::vector<std::string> given) : stops(std::move(given)) {
  std::erase_if(stops, [](const std::string &stop) { return stop.empty(); });
}

std::string StopStrings::push(std::string_view piece) {
  if (found)
    return {};
  kept += piece;
  size_t first = std::string::npos;
  for (const std::string &stop : stops)
    first = std::min(first, kept.find(stop));
  if (first != std::string::npos) {
    found = true;
    return std::exchange(kept, {}).substr(0, first);
  }
  // The longest end of the text that a stop string begins with.
  size_t back = 0;
  for (const std::string &stop : stops)
    for (size_t length = std::min(stop.size() - 1, kept.size()); length > back; --length)
      if (std::string_view(kept).ends_with(std::string_view(stop).substr(0, length)))
        back = length;
  std::string shown = kept.substr(0, kept.size() - back);
  kept.erase(0, shown.size());
  return shown;
}

std::string StopStrings::finish() { return found ? std::string() : std::exchange(kept, {}); }

} // namespace quant::generate
