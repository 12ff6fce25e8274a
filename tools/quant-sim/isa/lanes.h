//===- lanes.h - operations on 32 lanes ------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_ISA_LANES_H
#define QUANT_TOOLS_QUANT_SIM_ISA_LANES_H

#include "tools/quant-sim/isa/decoder.h"
#include "tools/quant-sim/machine/machine.h"

#include <bit>
#include <type_traits>

namespace quant::sim {

template <size_t Bytes>
using UnsignedOf =
    std::conditional_t<Bytes == 1, uint8_t,
                       std::conditional_t<Bytes == 2, uint16_t, std::conditional_t<Bytes == 4, uint32_t, uint64_t>>>;

/// A register's bits as a T, and back. Registers hold their bits with zeros above.
template <typename T>
inline T fromBits(uint64_t bits) {
  return std::bit_cast<T>(static_cast<UnsignedOf<sizeof(T)>>(bits));
}
template <typename T>
inline uint64_t toBits(T value) {
  return std::bit_cast<UnsignedOf<sizeof(T)>>(value);
}

/// op[0] = F(op[1], op[2], ...), lane by lane; Ts are the operands' types.
template <typename F, typename... Ts>
Step mapLanes(Warp &warp, const Instr &instr, uint32_t mask) {
  uint64_t *to = warp.row(instr.op[0]);
  auto apply = [&]<size_t... I>(std::index_sequence<I...>) {
    const uint64_t *from[] = {warp.row(instr.op[I + 1])...};
    if (mask == ~0u)
      for (int lane = 0; lane < kWarpLanes; ++lane)
        to[lane] = toBits(F()(fromBits<Ts>(from[I][lane])...));
    else
      forLanes(mask, [&](int lane) { to[lane] = toBits(F()(fromBits<Ts>(from[I][lane])...)); });
  };
  apply(std::index_sequence_for<Ts...>());
  return Step::Next;
}

template <typename F, typename T>
constexpr Exec unary = mapLanes<F, T>;
template <typename F, typename T>
constexpr Exec binary = mapLanes<F, T, T>;
template <typename F, typename T>
constexpr Exec ternary = mapLanes<F, T, T, T>;

/// Calls `pick` with a value of the C++ type of an integer or bit type, for its address; null for other types.
template <typename P>
Exec forInteger(Type type, P pick) {
  switch (type) {
  case Type::U16:
  case Type::B16:
    return pick(uint16_t());
  case Type::S16:
    return pick(int16_t());
  case Type::U32:
  case Type::B32:
    return pick(uint32_t());
  case Type::S32:
    return pick(int32_t());
  case Type::U64:
  case Type::B64:
    return pick(uint64_t());
  case Type::S64:
    return pick(int64_t());
  default:
    return nullptr;
  }
}

/// Operands 0 .. n-1 of one type into op[0 .. n-1], the first of them written.
inline void readAll(Decoder &d, Type type, size_t n) {
  d.count(n);
  d.write(0, 0, type);
  for (size_t i = 1; i < n; ++i)
    d.read(i, i, type);
}

} // namespace quant::sim

#endif // QUANT_TOOLS_QUANT_SIM_ISA_LANES_H
