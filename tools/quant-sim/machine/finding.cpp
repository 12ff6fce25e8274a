//===- finding.cpp - what the simulator objects to ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/finding.h"

#include <fmt/core.h>

#include <utility>

namespace quant::sim {

std::string_view nameOf(FindingKind kind) {
  constexpr std::string_view kNames[] = {
      "deadlock",
      "arrival-count",
      "byte-count",
      "uninitialized-shared",
      "missing-proxy-fence",
      "race",
      "stage-in-use",
      "out-of-bounds",
      "misaligned",
      "tma-out-of-bounds",
      "accumulator-in-flight",
      "missing-wgmma-fence",
      "bad-descriptor",
      "mbarrier-use",
      "barrier-count",
      "divergent-op",
      "register-budget",
      "store-not-awaited",
      "cluster-use",
      "early-access",
      "missing-grid-wait",
      "bad-launch",
      "step-limit",
      "trap",
  };
  return kNames[static_cast<size_t>(kind)];
}

std::string Finding::toString() const {
  std::string text = fmt::format("{}: {}", nameOf(kind), message);
  if (line > 0)
    text += fmt::format("\n  at line {}: {}", line, instruction);
  if (!source.empty())
    text += "\n  from " + source;
  text += fmt::format("\n  in block ({}, {}, {})", block[0], block[1], block[2]);
  if (thread >= 0)
    text += fmt::format(", thread {}", thread);
  if (count > 1)
    text += fmt::format("; met {} times", count);
  return text;
}

void FindingSink::add(Finding finding) {
  std::lock_guard lock(mutex);
  auto [at, isNew] = index.try_emplace({finding.kind, finding.line}, findings.size());
  if (isNew)
    findings.push_back(std::move(finding));
  else
    ++findings[at->second].count;
}

bool FindingSink::addAgain(FindingKind kind, int line) {
  std::lock_guard lock(mutex);
  auto at = index.find({kind, line});
  if (at == index.end())
    return false;
  ++findings[at->second].count;
  return true;
}

std::vector<Finding> FindingSink::take() {
  std::lock_guard lock(mutex);
  index.clear();
  return std::exchange(findings, {});
}

size_t FindingSink::size() const {
  std::lock_guard lock(mutex);
  return findings.size();
}

} // namespace quant::sim
