//===- grid_expr.h - integer expressions over the run-time sizes *- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_MODULE_GRID_EXPR_H
#define QUANT_RUNTIME_MODULE_GRID_EXPR_H

#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/result.h"

#include <nlohmann/json_fwd.hpp>

#include <array>
#include <cstdint>
#include <iosfwd>
#include <vector>

namespace quant::runtime {

/// The run-time sizes of one call, indexed by `abi::Dim`.
using Dims = std::array<int64_t, abi::kNumDims>;

/// All values from `low` to `high`, both included; never negative.
struct Interval {
  int64_t low = 0;
  int64_t high = 0;
};

/// What each run-time size can be, indexed by `abi::Dim`.
using DimIntervals = std::array<Interval, abi::kNumDims>;

/// How many blocks a dispatch has: a constant, a dim, or `*`, `+`, `min`, `ceildiv` of such. Parts are never negative.
class GridExpr {
public:
  enum class Kind : uint8_t { Constant, Dim, Product, Sum, Min, CeilDiv };

  /// From JSON: an integer, a dim's name, or `[operator, a, b, ...]`. Errors: unknown dim or operator, wrong number of operands,
  /// negative constant, nesting deeper than 8.
  static Result<GridExpr> parse(const nlohmann::json &json);

  /// Every value the expression can take while the dims stay inside `dims`. Errors: overflow of 64 bits, a divisor that can be
  /// zero.
  Result<Interval> bounds(const DimIntervals &dims) const;

  /// The value at `dims`. Errors as in bounds().
  Result<int64_t> evaluate(const Dims &dims) const;

  /// As in C, e.g. `ceildiv(tokens, 32) * 56`.
  void print(std::ostream &os) const;

private:
  static Result<GridExpr> parse(const nlohmann::json &json, int depth);
  static Result<GridExpr> parseOperator(const nlohmann::json &json, int depth);
  Result<Interval> combine(Interval a, Interval b) const;

  Kind kind = Kind::Constant;
  int64_t constant = 0;
  abi::Dim dim = abi::Dim::Tokens;
  std::vector<GridExpr> operands;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_MODULE_GRID_EXPR_H
