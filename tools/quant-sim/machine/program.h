//===- program.h - a kernel, decoded ---------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_MACHINE_PROGRAM_H
#define QUANT_TOOLS_QUANT_SIM_MACHINE_PROGRAM_H

#include "tools/quant-sim/ptx/ptx.h"

#include "dialects/machine/Gpu.h"

#include <array>
#include <memory>

namespace quant::sim {

class Warp;
struct Instr;

/// What a lane group does after an instruction.
enum class Step : uint8_t {
  Next,  ///< go on behind it
  Jump,  ///< the instruction has set where to go on
  Wait,  ///< nothing done yet: execute it again when something has changed
  Yield, ///< go on behind it, but let others run first: it looked at something that has not happened yet
  Stop,  ///< the block ends here
};

/// Executes an instruction for the lanes in `mask`, which is not 0.
using Exec = Step (*)(Warp &warp, const Instr &instr, uint32_t mask);

constexpr uint32_t kNowhere = ~uint32_t(0);
constexpr int kWarpLanes = machine::kSm90a.warpThreads;
/// Warps of a warpgroup.
constexpr uint32_t kGroupWarps = machine::kSm90a.warpgroupWarps;
constexpr int kMaxOperands = 6;

/// A decoded instruction. A slot is a row of 32 lanes' values: a register, a constant or a special register. A predicate's slot
/// is a row of 32 bits.
struct Instr {
  Exec exec = nullptr;
  std::array<int32_t, kMaxOperands> op = {-1, -1, -1, -1, -1, -1};
  int32_t guard = -1;
  bool guardNegated = false;
  /// Every live lane of the warp must execute it together.
  bool aligned = false;
  bool isBranch = false;
  /// A plain mov: it passes on that a register is in flight, since the assembler merges the two.
  bool isCopy = false;
  Space space = Space::Generic;
  Type type = Type::None;
  /// Elements of a vector access, and whatever a family counts.
  int32_t count = 1;
  /// Slots of long operands: Program::lists[list ... list + listSize).
  uint32_t list = 0, listSize = 0;
  /// Register slots it reads and writes: Program::touched[touched ... touched + touchedSize),
  /// the first `touchedWrites` are written.
  uint32_t touched = 0, touchedSize = 0, touchedWrites = 0;
  /// It writes a register that some wgmma reads or accumulates in.
  bool writesWgmmaRegister = false;
  std::array<int64_t, 4> imm = {};
  uint32_t target = kNowhere;
  /// Where the lanes that a branch parts meet again.
  uint32_t reconverge = kNowhere;
  /// Index into Function::body.
  uint32_t statement = 0;
};

/// What a slot holds when a warp starts.
struct SlotInit {
  enum class Kind : uint8_t { Register, Constant, Special } kind = Kind::Register;
  uint64_t value = 0;
  std::string special;
};

/// A variable with its place.
struct PlacedVariable {
  std::string name;
  Space space;
  uint64_t address, bytes;
};

/// A kernel ready to run. Immutable.
struct Program {
  const PtxModule *module = nullptr;
  const Function *function = nullptr;
  std::vector<Instr> code;
  std::vector<int32_t> lists;
  std::vector<int32_t> touched;
  std::vector<SlotInit> slots;
  int32_t predicates = 0;
  /// By scope, for names in messages.
  std::vector<PlacedVariable> variables;
  /// Bytes of parameters; the offset of each is its variable's address.
  uint64_t paramBytes = 0;
  /// First address behind the static shared variables, where dynamic shared memory begins.
  uint64_t dynamicShared = 0;
  bool hasDynamicShared = false;
  uint64_t localBytes = 0;
};

/// Where address spaces lie within generic addresses.
constexpr uint64_t kSharedWindow = uint64_t(0x7000) << 32, kLocalWindow = uint64_t(0x7100) << 32,
                   kParamWindow = uint64_t(0x7200) << 32;
constexpr uint64_t kWindowBytes = uint64_t(1) << 32;
/// The rank of a block of the cluster within an address of shared memory, plus 1; 0 stands for the block's own.
constexpr int kRankShift = 24;
/// The system keeps the first KiB of a block's shared memory for itself (CUDA C++ Programming Guide, compute capability 9.0).
constexpr uint64_t kSharedBegin = 1024;
/// Module variables, then the caller's buffers.
constexpr uint64_t kModuleGlobals = uint64_t(0x7300) << 32, kBuffers = uint64_t(0x7400) << 32;

/// Decodes one kernel; every instruction must be known. `globals` are the module's variables, placed. Errors begin with the line.
Result<Program> decode(const PtxModule &module, const Function &function, const std::vector<PlacedVariable> &globals);

/// Sets Instr::reconverge of every branch to its immediate post-dominator.
void findReconvergence(Program &program);

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_MACHINE_PROGRAM_H
