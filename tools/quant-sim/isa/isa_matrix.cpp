//===- isa_matrix.cpp - ldmatrix, stmatrix -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Warp Level Matrix Load Instruction: ldmatrix", "Warp Level Matrix Store Instruction: stmatrix".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

constexpr int kRows = 8, kRowBytes = 16;

/// The rows of 8x8 matrix `matrix`, whose addresses lanes 8 * matrix ... hold; false after a finding.
bool rowsOf(Warp &warp, const Instr &instr, int matrix, bool write, std::array<std::byte *, kRows> &rows) {
  for (int i = 0; i < kRows; ++i) {
    int lane = matrix * kRows + i;
    uint64_t address = warp.address(instr, lane);
    if (Block::spaceOf(address) == Space::Global)
      address &= kWindowBytes - 1;
    Place row = warp.block.resolve(warp, instr, Space::Shared, address, kRowBytes, lane, write);
    if (!row)
      return false;
    rows[i] = row.host;
    if (write)
      warp.block.writeShared(warp, instr, row.offset, kRowBytes, warp.access(instr), lane);
    else
      warp.block.readShared(warp, instr, row.offset, kRowBytes, warp.access(instr), lane);
  }
  return true;
}

/// Lane l holds elements 2 * (l % 4) and the next of row l / 4; transposed, of column l / 4. imm[1]: transposed, imm[2]: store.
Step moveMatrices(Warp &warp, const Instr &instr, uint32_t) {
  for (int matrix = 0; matrix < instr.count; ++matrix) {
    std::array<std::byte *, kRows> rows;
    if (!rowsOf(warp, instr, matrix, instr.imm[2], rows))
      return Step::Stop;
    uint64_t *registers = warp.row(warp.listed(instr, matrix));
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      uint64_t value = 0;
      for (int half = 0; half < 2; ++half) {
        int major = lane / 4, minor = lane % 4 * 2 + half;
        std::byte *place = instr.imm[1] ? rows[minor] + 2 * major : rows[major] + 2 * minor;
        uint16_t element = static_cast<uint16_t>(registers[lane] >> (16 * half));
        if (instr.imm[2])
          std::memcpy(place, &element, 2);
        else
          std::memcpy(&element, place, 2);
        value |= uint64_t(element) << (16 * half);
      }
      if (!instr.imm[2])
        registers[lane] = value;
    }
  }
  return Step::Next;
}

template <bool Store>
void decodeMatrix(Decoder &d) {
  d.require({"sync"});
  d.require({"aligned"});
  d.require({"m8n8"});
  std::string_view count = d.require({"x1", "x2", "x4"});
  d.instr.count = count.empty() ? 1 : count[1] - '0';
  d.instr.imm[1] = d.take("trans");
  d.instr.imm[2] = Store;
  d.takeOne({"shared", "shared::cta"});
  d.require({"b16"});
  d.count(2);
  d.address(1, Store ? 0 : 1);
  const Operand &data = d.operand(Store ? 1 : 0);
  uint32_t registers = Store ? d.readList(data, Type::B32) : d.writeList(data, Type::B32);
  if (registers != static_cast<uint32_t>(d.instr.count))
    d.fail(fmt::format("{} registers for {} matrices", registers, d.instr.count));
  d.instr.aligned = true;
  d.exec(moveMatrices);
}

} // namespace

void addMatrixInstructions(DecodeTable &table) {
  table["ldmatrix"] = decodeMatrix<false>;
  table["stmatrix"] = decodeMatrix<true>;
}

} // namespace quant::sim
