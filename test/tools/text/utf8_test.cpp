//===- utf8_test.cpp - well-formed UTF-8 ----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/utf8.h"

#include "tools/text/byte_level.h"

#include <gtest/gtest.h>

namespace quant::text {
namespace {

/// Examples of Unicode 15.0, section 3.9, and what Python's decode("utf-8", "replace") gives.
TEST(Utf8Test, ReplacesMaximalSubparts) {
  EXPECT_EQ(utf8Replaced("a\xF1\x80\x80\xE1\x80\xC2"
                         "b\x80"
                         "c\x80\xBF"
                         "d"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(utf8Replaced("\xC0\xAF\xE0\x80\xBF"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD"); // overlong
  EXPECT_EQ(utf8Replaced("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");                     // a surrogate
  EXPECT_EQ(utf8Replaced("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");           // above U+10FFFF
  EXPECT_EQ(utf8Replaced("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(utf8Replaced("é字😀"), "é字😀");
}

TEST(Utf8Test, FindsTheFirstBadByte) {
  EXPECT_EQ(utf8Valid("0123456789é\xFF"), 12u);
  EXPECT_EQ(utf8Valid("0123456789abcdef"), 16u);
  EXPECT_EQ(utf8Valid(""), 0u);
}

TEST(Utf8Test, SaysWhereMoreBytesCouldHelp) {
  EXPECT_TRUE(utf8Step("\xF0\x9F").cut);
  EXPECT_FALSE(utf8Step("\xF0\x9F!").cut);
  EXPECT_FALSE(utf8Step("\xFF").cut);
}

TEST(ByteLevelTest, MapsEveryByteAndBack) {
  EXPECT_EQ(byteLevelCharacter(' '), "Ġ");
  EXPECT_EQ(byteLevelCharacter('\n'), "Ċ");
  EXPECT_EQ(byteLevelCharacter('a'), "a");
  for (unsigned byte = 0; byte < 256; ++byte)
    EXPECT_EQ(byteLevelBytes(byteLevelCharacter(static_cast<uint8_t>(byte))), std::string(1, static_cast<char>(byte)));
  EXPECT_FALSE(byteLevelBytes("｜"));
}

} // namespace
} // namespace quant::text
