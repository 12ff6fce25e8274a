//===- size_expr_test.cpp - sizes that depend on the run-time sizes ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/size_expr.h"

#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

namespace quant::abi {
namespace {

using nlohmann::json;

/// The value, or what is wrong.
std::string evaluated(const char *text, const Sizes &sizes) {
  Result<SizeExpr> expr = SizeExpr::fromJson(json::parse(text));
  if (!expr)
    return expr.error().message;
  Result<int64_t> value = expr->evaluate(sizes);
  return value ? std::to_string(*value) : value.error().message;
}

TEST(SizeExpr, IsEvaluated) {
  Sizes call(std::array<int64_t, kNumDims>{65, 2, 3, 128});
  EXPECT_EQ(evaluated("7", {}), "7");
  EXPECT_EQ(evaluated("\"sequences\"", call), "2");
  EXPECT_EQ(evaluated(R"(["*", "tokens", ["+", "outputs", 1], 2])", call), "520");
  EXPECT_EQ(evaluated(R"(["min", "tokens", 32, "context"])", call), "32");
  EXPECT_EQ(evaluated(R"(["ceildiv", "tokens", 32])", call), "3");
  EXPECT_EQ(evaluated(R"(["ceildiv", 64, 32])", {}), "2");
  EXPECT_EQ(evaluated(R"(["ceildiv", 0, 32])", {}), "0");
  EXPECT_EQ(evaluated(R"(["ceildiv", 9223372036854775807, 2])", {}), "4611686018427387904");
  EXPECT_EQ(evaluated(R"(["*", 4, ["ceildiv", "M", 4]])", {{Dim::M, 5}}), "8");
  EXPECT_EQ(evaluated(R"(["+", ["min", "M", "sms"], 1])", {{Dim::M, 5}, {Dim::Sms, 3}}), "4");
}

TEST(SizeExpr, HasNoValue) {
  EXPECT_EQ(evaluated("\"sms\"", {{Dim::M, 5}}), "the size 'sms' is not known here");
  EXPECT_EQ(evaluated(R"(["ceildiv", 1, "M"])", {{Dim::M, 0}}), "ceildiv(1, M) divides by an expression that can be zero");
  EXPECT_EQ(evaluated(R"(["*", "M", 4611686018427387904])", {{Dim::M, 2}}), "(M * 4611686018427387904) overflows 64 bits");
  EXPECT_EQ(evaluated(R"(["+", 9223372036854775807, 1])", {}), "(9223372036854775807 + 1) overflows 64 bits");
}

TEST(SizeExpr, IsMalformed) {
  EXPECT_EQ(evaluated("-1", {}), "constant -1 is negative or does not fit 63 bits");
  EXPECT_EQ(evaluated("9223372036854775808", {}), "constant 9223372036854775808 is negative or does not fit 63 bits");
  EXPECT_EQ(evaluated("1.5", {}), "found 1.5, not an integer, a dim or [operator, operands...]");
  EXPECT_EQ(evaluated("{}", {}), "found object, not an integer, a dim or [operator, operands...]");
  EXPECT_EQ(evaluated("\"N\"", {}), "unknown dim \"N\"");
  EXPECT_EQ(evaluated(R"(["-", 1, 1])", {}), "unknown operator \"-\"");
  EXPECT_EQ(evaluated(R"(["ceildiv", 1, 1, 1])", {}), "operator 'ceildiv' has 3 operands, not 2 to 2");
  EXPECT_EQ(evaluated(R"(["+", 1])", {}), "operator '+' has 1 operands, not 2 to 8");
  std::string nested = "1";
  for (int level = 0; level < 8; ++level)
    nested = "[\"+\", 1, " + nested + "]";
  EXPECT_EQ(evaluated(nested.c_str(), {}), "9");
  EXPECT_EQ(evaluated(("[\"+\", 1, " + nested + "]").c_str(), {}), "nests deeper than 8");
}

TEST(SizeExpr, HasBounds) {
  SizeExpr expr = SizeExpr::ceilDiv(SizeExpr(Dim::Sequences) + Dim::Tokens, Dim::Tokens);
  Result<Interval> bounds = expr.bounds({{Dim::Tokens, {1, 256}}, {Dim::Sequences, {0, 99}}});
  ASSERT_TRUE(bounds);
  EXPECT_EQ(bounds->low, 1);
  EXPECT_EQ(bounds->high, 355);
}

TEST(SizeExpr, IsPrinted) {
  SizeExpr padded = SizeExpr(4) * SizeExpr::ceilDiv(Dim::M, 4) + SizeExpr::min(7, Dim::Sms);
  EXPECT_EQ(padded.text(), "((4 * ceildiv(M, 4)) + min(7, sms))");
  EXPECT_EQ(padded.toJson().dump(), R"(["+",["*",4,["ceildiv","M",4]],["min",7,"sms"]])");
  EXPECT_EQ(SizeExpr::fromJson(json::parse(padded.toJson().dump()))->text(), padded.text());
}

} // namespace
} // namespace quant::abi
