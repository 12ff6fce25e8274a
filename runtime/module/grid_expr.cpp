//===- grid_expr.cpp - integer expressions over the run-time sizes --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/module/grid_expr.h"
#include "runtime/checkpoint/text.h"
#include "runtime/module/program.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>

namespace quant::runtime {

using nlohmann::json;

static constexpr int kMaxDepth = 8;
static constexpr size_t kMaxOperands = 8;

namespace {
struct Operator {
  GridExpr::Kind kind;
  std::string_view name;
  size_t minOperands, maxOperands;
};
} // namespace

static constexpr Operator kOperators[] = {{GridExpr::Kind::Product, "*", 2, kMaxOperands},
                                          {GridExpr::Kind::Sum, "+", 2, kMaxOperands},
                                          {GridExpr::Kind::Min, "min", 2, kMaxOperands},
                                          {GridExpr::Kind::CeilDiv, "ceildiv", 2, 2}};

Result<GridExpr> GridExpr::parse(const json &json) { return parse(json, 0); }

Result<GridExpr> GridExpr::parse(const json &json, int depth) {
  GridExpr expr;
  if (json.is_number_integer()) {
    const auto *asUnsigned = json.get_ptr<const json::number_unsigned_t *>();
    if (!asUnsigned || *asUnsigned > static_cast<uint64_t>(INT64_MAX))
      return fail("grid constant " + json.dump() + " is negative or does not fit 63 bits");
    expr.constant = static_cast<int64_t>(*asUnsigned);
    return expr;
  }
  if (const auto *name = json.get_ptr<const std::string *>()) {
    std::optional<abi::Dim> dim = dimFromName(*name);
    if (!dim)
      return fail("grid names unknown dim " + checkpoint::quote(*name));
    expr.kind = Kind::Dim;
    expr.dim = *dim;
    return expr;
  }
  if (!json.is_array() || json.empty() || !json[0].is_string())
    return fail("grid must be an integer, a dim or [operator, operands...]");
  if (depth == kMaxDepth)
    return fail("grid nests deeper than " + std::to_string(kMaxDepth));
  return parseOperator(json, depth);
}

Result<GridExpr> GridExpr::parseOperator(const json &json, int depth) {
  const std::string &name = *json[0].get_ptr<const std::string *>();
  const auto *op = std::ranges::find(kOperators, name, &Operator::name);
  if (op == std::end(kOperators))
    return fail("grid has unknown operator " + checkpoint::quote(name));
  size_t count = json.size() - 1;
  if (count < op->minOperands || count > op->maxOperands)
    return fail("grid operator '" + name + "' has " + std::to_string(count) + " operands, not " +
                std::to_string(op->minOperands) + " to " + std::to_string(op->maxOperands));
  GridExpr expr;
  expr.kind = op->kind;
  for (size_t i = 1; i <= count; ++i) {
    Result<GridExpr> operand = parse(json[i], depth + 1);
    if (!operand)
      return tl::unexpected(operand.error());
    expr.operands.push_back(std::move(*operand));
  }
  return expr;
}

Result<Interval> GridExpr::combine(Interval a, Interval b) const {
  Interval result;
  bool overflow = false;
  switch (kind) {
  case Kind::Product:
    overflow = __builtin_mul_overflow(a.low, b.low, &result.low) || __builtin_mul_overflow(a.high, b.high, &result.high);
    break;
  case Kind::Sum:
    overflow = __builtin_add_overflow(a.low, b.low, &result.low) || __builtin_add_overflow(a.high, b.high, &result.high);
    break;
  case Kind::Min:
    result = {std::min(a.low, b.low), std::min(a.high, b.high)};
    break;
  default:
    if (b.low == 0)
      return fail("grid divides by an expression that can be zero");
    // Not (a + b - 1) / b: the sum can overflow.
    result = {a.low / b.high + (a.low % b.high != 0), a.high / b.low + (a.high % b.low != 0)};
  }
  if (overflow)
    return fail("grid overflows 64 bits");
  return result;
}

Result<Interval> GridExpr::bounds(const DimIntervals &dims) const {
  if (kind == Kind::Constant)
    return Interval{constant, constant};
  if (kind == Kind::Dim)
    return dims[static_cast<size_t>(dim)];
  Result<Interval> result = operands[0].bounds(dims);
  for (size_t i = 1; i < operands.size() && result; ++i) {
    Result<Interval> next = operands[i].bounds(dims);
    if (!next)
      return next;
    result = combine(*result, *next);
  }
  return result;
}

Result<int64_t> GridExpr::evaluate(const Dims &dims) const {
  DimIntervals points;
  std::ranges::transform(dims, points.begin(), [](int64_t size) { return Interval{size, size}; });
  Result<Interval> result = bounds(points);
  if (!result)
    return tl::unexpected(result.error());
  return result->low;
}

void GridExpr::print(std::ostream &os) const {
  if (kind == Kind::Constant) {
    os << constant;
    return;
  }
  if (kind == Kind::Dim) {
    os << abi::kDimNames[static_cast<size_t>(dim)];
    return;
  }
  bool infix = kind == Kind::Product || kind == Kind::Sum;
  std::string_view name = std::ranges::find(kOperators, kind, &Operator::kind)->name;
  os << (infix ? "" : name) << '(';
  for (size_t i = 0; i < operands.size(); ++i) {
    if (i > 0)
      infix ? os << ' ' << name << ' ' : os << ", ";
    operands[i].print(os);
  }
  os << ')';
}

} // namespace quant::runtime
