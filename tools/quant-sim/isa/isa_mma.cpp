//===- isa_mma.cpp - warp matrix multiply-accumulate --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Warp Level Matrix Instructions: mma", shapes m16n8kK whose K is 16 or 32 bytes.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/float_formats.h"
#include "tools/quant-sim/isa/lanes.h"
#include "tools/quant-sim/isa/wgmma.h"

#include <fmt/core.h>

namespace quant::sim {

namespace {

constexpr int kColumns = 8;

/// The list: D, A, B, C. op[0]: registers of D and of C; op[1]: of A; op[2]: of B; op[4]: type of D; op[5]: elements of B; type:
/// elements of A.
struct Operands {
  Warp &warp;
  const Instr &instr;

  uint64_t *d(int i) const { return warp.row(warp.listed(instr, i)); }
  uint64_t *a(int i) const { return warp.row(warp.listed(instr, instr.op[0] + i)); }
  uint64_t *b(int i) const { return warp.row(warp.listed(instr, instr.op[0] + instr.op[1] + i)); }
  uint64_t *c(int i) const { return warp.row(warp.listed(instr, instr.op[0] + instr.op[1] + instr.op[2] + i)); }
};

/// Calls `body(register, lane, element's bits, row, k)` for the fragments of A, or of B with its column as the row.
template <typename F>
void forElements(Type type, int registers, bool isA, F body) {
  int bits = bitsOf(type), each = 32 / bits;
  for (int i = 0; i < registers; ++i)
    for (int lane = 0; lane < kWarpLanes; ++lane)
      for (int e = 0; e < each; ++e) {
        int half = isA ? i / 2 : i, row = lane / 4 + (isA ? i % 2 * 8 : 0);
        body(i, lane, bits * e, row, lane % 4 * each + half * 4 * each + e);
      }
}

/// Row and column of element i of a lane's C and D.
std::pair<int, int> place(int lane, int i) { return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2}; }

void multiplyFloats(const Operands &o, const WgmmaShape &shape, const std::vector<float> &a, const std::vector<float> &b) {
  bool isHalf = static_cast<Type>(o.instr.op[4]) == Type::F16;
  std::vector<float> d(kWarpRows * kColumns);
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int i = 0; i < 4; ++i) {
      auto [row, column] = place(lane, i);
      d[row * kColumns + column] = isHalf ? static_cast<float>(decodeFloat(o.c(i / 2)[lane] >> (i % 2 * 16) & 0xffff, kF16))
                                          : fromBits<float>(o.c(i)[lane]);
    }
  multiplyAdd(shape, a.data(), b.data(), d.data());
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int i = 0; i < 4; ++i) {
      auto [row, column] = place(lane, i);
      float value = d[row * kColumns + column];
      if (!isHalf) {
        o.d(i)[lane] = toBits(value);
        continue;
      }
      uint64_t code = encode(value, kF16, Rounding::NearestEven, false), &to = o.d(i / 2)[lane];
      to = i % 2 ? (to & 0xffff) | code << 16 : code;
    }
}

void multiplyIntegers(const Operands &o, const WgmmaShape &shape, const std::vector<float> &a, const std::vector<float> &b) {
  std::vector<int32_t> integerA(a.begin(), a.end()), integerB(b.begin(), b.end()), d(kWarpRows * kColumns);
  auto at = [&](int lane, int i) -> int32_t & {
    auto [row, column] = place(lane, i);
    return d[row * kColumns + column];
  };
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int i = 0; i < 4; ++i)
      at(lane, i) = fromBits<int32_t>(o.c(i)[lane]);
  multiplyAddInteger(shape, integerA.data(), integerB.data(), d.data());
  for (int lane = 0; lane < kWarpLanes; ++lane)
    for (int i = 0; i < 4; ++i)
      o.d(i)[lane] = toBits(at(lane, i));
}

Step multiply(Warp &warp, const Instr &instr, uint32_t) {
  Operands o{warp, instr};
  WgmmaShape shape{.element = instr.type, .elementB = static_cast<Type>(instr.op[5]), .n = kColumns};
  // Shapes of 16 bytes of K leave the other half of these zero.
  std::vector<float> a(kWarpRows * shape.k()), b(shape.k() * kColumns);
  auto element = [](Type type, uint64_t bits, int shift) {
    return elementValue(type, static_cast<uint32_t>(bits >> shift & ((uint64_t(1) << bitsOf(type)) - 1)));
  };
  forElements(shape.element, instr.op[1], true, [&](int i, int lane, int shift, int row, int k) {
    a[row * shape.k() + k] = element(shape.element, o.a(i)[lane], shift);
  });
  forElements(shape.elementB, instr.op[2], false, [&](int i, int lane, int shift, int column, int k) {
    b[k * kColumns + column] = element(shape.elementB, o.b(i)[lane], shift);
  });
  if (static_cast<Type>(instr.op[4]) == Type::S32)
    multiplyIntegers(o, shape, a, b);
  else
    multiplyFloats(o, shape, a, b);
  return Step::Next;
}

bool isSupported(Type d, Type a, Type b, Type c) {
  bool fp8 = (a == Type::E4M3 || a == Type::E5M2) && (b == Type::E4M3 || b == Type::E5M2);
  bool int8 = (a == Type::S8 || a == Type::U8) && (b == Type::S8 || b == Type::U8);
  if (d != c)
    return false;
  if (d == Type::S32)
    return int8;
  if (d == Type::F16)
    return fp8 || (a == Type::F16 && b == Type::F16);
  return d == Type::F32 && (fp8 || (a == b && (a == Type::F16 || a == Type::BF16 || a == Type::TF32)));
}

/// A vector operand of that many registers, appended to the list.
void readFragment(Decoder &d, size_t i, int32_t registers) {
  if (d.readList(d.operand(i), Type::B32) != static_cast<uint32_t>(registers))
    d.fail(fmt::format("operand {} must be a vector of {} registers", i + 1, registers));
}

void decodeMma(Decoder &d) {
  d.require({"sync"});
  d.require({"aligned"});
  d.instr.aligned = true;
  std::string_view shape = d.require({"m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"});
  d.require({"row"});
  d.require({"col"});
  d.take("satfinite");
  Type type = d.takeType(), a = d.takeType(), b = d.takeType(), c = d.takeType();
  int k = shape.ends_with("k32") ? 32 : shape.ends_with("k16") ? 16 : shape.ends_with("k8") ? 8 : 4;
  int bytes = k * bitsOf(a) / 8;
  d.count(4);
  bool fits = isSupported(type, a, b, c) && bitsOf(a) == bitsOf(b) && (bytes == kKBytes || bytes == kKBytes / 2);
  if (!fits)
    return d.exec(nullptr, type);
  d.instr.op[0] = type == Type::F16 ? 2 : 4;
  d.instr.op[1] = bytes == kKBytes ? 4 : 2;
  d.instr.op[2] = bytes == kKBytes ? 2 : 1;
  d.instr.op[4] = static_cast<int32_t>(type);
  d.instr.op[5] = static_cast<int32_t>(b);
  if (d.writeList(d.operand(0), Type::B32) != static_cast<uint32_t>(d.instr.op[0]))
    d.fail(fmt::format("operand 1 must be a vector of {} registers", d.instr.op[0]));
  readFragment(d, 1, d.instr.op[1]);
  readFragment(d, 2, d.instr.op[2]);
  readFragment(d, 3, d.instr.op[0]);
  d.exec(multiply, a);
}

} // namespace

void addMmaInstructions(DecodeTable &table) { table["mma"] = decodeMma; }

} // namespace quant::sim
