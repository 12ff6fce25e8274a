//===- stop_strings.h - texts that end an answer -------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_GENERATE_STOP_STRINGS_H
#define QUANT_TOOLS_GENERATE_STOP_STRINGS_H

#include <string>
#include <string_view>
#include <vector>

namespace quant::generate {

/// Looks for stop strings in a text that comes piece by piece. What could be the begin of one is kept back.
class StopStrings {
public:
  /// Empty strings never stop.
  explicit StopStrings(std::vector<std::string> stops);

  /// Takes the next piece; gives what may be shown now: all before the first stop string, if there is one.
  std::string push(std::string_view piece);
  /// What was kept back, once no more comes. Nothing after a stop.
  std::string finish();
  bool stopped() const { return found; }

private:
  std::vector<std::string> stops;
  std::string kept;
  bool found = false;
};

} // namespace quant::generate

#endif // QUANT_TOOLS_GENERATE_STOP_STRINGS_H
