//===- block.cpp - a block of threads --------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/machine/machine.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {
/// Registers of a multiprocessor, and of a thread at most.
constexpr uint64_t kMaxThreadRegisters = machine::kSm90a.maxThreadRegisters, kRegisterUnit = machine::kSm90a.registerUnit;

std::string lineText(const PtxModule &module, int line) {
  std::string_view text = module.text;
  for (int i = 1; i < line && !text.empty(); ++i)
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  text = text.substr(0, text.find('\n'));
  size_t begin = text.find_first_not_of(" \t");
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin, 160));
}
} // namespace

Block::Block(Cluster &cluster, std::array<uint32_t, 3> id, uint32_t rank)
    : cluster(cluster), launch(cluster.launch), program(launch.program), id(id), rank(rank),
      threads(launch.block[0] * launch.block[1] * launch.block[2]), shared(program.dynamicShared + launch.dynamicShared),
      shadow(launch.check ? shared.size() : 0), layouts(launch.check ? shared.size() / 16 + 1 : 0, kNoLayout) {
  uint32_t count = (threads + kWarpLanes - 1) / kWarpLanes;
  uint64_t perThread = machine::kSm90a.registersAtLaunch(count * kWarpLanes);
  perThread =
      std::min(perThread / program.function->minBlocksPerMultiprocessor / kRegisterUnit * kRegisterUnit, kMaxThreadRegisters);
  liveWarps = count;
  warps.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t lanes = std::min<uint32_t>(threads - i * kWarpLanes, kWarpLanes);
    Warp &warp = warps.emplace_back(*this, i, lanes == kWarpLanes ? ~0u : (1u << lanes) - 1);
    warp.registers = static_cast<int32_t>(perThread);
    warp.copyChannel = cluster.newChannel();
    warp.wgmmaChannel = i % kGroupWarps == 0 ? cluster.newChannel() : warps[i - 1].wgmmaChannel;
  }
  wgmmaIssues.resize((count + kGroupWarps - 1) / kGroupWarps);
  registerIssues.resize(wgmmaIssues.size());
}

//===----------------------------------------------------------------------===//
// Other blocks of the cluster
//===----------------------------------------------------------------------===//

bool Block::touchRemotely(Warp &warp, const Instr &instr, const Access &access, int lane) {
  if (!launch.check)
    return true;
  std::string name = fmt::format("shared memory of the block of rank {}", rank);
  if (done()) {
    warp.report(FindingKind::ClusterUse, instr, name + ", which has ended", 1u << lane);
    cluster.stopped = true;
    return false;
  }
  if (warp.known.seen.get(warps[0].channel) == 0 && warp.known.inits.get(warps[0].channel) == 0)
    warp.report(FindingKind::ClusterUse, instr, name + ": no barrier.cluster says that it has begun", 1u << lane);
  remote[access.channel] = access;
  return true;
}

void Block::lanesExited(const Warp &warp) {
  if (!warp.done())
    return;
  --liveWarps;
  if (cluster.blocks.size() == 1)
    return;
  knownAtExit.merge(warp.known.seen);
  if (!done())
    return;
  for (const auto &[channel, access] : remote)
    if (knownAtExit.get(channel) < access.clock)
      report(FindingKind::ClusterUse, &program.code[access.pc], static_cast<int>(warp.index * kWarpLanes),
             "the block of rank " + std::to_string(rank) +
                 " ends while another may still touch its shared memory here: it does "
                 "not wait for that");
}

//===----------------------------------------------------------------------===//
// Findings
//===----------------------------------------------------------------------===//

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
  return fmt::format("line {}", program.function->body[program.code[pc].statement].line);
}

std::string Block::sharedName(uint64_t address) const {
  std::string suffix = cluster.blocks.size() > 1 ? " of rank " + std::to_string(rank) : "";
  const PlacedVariable *best = nullptr;
  for (const PlacedVariable &variable : program.variables)
    if (variable.space == Space::Shared && variable.address <= address && (!best || variable.address >= best->address))
      best = &variable;
  if (!best)
    return fmt::format("shared address {}{}", address, suffix);
  return best->name + (address == best->address ? "" : "+" + std::to_string(address - best->address)) + suffix;
}

} // namespace quant::sim
