//===- control_flow.cpp - where parted lanes meet again --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/program.h"

#include <algorithm>

namespace quant::sim {

namespace {

/// Immediate post-dominators of instructions, by Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", on the reverse
/// graph. Node n = code.size() is the exit.
class PostDominators {
public:
  explicit PostDominators(const Program &program) : code(program.code), exit(static_cast<uint32_t>(code.size())) {
    number();
    solve();
  }
  uint32_t of(uint32_t pc) const { return parent[pc]; }

private:
  template <typename F>
  void forSuccessors(uint32_t pc, F visit) const {
    const Instr &instr = code[pc];
    bool isLast = pc + 1 == exit;
    if (instr.isBranch) {
      visit(instr.target);
      if (instr.guard < 0)
        return;
    }
    visit(isLast ? exit : pc + 1);
  }
  void number();
  void solve();
  uint32_t meet(uint32_t a, uint32_t b) const;

  const std::vector<Instr> &code;
  const uint32_t exit;
  /// Post-order number of a node in a walk from the exit against the edges; kNowhere if the exit cannot be reached.
  std::vector<uint32_t> order;
  std::vector<uint32_t> sequence, parent;
};

void PostDominators::number() {
  std::vector<std::vector<uint32_t>> predecessors(exit + 1);
  for (uint32_t pc = 0; pc < exit; ++pc)
    forSuccessors(pc, [&](uint32_t to) { predecessors[to == kNowhere ? exit : to].push_back(pc); });
  order.assign(exit + 1, kNowhere);
  std::vector<bool> visited(exit + 1);
  std::vector<std::pair<uint32_t, size_t>> stack = {{exit, 0}};
  visited[exit] = true;
  while (!stack.empty()) {
    auto &[node, next] = stack.back();
    if (next < predecessors[node].size()) {
      uint32_t to = predecessors[node][next++];
      if (!visited[to]) {
        visited[to] = true;
        stack.push_back({to, 0});
      }
    } else {
      order[node] = static_cast<uint32_t>(sequence.size());
      sequence.push_back(node);
      stack.pop_back();
    }
  }
}

uint32_t PostDominators::meet(uint32_t a, uint32_t b) const {
  while (a != b) {
    while (order[a] < order[b])
      a = parent[a];
    while (order[b] < order[a])
      b = parent[b];
  }
  return a;
}

void PostDominators::solve() {
  parent.assign(exit + 1, kNowhere);
  parent[exit] = exit;
  for (bool changed = true; changed;) {
    changed = false;
    for (auto at = sequence.rbegin(); at != sequence.rend(); ++at) {
      if (*at == exit)
        continue;
      uint32_t best = kNowhere;
      forSuccessors(*at, [&](uint32_t to) {
        to = to == kNowhere ? exit : to;
        if (parent[to] != kNowhere)
          best = best == kNowhere ? to : meet(best, to);
      });
      changed |= parent[*at] != best;
      parent[*at] = best;
    }
  }
}

} // namespace

void findReconvergence(Program &program) {
  PostDominators dominators(program);
  for (uint32_t pc = 0; pc < program.code.size(); ++pc) {
    Instr &instr = program.code[pc];
    if (!instr.isBranch || instr.guard < 0)
      continue;
    uint32_t at = dominators.of(pc);
    instr.reconverge = at == program.code.size() ? kNowhere : at;
  }
}

} // namespace quant::sim
