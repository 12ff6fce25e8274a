//===- metrics.h - what the server counts --------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_METRICS_H
#define QUANT_TOOLS_QUANT_SERVE_METRICS_H

#include "tools/quant-serve/engine.h"

#include <map>
#include <mutex>
#include <string>

namespace quant::serve {

/// Counters since the start. Any thread may call it.
class Metrics {
public:
  void countAnswer(const std::string &path, int status);
  void countCompletion(const generate::Completion &completion);

  /// Prometheus' text format (0.0.4), with what the engine counts.
  std::string text(const Engine::Counts &counts) const;

private:
  mutable std::mutex mutex;
  std::map<std::pair<std::string, int>, uint64_t> answers;
  int64_t promptTokens = 0, newTokens = 0, guesses = 0, rightGuesses = 0;
  double prefillSeconds = 0, decodeSeconds = 0;
};

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_METRICS_H
