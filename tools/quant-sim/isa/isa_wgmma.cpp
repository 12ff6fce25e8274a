//===- isa_wgmma.cpp - warpgroup matrix multiply-accumulate ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions". Each warp computes its 16 of the 64 rows when it issues the wgmma;
// until the group is waited for, its registers and the shared memory it reads count as in use.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/float_formats.h"
#include "tools/quant-sim/isa/lanes.h"
#include "tools/quant-sim/isa/wgmma.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

/// scale-d where it is the literal 1 or 0 instead of a predicate.
enum ScaleD : int32_t { kAdd = -1, kOverwrite = -2 };
/// Instr::imm of a wgmma.
enum Field { kScaleA = 0, kTransposeA = 1, kScaleB = 2, kTransposeB = 3 };
/// op[0]: number of accumulator registers in the list (A's follow, if they are registers); op[1], op[2]: descriptors of A (-1: in
/// registers) and B; op[3]: scale-d's predicate or a ScaleD; op[4]: type of the accumulators; op[5]: element type of B.

struct Issue {
  Warp &warp;
  const Instr &instr;
  WgmmaShape shape;
  bool isInteger, accumulate;
  std::vector<float> a, b, d;

  bool readShared(uint64_t descriptor, bool isA);
  void readRegistersA();
  void exchangeAccumulators(bool store);
  bool run();

private:
  bool readRow(const MatrixDescriptor &matrix, uint64_t row, uint64_t to, bool isA, bool transpose);
  bool readChunk(const MatrixDescriptor &matrix, uint64_t address, uint64_t bytes, uint8_t *to);
  void put(bool isA, uint64_t row, uint64_t k, uint32_t bits);
};

void Issue::put(bool isA, uint64_t row, uint64_t k, uint32_t bits) {
  float value = elementValue(isA ? shape.element : shape.elementB, bits);
  if (isA)
    a[row * shape.k() + k] = instr.imm[kScaleA] < 0 ? -value : value;
  else
    b[k * shape.n + row] = instr.imm[kScaleB] < 0 ? -value : value;
}

bool Issue::readChunk(const MatrixDescriptor &matrix, uint64_t address, uint64_t bytes, uint8_t *to) {
  int lane = __builtin_ctz(warp.live);
  Place from = warp.block.resolveShared(warp, instr, Space::Shared, address, bytes, lane);
  if (!from)
    return false;
  Access access{
      .clock = warp.wgmmaCommitted + 1, .pc = warp.pcOf(instr), .channel = warp.wgmmaChannel, .async = true, .bytes = 0};
  warp.block.readShared(warp, instr, address, bytes, access, lane);
  if (warp.block.launch.check) {
    uint8_t layout = warp.block.layouts[address / 16];
    if (layout != Block::kNoLayout && layout != matrix.swizzleBytes)
      warp.report(FindingKind::BadDescriptor, instr,
                  fmt::format("the descriptor says a swizzle of {} bytes, but TMA has written {} with one of {}",
                              matrix.swizzleBytes, warp.block.sharedName(address), layout));
  }
  std::memcpy(to, from.host, bytes);
  return true;
}

/// Row `row` of the matrix becomes row `to` of ours.
bool Issue::readRow(const MatrixDescriptor &matrix, uint64_t row, uint64_t to, bool isA, bool transpose) {
  int bytes = bitsOf(shape.element) / 8;
  uint8_t line[kKBytes];
  for (int k = 0; transpose && k < shape.k(); ++k)
    if (!readChunk(matrix, matrix.mnMajor(row, k), 2, line + 2 * k))
      return false;
  for (int chunk = 0; !transpose && chunk < kKBytes; chunk += 16)
    if (!readChunk(matrix, matrix.kMajor(row, chunk), 16, line + chunk))
      return false;
  for (int k = 0; k < shape.k(); ++k) {
    uint32_t bits = 0;
    std::memcpy(&bits, line + k * bytes, bytes);
    put(isA, to, k, bits);
  }
  return true;
}

