//===- text_test.cpp - names and numbers in error messages ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <vector>

using namespace quant;

TEST(Text, PrintableIsUtf8WithoutControls) {
  EXPECT_EQ(printable("a\x7F\x1B\n"), "a\\x7F\\x1B\\x0A");
  EXPECT_EQ(printable("\u00e9\u07ff\u0800\ud7ff\ue000\U00010000\U0010ffff"),
            "\u00e9\u07ff\u0800\ud7ff\ue000\U00010000\U0010ffff");
  EXPECT_EQ(printable("\xC2\x9B[2J"), "\\xC2\\x9B[2J"); // U+009B is CSI
  for (const char *bad : {"\x80", "\xFF", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
                          "\xC3", "\xE2\x82", "\xF5\x80\x80\x80"}) {
    std::string expected;
    for (const char *c = bad; *c; ++c) {
      char text[8];
      std::snprintf(text, sizeof text, "\\x%02X", static_cast<unsigned char>(*c));
      expected += text;
    }
    EXPECT_EQ(printable(bad), expected);
  }
  EXPECT_EQ(printable(std::string(199, 'a') + "\u00e9"), std::string(199, 'a') + "... (201 bytes)");
}

TEST(Text, Shapes) {
  std::vector<int64_t> none, one = {7}, two = {576, 7168};
  EXPECT_EQ(shapeText(none), "scalar");
  EXPECT_EQ(shapeText(one), "7");
  EXPECT_EQ(shapeText(two), "576x7168");
  EXPECT_EQ(shapeList(none), "[]");
  EXPECT_EQ(shapeList(two), "[576, 7168]");
}

TEST(Text, QuotesAndCounts) {
  EXPECT_EQ(quote("a\tb"), "'a\\x09b'");
  EXPECT_EQ(lineAndColumn("ab\ncd", 4), "line 2, column 2");
  EXPECT_EQ(lineAndColumn("", 0), "line 1, column 1");
}
