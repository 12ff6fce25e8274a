//===- isa_integer.cpp - integer arithmetic --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Integer Arithmetic Instructions".
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/lanes.h"

#include <limits>

namespace quant::sim {

namespace {

template <typename T>
using Wide = std::conditional_t<sizeof(T) == 2, std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>,
                                std::conditional_t<sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>,
                                                   std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>>>;
/// Wraps around as PTX does: unsigned, and no narrower than int.
template <typename T>
using Wrap = std::conditional_t<sizeof(T) < 4, uint32_t, std::make_unsigned_t<T>>;

// Functions of T and T to T.
struct Add {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(Wrap<T>(a) + Wrap<T>(b));
  }
};
struct Subtract {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(Wrap<T>(a) - Wrap<T>(b));
  }
};
struct MultiplyLow {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(Wrap<T>(a) * Wrap<T>(b));
  }
};
struct MultiplyHigh {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(Wide<T>(a) * Wide<T>(b) >> (8 * sizeof(T)));
  }
};
struct MultiplyWide {
  template <typename T>
  Wide<T> operator()(T a, T b) const {
    return Wide<T>(a) * Wide<T>(b);
  }
};
struct MultiplyAddLow {
  template <typename T>
  T operator()(T a, T b, T c) const {
    return static_cast<T>(Wrap<T>(a) * Wrap<T>(b) + Wrap<T>(c));
  }
};
struct MultiplyAddHigh {
  template <typename T>
  T operator()(T a, T b, T c) const {
    return Add()(MultiplyHigh()(a, b), c);
  }
};
struct MultiplyAddWide {
  template <typename T>
  Wide<T> operator()(T a, T b, Wide<T> c) const {
    return Add()(static_cast<Wide<T>>(Wide<T>(a) * Wide<T>(b)), c);
  }
};
/// Division by zero gives all ones, as on the hardware (PTX leaves it open).
struct Divide {
  template <typename T>
  T operator()(T a, T b) const {
    if (b == 0)
      return static_cast<T>(~T(0));
    if constexpr (std::is_signed_v<T>)
      if (a == std::numeric_limits<T>::min() && b == -1)
        return a;
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <typename T>
  T operator()(T a, T b) const {
    if (b == 0)
      return a;
    if constexpr (std::is_signed_v<T>)
      if (b == -1)
        return 0;
    return static_cast<T>(a % b);
  }
};
struct Minimum {
  template <typename T>
  T operator()(T a, T b) const {
    return std::min(a, b);
  }
};
struct Maximum {
  template <typename T>
  T operator()(T a, T b) const {
    return std::max(a, b);
  }
};
/// min.relu, max.relu: at least 0.
template <typename F>
struct Relu {
  template <typename T>
  T operator()(T a, T b) const {
    return std::max(F()(a, b), T(0));
  }
};
struct Absolute {
  template <typename T>
  T operator()(T a) const {
    return a < 0 ? Subtract()(T(0), a) : a;
  }
};
struct Negate {
  template <typename T>
  T operator()(T a) const {
    return Subtract()(T(0), a);
  }
};
struct Difference {
  template <typename T>
  T operator()(T a, T b, T c) const {
    return Add()(c, a < b ? Subtract()(b, a) : Subtract()(a, b));
  }
};

template <typename F>
Exec binaryOf(Type type) {
  return forInteger(type, [](auto value) { return binary<F, decltype(value)>; });
}

template <typename F>
void decodeBinary(Decoder &d) {
  Type type = d.takeType();
  readAll(d, type, 3);
  d.exec(binaryOf<F>(type), type);
}

template <typename F>
void decodeUnary(Decoder &d) {
  Type type = d.takeType();
  readAll(d, type, 2);
  d.exec(forInteger(type, [](auto value) { return unary<F, decltype(value)>; }), type);
}

void decodeMultiply(Decoder &d) {
  Type type = d.takeType();
  std::string_view part = d.require({"lo", "hi", "wide"});
  if (part != "wide") {
    readAll(d, type, 3);
    return d.exec(part == "lo" ? binaryOf<MultiplyLow>(type) : binaryOf<MultiplyHigh>(type), type);
  }
  d.count(3);
  d.write(0, 0, bitsOf(type) == 16 ? Type::B32 : Type::B64);
  d.read(1, 1, type);
  d.read(2, 2, type);
  d.exec(forInteger(type,
                    [](auto value) -> Exec {
                      if constexpr (sizeof(value) < 8)
                        return binary<MultiplyWide, decltype(value)>;
                      return nullptr;
                    }),
         type);
}

void decodeMultiplyAdd(Decoder &d) {
  Type type = d.takeType();
  std::string_view part = d.require({"lo", "hi", "wide"});
  if (part != "wide") {
    readAll(d, type, 4);
    return d.exec(forInteger(type,
                             [&](auto value) {
                               using T = decltype(value);
                               return part == "lo" ? ternary<MultiplyAddLow, T> : ternary<MultiplyAddHigh, T>;
                             }),
                  type);
  }
  Type wide = bitsOf(type) == 16 ? Type::B32 : Type::B64;
  d.count(4);
  d.write(0, 0, wide);
  d.read(1, 1, type);
  d.read(2, 2, type);
  d.read(3, 3, wide);
  d.exec(forInteger(type,
                    [](auto value) -> Exec {
                      using T = decltype(value);
                      if constexpr (sizeof(T) < 8)
                        return mapLanes<MultiplyAddWide, T, T, Wide<T>>;
                      return nullptr;
                    }),
         type);
}

/// d += dot(a, b) of four bytes each.
template <typename A, typename B>
Step dotProduct(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    uint32_t a = warp.row(instr.op[1])[lane], b = warp.row(instr.op[2])[lane], sum = warp.row(instr.op[3])[lane];
    for (int i = 0; i < 32; i += 8)
      sum += static_cast<uint32_t>(int32_t(static_cast<A>(a >> i)) * int32_t(static_cast<B>(b >> i)));
    warp.row(instr.op[0])[lane] = sum;
  });
  return Step::Next;
}

