//===- result_test.cpp - errors that travel outwards ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/result.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

using namespace quant;

namespace {

Result<void> check(int number) { return number >= 0 ? Result<void>() : fail(fmt::format("{} is negative", number)); }

Result<int> half(int number) {
  QUANT_TRY(check(number));
  if (number % 2 != 0)
    return fail(fmt::format("{} is odd", number));
  return number / 2;
}

/// A function of another type than what it tries, with two trials in a block, and one that goes to what is there already.
Result<std::string> quarter(int number) {
  int second = -1;
  for (int round = 0; round < 1; ++round) {
    QUANT_TRY_ASSIGN(const int first, half(number));
    QUANT_TRY_ASSIGN(second, half(first));
  }
  return std::to_string(second);
}

Result<std::unique_ptr<int>> owned(int number) {
  QUANT_TRY_ASSIGN(int value, half(number));
  return std::make_unique<int>(value);
}

} // namespace

TEST(Result, ErrorsSayWhereTheyHappened) {
  EXPECT_EQ(Error{"it is odd"}.in("number 3").in("file").message, "file: number 3: it is odd");
}

TEST(Try, ReturnsTheFirstError) {
  EXPECT_EQ(half(8), 4);
  EXPECT_EQ(half(-8).error().message, "-8 is negative");
  EXPECT_EQ(quarter(8), "2");
  EXPECT_EQ(quarter(-1).error().message, "-1 is negative");
  EXPECT_EQ(quarter(3).error().message, "3 is odd");
  EXPECT_EQ(quarter(6).error().message, "3 is odd");
}

TEST(Try, MovesTheValue) {
  auto sum = [](int number) -> Result<int> {
    QUANT_TRY_ASSIGN(auto pointer, owned(number));
    QUANT_TRY_ASSIGN(*pointer, half(*pointer));
    return *pointer;
  };
  EXPECT_EQ(sum(12), 3);
  EXPECT_EQ(sum(2).error().message, "1 is odd");
}

TEST(Try, StandsUnderAnIfAndTakesCommas) {
  auto checked = [](bool wanted, int number) -> Result<void> {
    if (wanted)
      QUANT_TRY(check(number));
    else
      QUANT_TRY(check(std::map<int, int>{{0, 1}, {1, 2}}.at(number)));
    return {};
  };
  EXPECT_EQ(checked(true, -4).error().message, "-4 is negative");
  EXPECT_TRUE(checked(false, 1));
}

TEST(Try, EvaluatesOnce) {
  int calls = 0;
  auto counted = [&]() -> Result<int> { return ++calls; };
  auto once = [&]() -> Result<int> {
    QUANT_TRY(counted());
    QUANT_TRY_ASSIGN(int second, counted());
    return second;
  };
  EXPECT_EQ(once(), 2);
  EXPECT_EQ(calls, 2);
}