bool Issue::readShared(uint64_t descriptor, bool isA) {
  MatrixDescriptor matrix = MatrixDescriptor::unpack(descriptor);
  if (std::string wrong = matrix.check(); !wrong.empty() && warp.block.launch.check)
    warp.report(FindingKind::BadDescriptor, instr, fmt::format("the descriptor of {}{}", isA ? "A: " : "B: ", wrong));
  uint64_t first = isA ? warp.index % kGroupWarps * kWarpRows : 0, rows = isA ? kWarpRows : shape.n;
  for (uint64_t row = 0; row < rows; ++row)
    if (!readRow(matrix, first + row, row, isA, instr.imm[isA ? kTransposeA : kTransposeB]))
      return false;
  return true;
}

/// Four registers a lane: rows l / 4 and 8 further, and in K two or four elements each, twice.
void Issue::readRegistersA() {
  int bits = bitsOf(shape.element), perRegister = 32 / bits;
  for (int i = 0; i < 4; ++i) {
    const uint64_t *registers = warp.row(warp.listed(instr, instr.op[0] + i));
    for (int lane = 0; lane < kWarpLanes; ++lane)
      for (int e = 0; e < perRegister; ++e)
        put(true, lane / 4 + i % 2 * 8, lane % 4 * perRegister + i / 2 * 4 * perRegister + e,
            static_cast<uint32_t>(registers[lane] >> (bits * e) & ((uint64_t(1) << bits) - 1)));
  }
}

/// Moves the accumulators between registers and `d`. Element i of a lane is in row l / 4 + 8 * (i / 2 % 2) and column
/// 8 * (i / 4) + 2 * (l % 4) + i % 2; f16 accumulators stand in pairs.
void Issue::exchangeAccumulators(bool store) {
  bool isHalf = static_cast<Type>(instr.op[4]) == Type::F16;
  for (int i = 0; i < shape.n / 2; ++i) {
    uint64_t *registers = warp.row(warp.listed(instr, isHalf ? i / 2 : i));
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      float &value = d[(lane / 4 + i / 2 % 2 * 8) * shape.n + i / 4 * 8 + lane % 4 * 2 + i % 2];
      uint64_t half = uint64_t(0xffff) << (i % 2 * 16);
      if (store && isHalf)
        registers[lane] = (registers[lane] & ~half) | uint64_t(encode(value, kF16, Rounding::NearestEven, false)) << (i % 2 * 16);
      else if (store)
        registers[lane] = toBits(value);
      else if (isHalf)
        value = static_cast<float>(decodeFloat(registers[lane] >> (i % 2 * 16) & 0xffff, kF16));
      else
        value = fromBits<float>(registers[lane]);
    }
  }
}

bool Issue::run() {
  int k = shape.k(), n = shape.n;
  a.resize(kWarpRows * k);
  b.resize(k * n);
  d.assign(kWarpRows * n, 0);
  int lane = __builtin_ctz(warp.live);
  if (instr.op[1] < 0)
    readRegistersA();
  else if (!readShared(warp.row(instr.op[1])[lane], true))
    return false;
  if (!readShared(warp.row(instr.op[2])[lane], false))
    return false;
  if (accumulate)
    exchangeAccumulators(false);
  if (isInteger) {
    // Integers up to 2^14 in size are exact as floats; sums are not.
    std::vector<int32_t> integerA(a.begin(), a.end()), integerB(b.begin(), b.end()), integerD(d.size());
    for (size_t i = 0; i < d.size(); ++i)
      integerD[i] = std::bit_cast<int32_t>(d[i]);
    multiplyAddInteger(shape, integerA.data(), integerB.data(), integerD.data());
    for (size_t i = 0; i < d.size(); ++i)
      d[i] = std::bit_cast<float>(integerD[i]);
  } else {
    multiplyAdd(shape, a.data(), b.data(), d.data());
  }
  exchangeAccumulators(true);
  return true;
}

//===----------------------------------------------------------------------===//
// Rules
//===----------------------------------------------------------------------===//