void decodeDotProduct(Decoder &d) {
  bool signedA = isSigned(d.takeType()), signedB = isSigned(d.takeType());
  readAll(d, Type::B32, 4);
  d.exec(signedA   ? signedB ? dotProduct<int8_t, int8_t> : dotProduct<int8_t, uint8_t>
         : signedB ? dotProduct<uint8_t, int8_t>
                   : dotProduct<uint8_t, uint8_t>);
}

} // namespace

// add, sub, mul, ... of floats share their names with those of integers.
void decodeIntegerAdd(Decoder &d) { decodeBinary<Add>(d); }
void decodeIntegerSubtract(Decoder &d) { decodeBinary<Subtract>(d); }
void decodeIntegerDivide(Decoder &d) { decodeBinary<Divide>(d); }
void decodeIntegerMinimum(Decoder &d) { d.take("relu") ? decodeBinary<Relu<Minimum>>(d) : decodeBinary<Minimum>(d); }
void decodeIntegerMaximum(Decoder &d) { d.take("relu") ? decodeBinary<Relu<Maximum>>(d) : decodeBinary<Maximum>(d); }
void decodeIntegerAbsolute(Decoder &d) { decodeUnary<Absolute>(d); }
void decodeIntegerNegate(Decoder &d) { decodeUnary<Negate>(d); }
void decodeIntegerMultiply(Decoder &d) { decodeMultiply(d); }

void addIntegerInstructions(DecodeTable &table) {
  table["rem"] = decodeBinary<Remainder>;
  table["mad"] = decodeMultiplyAdd;
  table["dp4a"] = decodeDotProduct;
  table["sad"] = [](Decoder &d) {
    Type type = d.takeType();
    readAll(d, type, 4);
    d.exec(forInteger(type, [](auto value) { return ternary<Difference, decltype(value)>; }), type);
  };
}

} // namespace quant::sim
