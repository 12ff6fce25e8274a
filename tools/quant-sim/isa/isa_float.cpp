//===- isa_float.cpp - floating-point arithmetic ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// PTX ISA, "Floating Point Instructions" and "Half Precision Floating Point Instructions". The .approx functions are computed
// exactly: more precise than the hardware's.
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/isa/float_formats.h"
#include "tools/quant-sim/isa/lanes.h"

#include <cmath>

namespace quant::sim {

// isa_integer.cpp: instructions that integers and floats share by name.
void decodeIntegerAdd(Decoder &d);
void decodeIntegerSubtract(Decoder &d);
void decodeIntegerMultiply(Decoder &d);
void decodeIntegerDivide(Decoder &d);
void decodeIntegerMinimum(Decoder &d);
void decodeIntegerMaximum(Decoder &d);
void decodeIntegerAbsolute(Decoder &d);
void decodeIntegerNegate(Decoder &d);

namespace {

/// Instr::imm of a float operation.
enum Flag { kFtz = 1, kSat = 2, kRelu = 3 };

template <typename T>
T flush(T value, bool ftz) {
  return ftz && std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(T(0), value) : value;
}

/// F on N operands of T.
template <typename F, size_t N, typename T>
T compute(T *x, const Instr &instr) {
  bool ftz = instr.imm[kFtz];
  for (size_t i = 0; i < N; ++i)
    x[i] = flush(x[i], ftz);
  T result = flush(F()(x), ftz);
  if (instr.imm[kSat])
    result = result > 0 ? std::min(result, T(1)) : T(0);
  return instr.imm[kRelu] && result < 0 ? T(0) : result;
}

template <typename F, size_t N>
uint64_t computeNarrow(const uint64_t *bits, const Instr &instr, int halves) {
  const FloatFormat &format = formatOf(instr.type);
  uint64_t result = 0;
  for (int half = 0; half < halves; ++half) {
    double x[N];
    for (size_t i = 0; i < N; ++i)
      x[i] = decodeFloat(bits[i] >> (16 * half) & 0xffff, format);
    result |= uint64_t(encode(compute<F, N>(x, instr), format, Rounding::NearestEven, false)) << (16 * half);
  }
  return result;
}

template <typename F, size_t N>
Step floatOp(Warp &warp, const Instr &instr, uint32_t mask) {
  forLanes(mask, [&](int lane) {
    uint64_t bits[N], &to = warp.row(instr.op[0])[lane];
    for (size_t i = 0; i < N; ++i)
      bits[i] = warp.row(instr.op[i + 1])[lane];
    if (instr.type == Type::F32) {
      float x[N];
      for (size_t i = 0; i < N; ++i)
        x[i] = fromBits<float>(bits[i]);
      to = toBits(compute<F, N>(x, instr));
    } else if (instr.type == Type::F64) {
      double x[N];
      for (size_t i = 0; i < N; ++i)
        x[i] = fromBits<double>(bits[i]);
      to = toBits(compute<F, N>(x, instr));
    } else {
      to = computeNarrow<F, N>(bits, instr, instr.type == Type::F16x2 || instr.type == Type::BF16x2 ? 2 : 1);
    }
  });
  return Step::Next;
}

#define QUANT_SIM_FLOAT_OP(name, expression)                                                                                     \
  struct name {                                                                                                                  \
    template <typename T>                                                                                                        \
    T operator()(const T *x) const {                                                                                             \
      return expression;                                                                                                         \
    }                                                                                                                            \
  };
QUANT_SIM_FLOAT_OP(Add, x[0] + x[1])
QUANT_SIM_FLOAT_OP(Subtract, x[0] - x[1])
QUANT_SIM_FLOAT_OP(Multiply, x[0] * x[1])
QUANT_SIM_FLOAT_OP(Divide, x[0] / x[1])
QUANT_SIM_FLOAT_OP(MultiplyAdd, std::fma(x[0], x[1], x[2]))
QUANT_SIM_FLOAT_OP(Absolute, std::abs(x[0]))
QUANT_SIM_FLOAT_OP(Negate, -x[0])
QUANT_SIM_FLOAT_OP(Reciprocal, T(1) / x[0])
QUANT_SIM_FLOAT_OP(SquareRoot, std::sqrt(x[0]))
QUANT_SIM_FLOAT_OP(ReciprocalSquareRoot, T(1) / std::sqrt(x[0]))
QUANT_SIM_FLOAT_OP(Exponential, std::exp2(x[0]))
QUANT_SIM_FLOAT_OP(Logarithm, std::log2(x[0]))
QUANT_SIM_FLOAT_OP(Sine, std::sin(x[0]))
QUANT_SIM_FLOAT_OP(Cosine, std::cos(x[0]))
QUANT_SIM_FLOAT_OP(Tangent, std::tanh(x[0]))
#undef QUANT_SIM_FLOAT_OP

/// A NaN beside a number is ignored, or wins (.NaN); -0 is less than +0.
template <bool Max, bool KeepNan>
struct Extreme {
  template <typename T>
  T operator()(const T *x) const {
    if (std::isnan(x[0]) || std::isnan(x[1]))
      return KeepNan || std::isnan(x[0]) == std::isnan(x[1]) ? std::numeric_limits<T>::quiet_NaN()
             : std::isnan(x[0])                              ? x[1]
                                                             : x[0];
    bool firstIsLess = x[0] < x[1] || (x[0] == x[1] && std::signbit(x[0]));
    return firstIsLess != Max ? x[0] : x[1];
  }
};

void decodeFloat(Decoder &d, Type type, Exec exec, size_t operands) {
  d.takeOne({"approx", "full"});
  d.take("rn");
  d.instr.imm[kFtz] = d.take("ftz");
  d.instr.imm[kSat] = d.take("sat");
  d.instr.imm[kRelu] = d.take("relu");
  readAll(d, type, operands + 1);
  d.exec(isFloat(type) && bitsOf(type) >= 16 && type != Type::TF32 && type < Type::E4M3 ? exec : nullptr, type);
}

template <typename F, size_t N>
void decodeOnlyFloat(Decoder &d) {
  decodeFloat(d, d.takeType(), floatOp<F, N>, N);
}

/// True if the next type modifier is a float type, which stays where it is.
bool isOfFloats(Decoder &d) {
  Decoder probe = d;
  return isFloat(probe.takeType());
}

template <typename F, size_t N, DecodeFunction Integer>
void decodeEither(Decoder &d) {
  isOfFloats(d) ? decodeOnlyFloat<F, N>(d) : Integer(d);
}

template <bool Max>
void decodeExtreme(Decoder &d) {
  if (!isOfFloats(d))
    return Max ? decodeIntegerMaximum(d) : decodeIntegerMinimum(d);
  bool keepNan = d.take("NaN");
  decodeFloat(d, d.takeType(), keepNan ? floatOp<Extreme<Max, true>, 2> : floatOp<Extreme<Max, false>, 2>, 2);
}

/// copysign.f32 d, a, b: the sign of a, the size of b.
struct CopySign {
  template <typename T>
  T operator()(const T *x) const {
    return std::copysign(x[1], x[0]);
  }
};

template <int Kind>
Step testProperty(Warp &warp, const Instr &instr, uint32_t mask) {
  uint32_t &to = warp.predicate(instr.op[0]);
  forLanes(mask, [&](int lane) {
    uint64_t bits = warp.row(instr.op[1])[lane];
    double value = instr.type == Type::F64 ? fromBits<double>(bits) : fromBits<float>(bits);
    bool isSubnormal =
        instr.type == Type::F64 ? std::fpclassify(value) == FP_SUBNORMAL : std::fpclassify(fromBits<float>(bits)) == FP_SUBNORMAL;
    bool answers[] = {std::isfinite(value),
                      std::isinf(value),
                      !std::isnan(value),
                      std::isnan(value),
                      std::isfinite(value) && value != 0 && !isSubnormal,
                      isSubnormal};
    to = (to & ~(1u << lane)) | uint32_t(answers[Kind]) << lane;
  });
  return Step::Next;
}

void decodeTest(Decoder &d) {
  std::string_view kind = d.require({"finite", "infinite", "number", "notanumber", "normal", "subnormal"});
  Type type = d.takeType();
  d.count(2);
  d.writePredicate(0, 0);
  d.read(1, 1, type);
  d.exec(kind == "finite"       ? testProperty<0>
         : kind == "infinite"   ? testProperty<1>
         : kind == "number"     ? testProperty<2>
         : kind == "notanumber" ? testProperty<3>
         : kind == "normal"     ? testProperty<4>
                                : testProperty<5>,
         type);
}

} // namespace

void addFloatInstructions(DecodeTable &table) {
  table["add"] = decodeEither<Add, 2, decodeIntegerAdd>;
  table["sub"] = decodeEither<Subtract, 2, decodeIntegerSubtract>;
  table["mul"] = decodeEither<Multiply, 2, decodeIntegerMultiply>;
  table["div"] = decodeEither<Divide, 2, decodeIntegerDivide>;
  table["abs"] = decodeEither<Absolute, 1, decodeIntegerAbsolute>;
  table["neg"] = decodeEither<Negate, 1, decodeIntegerNegate>;
  table["min"] = decodeExtreme<false>;
  table["max"] = decodeExtreme<true>;
  table["fma"] = decodeOnlyFloat<MultiplyAdd, 3>;
  table["rcp"] = decodeOnlyFloat<Reciprocal, 1>;
  table["sqrt"] = decodeOnlyFloat<SquareRoot, 1>;
  table["rsqrt"] = decodeOnlyFloat<ReciprocalSquareRoot, 1>;
  table["ex2"] = decodeOnlyFloat<Exponential, 1>;
  table["lg2"] = decodeOnlyFloat<Logarithm, 1>;
  table["sin"] = decodeOnlyFloat<Sine, 1>;
  table["cos"] = decodeOnlyFloat<Cosine, 1>;
  table["tanh"] = decodeOnlyFloat<Tangent, 1>;
  table["copysign"] = decodeOnlyFloat<CopySign, 2>;
  table["testp"] = decodeTest;
}

} // namespace quant::sim
