//===- progress.cpp - a progress bar --------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/progress.h"

#include "tools/common/units.h"

#include <fmt/core.h>

#include <algorithm>
#include <unistd.h>

using namespace quant;
using namespace quant::tools;

static constexpr auto kDrawInterval = std::chrono::milliseconds(100);
/// Back to the left end of the line, and clear to its right end.
static constexpr const char *kClearLine = "\r\x1b[K";

std::FILE *tools::stderrTerminal() { return isatty(STDERR_FILENO) ? stderr : nullptr; }

std::string tools::progressLine(const std::string &label, uint64_t done, uint64_t total, double seconds,
                                std::string (*words)(uint64_t)) {
  constexpr int width = 24;
  double share = total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  int full = static_cast<int>(share * width);
  char percent[8];
  std::snprintf(percent, sizeof(percent), "%3d%%", static_cast<int>(share * 100));
  std::string line = fmt::format("{} [{}{}] {}  {} of {}", label, std::string(full, '#'), std::string(width - full, '.'), percent,
                                 words(done), words(total));
  if (done == 0 || seconds <= 0)
    return line;
  double rate = static_cast<double>(done) / seconds;
  double left = static_cast<double>(total - std::min(done, total)) / rate;
  return fmt::format("{}  {}/s  ETA {}", line, words(static_cast<uint64_t>(rate)), humanTime(left));
}

Progress::Progress(std::string label, uint64_t total, std::FILE *terminal, std::string (*words)(uint64_t))
    : label(std::move(label)), total(total), terminal(terminal), words(words) {}

Progress::~Progress() {
  if (terminal) {
    std::fputs(kClearLine, terminal);
    std::fflush(terminal);
  }
}

void Progress::add(uint64_t bytes) {
  uint64_t now = done += bytes;
  std::unique_lock lock(drawing, std::try_to_lock);
  if (!terminal || !lock || Clock::now() - lastDrawn < kDrawInterval)
    return;
  lastDrawn = Clock::now();
  std::fputs((kClearLine + progressLine(label, now, total, seconds(), words)).c_str(), terminal);
  std::fflush(terminal);
}

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - begin).count(); }
