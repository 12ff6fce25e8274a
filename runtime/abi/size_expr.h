//===- size_expr.h - sizes that depend on the run-time sizes ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The one language for sizes in module files: grids of programs, and grids, shapes and parameters of launch recipes. The compiler
// writes it with toJson, the runtime reads it with fromJson; docs/module-format.md describes the JSON.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_ABI_SIZE_EXPR_H
#define QUANT_RUNTIME_ABI_SIZE_EXPR_H

#include "runtime/abi/kernel_abi.h"
#include "runtime/support/result.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace quant::abi {

/// "tokens", ..., "M", "sms".
std::string_view nameOf(Dim dim);
std::optional<Dim> dimFromName(std::string_view name);

/// A T for each run-time size that is known.
template <typename T>
class PerDim {
public:
  PerDim() = default;
  PerDim(std::initializer_list<std::pair<Dim, T>> known) {
    for (const auto &[dim, value] : known)
      (*this)[dim] = value;
  }
  /// The sizes of a call, in the order of Dim.
  explicit PerDim(const std::array<T, kNumDims> &call) {
    for (size_t i = 0; i < call.size(); ++i)
      values[i] = call[i];
  }

  std::optional<T> &operator[](Dim dim) { return values[static_cast<size_t>(dim)]; }
  const std::optional<T> &operator[](Dim dim) const { return values[static_cast<size_t>(dim)]; }

private:
  std::array<std::optional<T>, kNumSizes> values;
};

/// All values from `low` to `high`, both included; never negative.
struct Interval {
  int64_t low = 0;
  int64_t high = 0;
};

/// What the run-time sizes are, and what they can be.
using Sizes = PerDim<int64_t>;
using SizeIntervals = PerDim<Interval>;

/// A size: a constant, a run-time size, or `*`, `+`, `min`, `ceildiv` of such. No part is ever negative.
class SizeExpr {
public:
  enum class Kind : uint8_t { Constant, Dim, Product, Sum, Min, CeilDiv };

  SizeExpr(int64_t constant = 0) : constant(constant) {}
  SizeExpr(Dim dim) : kind(Kind::Dim), dim(dim) {}
  friend SizeExpr operator*(SizeExpr a, SizeExpr b) { return SizeExpr(Kind::Product, {std::move(a), std::move(b)}); }
  friend SizeExpr operator+(SizeExpr a, SizeExpr b) { return SizeExpr(Kind::Sum, {std::move(a), std::move(b)}); }
  static SizeExpr ceilDiv(SizeExpr a, SizeExpr b) { return SizeExpr(Kind::CeilDiv, {std::move(a), std::move(b)}); }
  static SizeExpr min(SizeExpr a, SizeExpr b) { return SizeExpr(Kind::Min, {std::move(a), std::move(b)}); }

  /// From an integer, a size's name, or `[operator, a, b, ...]`. Errors: an unknown name or operator, a wrong number of operands
  /// (at most 8), a negative constant, more than 8 levels.
  static Result<SizeExpr> fromJson(const nlohmann::json &json);
  nlohmann::ordered_json toJson() const;
  /// As in C: "ceildiv(tokens, 32) * 56".
  std::string text() const;

  /// Every value it can have while the sizes stay inside `sizes`. Errors: a size that is not there, overflow of 64 bits, a
  /// divisor that can be zero.
  Result<Interval> bounds(const SizeIntervals &sizes) const;
  /// Errors as those of bounds().
  Result<int64_t> evaluate(const Sizes &sizes) const;

private:
  SizeExpr(Kind kind, std::vector<SizeExpr> operands) : kind(kind), operands(std::move(operands)) {}
  static Result<SizeExpr> fromJson(const nlohmann::json &json, int depth);
  static Result<SizeExpr> operatorFromJson(const nlohmann::json &json, int depth);
  Result<Interval> combine(Interval a, Interval b) const;

  Kind kind = Kind::Constant;
  Dim dim = Dim::Tokens;
  int64_t constant = 0;
  std::vector<SizeExpr> operands;
};

/// Each of them. Errors as those of SizeExpr::evaluate.
Result<std::vector<int64_t>> evaluate(const std::vector<SizeExpr> &exprs, const Sizes &sizes);

} // namespace quant::abi

#endif // QUANT_RUNTIME_ABI_SIZE_EXPR_H
