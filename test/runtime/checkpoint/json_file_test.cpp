//===- json_file_test.cpp - strict JSON -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/json_file.h"

#include "test_files.h"

#include <sys/stat.h>

using namespace quant::checkpoint;
using namespace quant::checkpoint::test;

namespace {

struct BadText {
  const char *what;
  std::string_view text;
  const char *error;

  friend void PrintTo(const BadText &bad, std::ostream *out) { *out << bad.what; }
};

class BadJson : public testing::TestWithParam<BadText> {};

TEST_P(BadJson, IsRefused) { EXPECT_ERROR(parseJsonStrict(GetParam().text), GetParam().error); }

using namespace std::string_view_literals;

INSTANTIATE_TEST_SUITE_P(
    Json, BadJson,
    testing::Values(
        BadText{"Empty", ""sv, "line 1, column 1: syntax error while parsing value - unexpected end of input"},
        BadText{"Truncated", "{\"a\": [1,"sv, "line 1, column 9: syntax error while parsing value - unexpected end of input"},
        BadText{"TrailingGarbage", "{} x"sv, "line 1, column 4: syntax error while parsing value - invalid literal"},
        BadText{"SecondValue", "{}\n{}"sv,
                "line 2, column 1: syntax error while parsing value - unexpected '{'; expected end of input"},
        BadText{"TrailingComma", "[1,]"sv, "line 1, column 4: syntax error while parsing value - unexpected ']'"},
        BadText{"Comment", "{} // no"sv, "line 1, column 4"},
        BadText{"SingleQuotes", "{'a': 1}"sv, "line 1, column 2: syntax error while parsing object key - invalid literal"},
        BadText{"NotANumber", "[NaN]"sv, "line 1, column 2: syntax error while parsing value - invalid literal"},
        BadText{"LeadingZero", "[01]"sv, "line 1, column 4: syntax error while parsing array - unexpected number literal"},
        BadText{"Nul", "{}\0"sv, "line 1, column 3: NUL byte, which JSON does not allow (padding must be spaces)"},
        BadText{"NulInside", "{\n\"a\0\": 1}"sv, "line 2, column 3: NUL byte"},
        BadText{"ByteOrderMark", "\xEF\xBB\xBF{}"sv, "line 1, column 1: byte order mark"},
        BadText{"ControlCharacter", "\"a\x01\""sv, "control character U+0001 (SOH) must be escaped"},
        BadText{"DuplicateKey", "{\"a\": 1,\n \"a\": 2}"sv, "line 2, column 4: key 'a' is given twice in this object"},
        BadText{"AliasedKey", "{\"a\": 1, \"\\u0061\": 2}"sv, "line 1, column 17: key 'a' is given twice"},
        BadText{"DuplicateKeyInside", "[{\"x\": {\"b\": 1, \"c\": 2, \"b\": 3}}]"sv, "key 'b' is given twice"},
        BadText{"OverlongUtf8", "\"\xC0\x80\""sv,
                "line 1, column 2: syntax error while parsing value - invalid string: ill-formed UTF-8"},
        BadText{"CutUtf8", "\"\xE2\x82\""sv, "ill-formed UTF-8"},
        BadText{"Utf16Surrogate", "\"\xED\xA0\x80\""sv, "ill-formed UTF-8"},
        BadText{"BeyondUnicode", "\"\xF4\x90\x80\x80\""sv, "ill-formed UTF-8"},
        BadText{"LoneSurrogate", "\"\\ud800\""sv, "surrogate U+D800..U+DBFF must be followed by U+DC00..U+DFFF"},
        BadText{"HugeInteger", "[18446744073709551616]"sv, "an integer beyond 64 bits (18446744073709551616)"},
        BadText{"HugeNegative", "[-9223372036854775809]"sv, "an integer beyond 64 bits (-9223372036854775809)"},
        BadText{"InfiniteFloat", "[1e999]"sv, "number overflow parsing '1e999'"}),
    [](const auto &info) { return info.param.what; });

TEST(Json, GoodTextsParse) {
  auto json =
      parseJsonStrict(" {\"a\": [1, -2, 1.5, true, null, \"\\u00e9\"], \"b\": {\"a\": {}}, \"max\": 18446744073709551615}\n");
  ASSERT_TRUE(json) << errorOf(json);
  EXPECT_EQ((*json)["a"], nlohmann::json({1, -2, 1.5, true, nullptr, "é"}));
  EXPECT_EQ((*json)["b"]["a"], nlohmann::json::object());
  EXPECT_EQ((*json)["max"].get<uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parseJsonStrict("3")->get<int>(), 3);
  EXPECT_EQ(parseJsonStrict("[[],[[]],{}]")->dump(), "[[],[[]],{}]");
}

TEST(Json, DepthIsLimited) {
  auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(parseJsonStrict(nested(64)));
  EXPECT_ERROR(parseJsonStrict(nested(65)), "line 1, column 65: nested deeper than 64 levels");
  EXPECT_ERROR(parseJsonStrict(std::string(10'000'000, '[')), "nested deeper than 64 levels");
  EXPECT_TRUE(parseJsonStrict(nested(3), {.maxDepth = 3}));
  EXPECT_ERROR(parseJsonStrict("{\"a\":{\"a\":{\"a\":{}}}}", {.maxDepth = 3}), "nested deeper than 3 levels");
}

TEST(Json, ErrorsStayPrintable) {
  std::string longKey(1'000'000, 'k');
  std::string error = errorOf(parseJsonStrict("{\"" + longKey + "\":1,\"" + longKey + "\":2}"));
  EXPECT_LT(error.size(), 400u);
  EXPECT_NE(error.find("... (1000000 bytes)' is given twice"), error.npos) << error;
  EXPECT_ERROR(parseJsonStrict("{\"\\u001b[2J\":1,\"\\u001b[2J\":2}"), "key '\\x1B[2J' is given twice");
}

TEST(JsonFile, ReadsAFile) {
  TempDir dir;
  put(dir / "a.json", "{\"x\": 1}\n");
  auto json = readJsonFile(dir / "a.json", 100);
  ASSERT_TRUE(json) << errorOf(json);
  EXPECT_EQ((*json)["x"], 1);
}

TEST(JsonFile, Refuses) {
  TempDir dir;
  std::string base = dir.path().native();
  put(dir / "bad.json", "{\n\"x\" 1}");
  EXPECT_ERROR(readJsonFile(dir / "bad.json", 100),
               base + "/bad.json: line 2, column 6: syntax error while parsing object separator");
  EXPECT_ERROR(readJsonFile(dir / "bad.json", 5), base + "/bad.json: has 8 bytes, more than the 5 allowed");
  EXPECT_ERROR(readJsonFile(dir / "none.json", 100), base + "/none.json: cannot open: No such file or directory");
  EXPECT_ERROR(readJsonFile(dir.path(), 100), base + ": is a directory, not a regular file");
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_ERROR(readJsonFile(dir / "fifo", 100), base + "/fifo: is a FIFO, not a regular file");
  EXPECT_ERROR(readJsonFile("/dev/zero", 100), "/dev/zero: is a device, not a regular file");
}

} // namespace
