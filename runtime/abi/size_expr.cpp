//===- size_expr.cpp - sizes that depend on the run-time sizes ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/size_expr.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <span>

namespace quant::abi {

using nlohmann::json;

static constexpr int kMaxDepth = 8;
static constexpr size_t kMaxOperands = 8;
static constexpr std::array<std::string_view, kNumSizes> kSizeNames = {"tokens", "sequences", "outputs", "context", "M", "sms"};

static_assert(std::ranges::equal(kDimNames, std::span(kSizeNames).first<kNumDims>()));

std::string_view nameOf(Dim dim) { return kSizeNames[static_cast<size_t>(dim)]; }

std::optional<Dim> dimFromName(std::string_view name) {
  const auto *it = std::ranges::find(kSizeNames, name);
  return it == kSizeNames.end() ? std::nullopt : std::optional(static_cast<Dim>(it - kSizeNames.begin()));
}

namespace {
struct Operator {
  SizeExpr::Kind kind;
  std::string_view name;
  size_t maxOperands; ///< at least 2
};
} // namespace

static constexpr Operator kOperators[] = {{SizeExpr::Kind::Product, "*", kMaxOperands},
                                          {SizeExpr::Kind::Sum, "+", kMaxOperands},
                                          {SizeExpr::Kind::Min, "min", kMaxOperands},
                                          {SizeExpr::Kind::CeilDiv, "ceildiv", 2}};

static std::string_view operatorName(SizeExpr::Kind kind) { return std::ranges::find(kOperators, kind, &Operator::kind)->name; }

//===----------------------------------------------------------------------===//
// JSON and text
//===----------------------------------------------------------------------===//

Result<SizeExpr> SizeExpr::fromJson(const json &json) { return fromJson(json, 0); }

/// What is left of a malformed value's JSON for a message.
static std::string shown(const json &json) {
  constexpr size_t kMaxShown = 80;
  if (json.is_structured())
    return json.type_name();
  std::string text = json.dump(-1, ' ', true, json::error_handler_t::replace);
  return text.size() <= kMaxShown ? text : text.substr(0, kMaxShown) + "...";
}

Result<SizeExpr> SizeExpr::fromJson(const json &json, int depth) {
  if (json.is_number_integer()) {
    if (json.is_number_unsigned() ? json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX) : json.get<int64_t>() < 0)
      return fail("constant " + json.dump() + " is negative or does not fit 63 bits");
    return SizeExpr(json.get<int64_t>());
  }
  if (const auto *name = json.get_ptr<const std::string *>()) {
    std::optional<Dim> dim = dimFromName(*name);
    return dim ? Result<SizeExpr>(*dim) : fail("unknown dim " + shown(json));
  }
  if (!json.is_array() || json.empty() || !json[0].is_string())
    return fail("found " + shown(json) + ", not an integer, a dim or [operator, operands...]");
  if (depth == kMaxDepth)
    return fail(fmt::format("nests deeper than {}", kMaxDepth));
  return operatorFromJson(json, depth);
}

Result<SizeExpr> SizeExpr::operatorFromJson(const json &json, int depth) {
  const auto *op = std::ranges::find(kOperators, *json[0].get_ptr<const std::string *>(), &Operator::name);
  if (op == std::end(kOperators))
    return fail("unknown operator " + shown(json[0]));
  size_t count = json.size() - 1;
  if (count < 2 || count > op->maxOperands)
    return fail(fmt::format("operator '{}' has {} operands, not 2 to {}", op->name, count, op->maxOperands));
  SizeExpr expr(op->kind, {});
  for (size_t i = 1; i <= count; ++i) {
    QUANT_TRY_ASSIGN(SizeExpr operand, fromJson(json[i], depth + 1));
    expr.operands.push_back(std::move(operand));
  }
  return expr;
}

nlohmann::ordered_json SizeExpr::toJson() const {
  if (kind == Kind::Constant)
    return constant;
  if (kind == Kind::Dim)
    return nameOf(dim);
  auto json = nlohmann::ordered_json::array({operatorName(kind)});
  for (const SizeExpr &operand : operands)
    json.push_back(operand.toJson());
  return json;
}

std::string SizeExpr::text() const {
  if (kind == Kind::Constant)
    return std::to_string(constant);
  if (kind == Kind::Dim)
    return std::string(nameOf(dim));
  bool infix = kind == Kind::Product || kind == Kind::Sum;
  std::string name(operatorName(kind)), text = infix ? "(" : name + "(";
  for (size_t i = 0; i < operands.size(); ++i)
    text += (i == 0 ? "" : infix ? " " + name + " " : ", ") + operands[i].text();
  return text + ")";
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Result<Interval> SizeExpr::combine(Interval a, Interval b) const {
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
      return fail(text() + " divides by an expression that can be zero");
    // Not (a + b - 1) / b: the sum can overflow.
    result = {a.low / b.high + (a.low % b.high != 0), a.high / b.low + (a.high % b.low != 0)};
  }
  if (overflow)
    return fail(text() + " overflows 64 bits");
  return result;
}

Result<Interval> SizeExpr::bounds(const SizeIntervals &sizes) const {
  if (kind == Kind::Constant)
    return Interval{constant, constant};
  if (kind == Kind::Dim)
    return sizes[dim] ? Result<Interval>(*sizes[dim]) : fail("the size '" + std::string(nameOf(dim)) + "' is not known here");
  Result<Interval> result = operands[0].bounds(sizes);
  for (size_t i = 1; i < operands.size() && result; ++i) {
    QUANT_TRY_ASSIGN(Interval next, operands[i].bounds(sizes));
    result = combine(*result, next);
  }
  return result;
}

Result<int64_t> SizeExpr::evaluate(const Sizes &sizes) const {
  SizeIntervals points;
  for (int i = 0; i < kNumSizes; ++i)
    if (auto dim = static_cast<Dim>(i); sizes[dim])
      points[dim] = {*sizes[dim], *sizes[dim]};
  return bounds(points).map([](Interval point) { return point.low; });
}

Result<std::vector<int64_t>> evaluate(const std::vector<SizeExpr> &exprs, const Sizes &sizes) {
  std::vector<int64_t> values;
  for (const SizeExpr &expr : exprs) {
    QUANT_TRY_ASSIGN(int64_t value, expr.evaluate(sizes));
    values.push_back(value);
  }
  return values;
}

} // namespace quant::abi
