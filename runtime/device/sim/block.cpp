//===- block.cpp - runs the warps of a block -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/machine.h"

namespace quant::sim {

namespace {
/// Registers of a multiprocessor, and of a thread at most.
constexpr uint64_t kRegisterFile = 65536, kMaxThreadRegisters = 256, kRegisterUnit = 8;
/// Rounds in which nothing happens before a block counts as dead; from the first on, try_wait gives up.
constexpr int kIdleRounds = 6;

std::string lineText(const PtxModule &module, int line) {
  std::string_view text = module.text;
  for (int i = 1; i < line && !text.empty(); ++i)
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  text = text.substr(0, text.find('\n'));
  size_t begin = text.find_first_not_of(" \t");
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin, 160));
}
} // namespace

Block::Block(LaunchContext &launch, std::array<uint32_t, 3> id)
    : launch(launch), program(launch.program), id(id), threads(launch.block[0] * launch.block[1] * launch.block[2]),
      shared(program.dynamicShared + launch.dynamicShared), shadow(launch.check ? shared.size() : 0),
      layouts(launch.check ? shared.size() / 16 + 1 : 0, kNoLayout) {
  uint32_t count = (threads + kWarpLanes - 1) / kWarpLanes;
  uint64_t perThread = kRegisterFile / (count * kWarpLanes) / kRegisterUnit * kRegisterUnit;
  perThread =
      std::min(perThread / program.function->minBlocksPerMultiprocessor / kRegisterUnit * kRegisterUnit, kMaxThreadRegisters);
  channels = static_cast<uint16_t>(count);
  warps.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t lanes = std::min<uint32_t>(threads - i * kWarpLanes, kWarpLanes);
    Warp &warp = warps.emplace_back(*this, i, lanes == kWarpLanes ? ~0u : (1u << lanes) - 1);
    warp.registers = static_cast<int32_t>(perThread);
    warp.wgmmaChannel = newChannel();
  }
  wgmmaIssues.resize((count + 3) / 4);
}

void Block::run() {
  for (int idle = 0; !stopped;) {
    uint64_t before = progressed;
    bool busy = false, alive = false;
    for (Warp &warp : warps) {
      if (warp.done())
        continue;
      alive = true;
      busy |= warp.run();
      if (stopped)
        break;
    }
    if (!alive)
      break;
    idle = progressed == before && !busy ? idle + 1 : 0;
    timeLimitOver = idle > 0;
    explaining = idle >= kIdleRounds;
    if (idle > kIdleRounds)
      return reportDeadlock();
  }
}

/// One finding for each instruction at which lanes wait.
void Block::reportDeadlock() {
  std::map<uint32_t, std::vector<const Warp *>> waiting;
  std::map<uint32_t, const Group *> first;
  for (Warp &warp : warps)
    for (const Group &group : warp.groups) {
      auto &list = waiting[group.pc];
      if (list.empty() || list.back() != &warp)
        list.push_back(&warp);
      if (first.try_emplace(group.pc, &group).first->second->waitsFor.empty())
        first[group.pc] = &group;
    }
  for (const auto &[pc, list] : waiting) {
    const Group &group = *first[pc];
    std::string message = "nothing can move any more, and warp";
    for (size_t i = 0; i < list.size(); ++i)
      message += (i ? ", " : list.size() > 1 ? "s " : " ") + std::to_string(list[i]->index);
    message += list.size() > 1 ? " wait for " : " waits for ";
    message += group.waitsFor.empty() ? "something that never happens" : group.waitsFor;
    int thread = static_cast<int>(list[0]->index * kWarpLanes) + __builtin_ctz(group.mask ? group.mask : 1);
    const Instr *instr = pc < program.code.size() ? &program.code[pc] : nullptr;
    report(group.waitKind, instr, thread, std::move(message));
  }
}

void Block::report(FindingKind kind, const Instr *instr, int thread, std::string message) {
  Finding finding{
      .kind = kind, .message = std::move(message), .line = 0, .instruction = {}, .source = {}, .block = id, .thread = thread};
  if (instr) {
    const Statement &statement = program.function->body[instr->statement];
    finding.line = statement.line;
    finding.instruction = lineText(*program.module, statement.line);
    auto file = program.module->files.find(statement.file);
    if (statement.sourceLine > 0 && file != program.module->files.end())
      finding.source = file->second + ":" + std::to_string(statement.sourceLine) + ":" + std::to_string(statement.sourceColumn);
  }
  launch.findings.add(std::move(finding));
}

std::string Block::siteName(uint32_t pc) const {
  if (pc >= program.code.size())
    return "an earlier line";
  return "line " + std::to_string(program.function->body[program.code[pc].statement].line);
}

std::string Block::sharedName(uint64_t address) const {
  const PlacedVariable *best = nullptr;
  for (const PlacedVariable &variable : program.variables)
    if (variable.space == Space::Shared && variable.address <= address && (!best || variable.address >= best->address))
      best = &variable;
  if (!best)
    return "shared address " + std::to_string(address);
  return best->name + (address == best->address ? "" : "+" + std::to_string(address - best->address));
}

} // namespace quant::sim