/// The four warps of a warpgroup issue the same wgmmas.
void compareWithGroup(Warp &warp, const Instr &instr, uint64_t a, uint64_t b) {
  auto &issues = warp.block.wgmmaIssues[warp.index / kGroupWarps];
  WarpgroupIssue issue{warp.pcOf(instr), a, b};
  size_t n = warp.wgmmaIssued++;
  if (n >= issues.size()) {
    issues.push_back(issue);
    return;
  }
  if (issues[n].pc != issue.pc)
    warp.report(FindingKind::DivergentOp, instr,
                "another warp of the warpgroup issues the wgmma of " + warp.block.siteName(issues[n].pc) + " instead");
  else if (issues[n].a != a || issues[n].b != b)
    warp.report(FindingKind::BadDescriptor, instr, "another warp of the warpgroup has other descriptors");
}

void checkFence(Warp &warp, const Instr &instr) {
  for (uint32_t i = 0; i < instr.listSize; ++i) {
    int32_t slot = warp.listed(instr, i);
    if (warp.wgmmaFences == 0 || warp.writtenAt[slot] == warp.wgmmaFences + 1) {
      warp.report(FindingKind::MissingWgmmaFence, instr,
                  warp.wgmmaFences == 0 ? "no wgmma.fence comes before the first wgmma"
                                        : "a register of it was written since the last wgmma.fence");
      return;
    }
  }
}

Step multiply(Warp &warp, const Instr &instr, uint32_t mask) {
  int lane = __builtin_ctz(mask);
  uint64_t a = instr.op[1] < 0 ? 0 : warp.row(instr.op[1])[lane], b = warp.row(instr.op[2])[lane];
  if (warp.block.launch.check) {
    compareWithGroup(warp, instr, a, b);
    checkFence(warp, instr);
  }
  if (warp.block.launch.traceWgmma)
    std::fprintf(stderr, "block %u warp %u wgmma A %s B %s\n", warp.block.id[0], warp.index,
                 instr.op[1] < 0 ? "in registers" : warp.block.sharedName(MatrixDescriptor::unpack(a).start).c_str(),
                 warp.block.sharedName(MatrixDescriptor::unpack(b).start).c_str());
  Issue issue{warp,
              instr,
              {.element = instr.type, .elementB = static_cast<Type>(instr.op[5]), .n = instr.count},
              static_cast<Type>(instr.op[4]) == Type::S32,
              instr.op[3] < 0 ? instr.op[3] == kAdd : (warp.predicate(instr.op[3]) >> lane & 1) != 0,
              {},
              {},
              {}};
  if (!issue.run())
    return Step::Stop;
  for (uint32_t i = 0; i < instr.listSize; ++i)
    warp.inFlight[warp.listed(instr, i)] = warp.wgmmaCommitted + 1;
  warp.wgmmaOpen = 1;
  warp.wgmmaAny = true;
  warp.block.progress();
  return Step::Next;
}

Step fence(Warp &warp, const Instr &, uint32_t) {
  ++warp.wgmmaFences;
  return Step::Next;
}

Step commit(Warp &warp, const Instr &, uint32_t) {
  ++warp.wgmmaCommitted;
  warp.wgmmaOpen = 0;
  return Step::Next;
}

/// A wgmma runs when the whole warpgroup has issued it, so none is over before. imm[0]: groups that may still run.
Step waitGroup(Warp &warp, const Instr &instr, uint32_t) {
  uint32_t running = static_cast<uint32_t>(instr.imm[0]);
  uint32_t over = warp.wgmmaCommitted > running ? warp.wgmmaCommitted - running : 0;
  auto &warps = warp.block.warps;
  uint32_t first = warp.index / kGroupWarps * kGroupWarps;
  for (uint32_t i = first; i < std::min<size_t>(first + kGroupWarps, warps.size()); ++i)
    if (!warps[i].done() && warps[i].wgmmaCommitted < over)
      return warp.wait([&] { return fmt::format("wgmma group {}, which warp {} has not committed", over, i); },
                       FindingKind::DivergentOp);
  warp.wgmmaWaited = std::max(warp.wgmmaWaited, over);
  warp.known.seen.raise(warp.wgmmaChannel, warp.wgmmaWaited);
  warp.wgmmaAny = warp.wgmmaOpen || warp.wgmmaWaited < warp.wgmmaCommitted;
  return Step::Next;
}

