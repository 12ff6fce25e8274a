//===- object_reader_test.cpp - strict reading of JSON objects --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/object_reader.h"

#include <gtest/gtest.h>

using namespace quant;
using nlohmann::json;

namespace {

/// The first error of a reader of `text`, "" without one.
template <typename Read>
std::string errorOf(const char *text, Read read, const std::string &where = "file") {
  json object = json::parse(text);
  ObjectReader reader(object, where);
  read(reader);
  auto result = reader.result();
  return result ? "" : result.error().message;
}

} // namespace

TEST(ObjectReader, KeysThatMustBeThere) {
  auto integer = [](ObjectReader &reader) { EXPECT_EQ(reader.integer("n", 1, 9), reader.failed() ? 1 : 5); };
  EXPECT_EQ(errorOf(R"({"n": 5})", integer), "");
  EXPECT_EQ(errorOf("{}", integer), "file: 'n' is missing");
  EXPECT_EQ(errorOf(R"({"n": 10})", integer), "file: 'n' is 10, not an integer from 1 to 9");
  EXPECT_EQ(errorOf(R"({"n": "5"})", integer), "file: 'n' is string, not an integer from 1 to 9");
  EXPECT_EQ(errorOf(R"({"n": 18446744073709551615})", integer), "file: 'n' is 18446744073709551615, not an integer from 1 to 9");
  auto text = [](ObjectReader &reader) { (void)reader.text("s"); };
  EXPECT_EQ(errorOf(R"({"s": 1})", text), "file: 's' is not a string of at most 4096 bytes");
  auto numbers = [](ObjectReader &reader) {
    if (std::vector<int64_t> found = reader.integers("a"); !reader.failed())
      EXPECT_EQ(found, (std::vector<int64_t>{1, -2}));
  };
  EXPECT_EQ(errorOf(R"({"a": [1, -2]})", numbers), "");
  EXPECT_EQ(errorOf(R"({"a": [1, 2.5]})", numbers), "file: 'a' holds 2.5, not an integer of 64 bits");
  EXPECT_EQ(errorOf(R"({"a": 1})", numbers), "file: 'a' is not an array");
  EXPECT_EQ(errorOf("[]", numbers), "file: expected an object, found array");
}

TEST(ObjectReader, KeysThatMayBeThere) {
  auto read = [](ObjectReader &reader) {
    int64_t number = 7;
    std::optional<double> real;
    std::string text = "as it was";
    reader.read("n", number);
    reader.read("r", real);
    reader.read("s", text);
    if (!reader.find("n"))
      EXPECT_EQ(number, 7);
    EXPECT_EQ(real.has_value(), reader.find("r") != nullptr);
  };
  EXPECT_EQ(errorOf("{}", read), "");
  EXPECT_EQ(errorOf(R"({"n": null, "r": 2})", read), "");
  EXPECT_EQ(errorOf(R"({"n": 1.5})", read), "file: n: 1.5 is not an integer");
  EXPECT_EQ(errorOf(R"({"s": []})", read, "config."), "config.s: [] is not a string");
  EXPECT_EQ(errorOf(R"({"s": []})", read, ""), "s: [] is not a string");
  EXPECT_EQ(errorOf("{}", [](ObjectReader &reader) { reader.require("k"); }, ""), "k: is missing");
  auto expect = [](ObjectReader &reader) { reader.expect("act", "silu", "the experts are SwiGLU"); };
  EXPECT_EQ(errorOf(R"({"act": "gelu"})", expect, ""), R"(act: "gelu" is not supported, only "silu": the experts are SwiGLU)");
}

TEST(ObjectReader, KeepsTheFirstErrorAndKnowsWhatWasAskedFor) {
  auto finish = [](ObjectReader &reader) {
    (void)reader.any("a");
    (void)reader.find("b");
    reader.finish();
    reader.report("too late");
  };
  EXPECT_EQ(errorOf(R"({"a": 1, "b": 2, "c": 3})", finish), "file: unknown key 'c'");
  EXPECT_EQ(errorOf(R"({"a": 1})", finish), "file: too late");
  std::optional<Error> shared;
  json one = 1, object = json::object();
  ObjectReader first(one, "first", shared), second(object, "second", shared);
  EXPECT_TRUE(second.failed());
  EXPECT_EQ(second.result().error().message, "first: expected an object, found number");
}