//===----------------------------------------------------------------------===//
// Decoding
//===----------------------------------------------------------------------===//

/// m64n128k32 to n; 0 if it is no shape of these elements.
int takeShape(Decoder &d) {
  for (int n = 8; n <= 256; n += 8)
    for (int k : {8, 16, 32})
      if (d.take("m64n" + std::to_string(n) + "k" + std::to_string(k))) {
        d.instr.imm[kScaleA] = k;
        return n;
      }
  d.fail("expected a shape");
  return 8;
}

bool isSupported(Type d, Type a, Type b) {
  bool fp8 = (a == Type::E4M3 || a == Type::E5M2) && (b == Type::E4M3 || b == Type::E5M2);
  bool int8 = (a == Type::S8 || a == Type::U8) && (b == Type::S8 || b == Type::U8);
  if (d == Type::S32)
    return int8;
  if (d == Type::F16)
    return fp8 || (a == Type::F16 && b == Type::F16);
  return d == Type::F32 && (fp8 || (a == b && (a == Type::F16 || a == Type::BF16 || a == Type::TF32)));
}

/// scale-d, imm-scale-a, imm-scale-b, imm-trans-a, imm-trans-b.
void decodeScales(Decoder &d, Type type, Type element) {
  size_t next = 4;
  if (d.operand(3).kind == Operand::Kind::Integer)
    d.instr.op[3] = d.literal(3) ? kAdd : kOverwrite;
  else
    d.readPredicate(3, 3);
  d.instr.imm[kScaleA] = d.instr.imm[kScaleB] = 1;
  if (type != Type::S32) {
    d.instr.imm[kScaleA] = d.literal(next++);
    d.instr.imm[kScaleB] = d.literal(next++);
  }
  bool is16 = bitsOf(element) == 16;
  if (is16 && d.instr.op[1] >= 0)
    d.instr.imm[kTransposeA] = d.literal(next++);
  if (is16)
    d.instr.imm[kTransposeB] = d.literal(next++);
  d.count(next);
}

void decodeMultiply(Decoder &d) {
  d.require({"sync"});
  d.require({"aligned"});
  int n = takeShape(d);
  int k = static_cast<int>(d.instr.imm[kScaleA]);
  d.take("satfinite");
  Type type = d.takeType(), a = d.takeType(), b = d.takeType();
  if (!isSupported(type, a, b) || k * bitsOf(a) != kKBytes * 8)
    return d.exec(nullptr, type);
  uint32_t accumulators = d.writeList(d.operand(0), Type::B32), wanted = n / 2 / (type == Type::F16 ? 2 : 1);
  if (accumulators != wanted)
    d.fail(fmt::format("{} accumulator registers, not {}", accumulators, wanted));
  if (d.operand(1).kind != Operand::Kind::Vector)
    d.read(1, 1, Type::B64);
  else if (d.readList(d.operand(1), Type::B32) != 4)
    d.fail("A in registers takes 4 of them");
  d.read(2, 2, Type::B64);
  decodeScales(d, type, a);
  d.instr.op[0] = static_cast<int32_t>(accumulators);
  d.instr.op[4] = static_cast<int32_t>(type);
  d.instr.op[5] = static_cast<int32_t>(b);
  d.instr.count = n;
  d.exec(multiply, a);
}

void decodeWgmma(Decoder &d) {
  d.instr.aligned = true;
  if (d.take("mma_async"))
    return decodeMultiply(d);
  d.require({"sync"});
  d.require({"aligned"});
  std::string_view what = d.require({"fence", "commit_group", "wait_group"});
  d.count(what == "wait_group" ? 1 : 0);
  if (what == "wait_group")
    d.instr.imm[0] = d.literal(0);
  d.exec(what == "fence" ? fence : what == "commit_group" ? commit : waitGroup);
}

} // namespace

void addWgmmaInstructions(DecodeTable &table) { table["wgmma"] = decodeWgmma; }

} // namespace quant::sim
