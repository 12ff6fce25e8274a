//===- header_test.cpp - what a safetensors header may and may not say ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/header.h"

#include "test_files.h"

#include <chrono>

using quant::DType;
using namespace quant::checkpoint;
using namespace quant::checkpoint::test;

namespace {

quant::Result<Header> parse(const std::string &file) { return parseHeader(bytesOf(file), file.size()); }

struct BadFile {
  const char *what;
  std::string file;
  const char *error;

  friend void PrintTo(const BadFile &bad, std::ostream *out) { *out << bad.what; }
};

class BadHeader : public testing::TestWithParam<BadFile> {};

TEST_P(BadHeader, IsRefused) { EXPECT_ERROR(parse(GetParam().file), GetParam().error); }

/// A file with tensor 'a', U8 unless the fields say otherwise, and 4 bytes of data.
std::string tensor(const std::string &fields) { return safetensors("{\"a\":{" + fields + "}}", "data"); }
std::string shaped(const std::string &shape) { return tensor("\"dtype\":\"U8\",\"shape\":" + shape + ",\"data_offsets\":[0,4]"); }
std::string offsets(const std::string &offsets) { return tensor("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + offsets); }
std::string typed(const std::string &dtype, const std::string &shape) {
  return tensor("\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":[0,4]");
}
std::string metadata(const std::string &value) { return safetensors("{\"__metadata__\":" + value + "}"); }
std::string length(uint64_t value) {
  std::string file = safetensors("{}");
  for (int i = 0; i < 8; ++i)
    file[i] = static_cast<char>(value >> (8 * i));
  return file;
}
/// Tensors 'a' and 'b' at those offsets of 8 bytes of data.
std::string pair(int a0, int a1, int b0, int b1) {
  auto entry = [](int begin, int end) {
    return ":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(end - begin) + "],\"data_offsets\":[" + std::to_string(begin) + "," +
           std::to_string(end) + "]}";
  };
  return safetensors("{\"b\"" + entry(b0, b1) + ",\"a\"" + entry(a0, a1) + "}", "8 bytes.");
}
std::string repeated(const std::string &part, int count) {
  std::string all;
  for (int i = 0; i < count; ++i)
    all += part;
  return all;
}

/// An entry of an empty tensor.
std::string empty(const std::string &name) { return "\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"; }

auto nameOf = [](const auto &info) { return info.param.what; };

INSTANTIATE_TEST_SUITE_P(
    Length, BadHeader,
    testing::Values(
        BadFile{"NoBytes", "", "too short for a safetensors file: 0 bytes"},
        BadFile{"SevenBytes", "1234567", "too short for a safetensors file: 7 bytes, the header's length alone takes 8"},
        BadFile{"BeyondFile", length(3), "truncated: header length 3 reaches beyond the file of 10 bytes; download it again"},
        BadFile{"AtTheLimit", length(100'000'000), "truncated: header length 100000000 reaches beyond the file"},
        BadFile{"BeyondLimit", length(100'000'001), "header length 100000001 is beyond the format's limit of 100000000"},
        BadFile{"U64Wrap", length(UINT64_MAX - 7), "header length 18446744073709551608 is beyond the format's limit"},
        BadFile{"Empty", safetensors(""), "header is empty; the smallest is {}"}),
    nameOf);

INSTANTIATE_TEST_SUITE_P(
    Json, BadHeader,
    testing::Values(
        BadFile{"LeadingSpace", safetensors(" {}"), "header must begin with '{', found ' '; is this a safetensors file?"},
        BadFile{"Array", safetensors("[]"), "header must begin with '{', found '['"},
        BadFile{"Pickle", safetensors("\x80\x02}q"), "header must begin with '{'"},
        BadFile{"NulPadding", safetensors(std::string("{}\0\0", 4)), "header: line 1, column 3: NUL byte"},
        BadFile{"TrailingGarbage", safetensors("{}{}"),
                "header: line 1, column 3: syntax error while parsing value - unexpected '{'"},
        BadFile{"Unclosed", safetensors("{\"a\":{"), "header: line 1, column 6: syntax error while parsing object key"},
        BadFile{"BadUtf8", safetensors("{\"\xFF\":{}}"), "invalid string: ill-formed UTF-8 byte"},
        BadFile{"DeepNesting", safetensors("{\"a\":" + std::string(1'000'000, '[')),
                "tensor 'a': must be an object with dtype, shape and data_offsets, found an array"},
        BadFile{"DeepShape", shaped(std::string(1'000'000, '[')),
                "tensor 'a': shape[0] must be a non-negative integer, found an array"},
        BadFile{"DeepObjects", safetensors(repeated("{\"a\":", 1'000'000)), "tensor 'a': unknown key 'a'"},
        BadFile{"NulInName", safetensors("{\"a\\u0000b\":{}}"), "tensor 'a\\x00b': name holds a NUL character"}),
    nameOf);

INSTANTIATE_TEST_SUITE_P(
    Entry, BadHeader,
    testing::Values(BadFile{"Null", safetensors("{\"a\":null}"),
                            "tensor 'a': must be an object with dtype, shape and data_offsets, found null"},
                    BadFile{"String", safetensors("{\"a\":\"U8\"}"),
                            "tensor 'a': must be an object with dtype, shape and data_offsets, found the string 'U8'"},
                    BadFile{"Bool", safetensors("{\"a\":true}"), "found true"},
                    BadFile{"NoDType", tensor("\"shape\":[4],\"data_offsets\":[0,4]"), "tensor 'a': dtype is missing"},
                    BadFile{"NoShape", tensor("\"dtype\":\"U8\",\"data_offsets\":[0,4]"), "tensor 'a': shape is missing"},
                    BadFile{"NoOffsets", tensor("\"dtype\":\"U8\",\"shape\":[4]"), "tensor 'a': data_offsets is missing"},
                    BadFile{"EmptyEntry", tensor(""), "tensor 'a': dtype is missing"},
                    BadFile{"UnknownKey", tensor("\"stride\":[1]"),
                            "tensor 'a': unknown key 'stride'; the format has dtype, shape and data_offsets"},
                    BadFile{"DTypeTwice", tensor("\"dtype\":\"U8\",\"dtype\":\"I8\""), "tensor 'a': dtype is given twice"},
                    BadFile{"ShapeTwice", tensor("\"shape\":[4],\"sh\\u0061pe\":[4]"), "tensor 'a': shape is given twice"},
                    BadFile{"OffsetsTwice", tensor("\"data_offsets\":[0,4],\"data_offsets\":[0,4]"),
                            "tensor 'a': data_offsets is given twice"},
                    BadFile{"NameTwice", pair(0, 4, 4, 8).replace(10, 1, "a"), "tensor 'a' is given twice"},
                    BadFile{"NameTwiceEmpty", safetensors("{" + empty("a") + "," + empty("b") + "," + empty("a") + "}"),
                            "tensor 'a' is given twice"},
                    BadFile{"NameAliased", safetensors("{" + empty("a") + "," + empty("\\u0061") + "}"),
                            "tensor 'a' is given twice"}),
    nameOf);

INSTANTIATE_TEST_SUITE_P(
    DType, BadHeader,
    testing::Values(BadFile{"Unknown", typed("\"F8_E4M3FN\"", "[4]"), "tensor 'a': unknown dtype 'F8_E4M3FN'"},
                    BadFile{"LowerCase", typed("\"u8\"", "[4]"), "tensor 'a': unknown dtype 'u8'"},
                    BadFile{"Number", typed("8", "[4]"), "tensor 'a': dtype must be a string, found a number (8)"},
                    BadFile{"Array", typed("[\"U8\"]", "[4]"), "tensor 'a': dtype must be a string, found an array"},
                    BadFile{"HalfAByte", typed("\"F4\"", "[3,3]"), "tensor 'a': shape [3, 3] of F4 does not fill whole bytes"},
                    BadFile{"SixBits", typed("\"F6_E2M3\"", "[5]"),
                            "tensor 'a': shape [5] of F6_E2M3 does not fill whole bytes"}),
    nameOf);

INSTANTIATE_TEST_SUITE_P(
    Shape, BadHeader,
    testing::Values(
        BadFile{"Object", shaped("{}"), "tensor 'a': shape must be an array of dimensions, found an object"},
        BadFile{"Number", shaped("4"), "tensor 'a': shape must be an array of dimensions, found a number (4)"},
        BadFile{"Negative", shaped("[2,-2]"), "tensor 'a': shape[1] must be a non-negative integer, found -2"},
        BadFile{"MinusZero", shaped("[-0]"), "tensor 'a': shape[0] must be a non-negative integer, found -0"},
        BadFile{"Float", shaped("[4.0]"), "tensor 'a': shape[0] must be a non-negative integer, found a float (4.0)"},
        BadFile{"Exponent", shaped("[4e0]"), "tensor 'a': shape[0] must be a non-negative integer, found a float (4e0)"},
        BadFile{"String", shaped("[\"4\"]"), "tensor 'a': shape[0] must be a non-negative integer, found the string '4'"},
        BadFile{"Null", shaped("[null]"), "tensor 'a': shape[0] must be a non-negative integer, found null"},
        BadFile{"BeyondU64", shaped("[18446744073709551616]"),
                "tensor 'a': shape[0] must be a non-negative integer, found an integer beyond 64 bits (18446744073709551616)"},
        BadFile{"BeyondI64", shaped("[9223372036854775808]"), "tensor 'a': shape[0] = 9223372036854775808 is beyond 2^63 - 1"},
        BadFile{"ProductWraps", shaped("[4294967296,4294967296]"),
                "tensor 'a': shape [4294967296, 4294967296] of U8 overflows 64 bits"},
        BadFile{"BitsWrap", shaped("[2305843009213693953]"), "tensor 'a': shape [2305843009213693953] of U8 overflows 64 bits"},
        BadFile{"WrapsBeforeZero", shaped("[4294967296,4294967296,0]"), "overflows 64 bits"},
        BadFile{"WrapsAfterZero", shaped("[0,4294967296,4294967296]"), "overflows 64 bits"},
        BadFile{"HugeRank", shaped("[" + repeated("1,", 64) + "4]"), "tensor 'a': has more than 64 dimensions"},
        BadFile{"TooSmall", shaped("[3]"), "tensor 'a': dtype and shape make 3 bytes, data_offsets [0, 4] hold 4"},
        BadFile{"ScalarTooSmall", shaped("[]"), "tensor 'a': dtype and shape make 1 bytes, data_offsets [0, 4] hold 4"},
        BadFile{"ZeroWithBytes", shaped("[0]"), "tensor 'a': dtype and shape make 0 bytes, data_offsets [0, 4] hold 4"},
        BadFile{"WrongDType", typed("\"BF16\"", "[4]"), "tensor 'a': dtype and shape make 8 bytes, data_offsets [0, 4] hold 4"}),
    nameOf);

INSTANTIATE_TEST_SUITE_P(
    Offsets, BadHeader,
    testing::Values(
        BadFile{"Object", offsets("{}"), "tensor 'a': data_offsets must be an array [begin, end], found an object"},
        BadFile{"None", offsets("[]"), "tensor 'a': data_offsets must be [begin, end], found 0 numbers"},
        BadFile{"One", offsets("[0]"), "tensor 'a': data_offsets must be [begin, end], found 1 numbers"},
        BadFile{"Three", offsets("[0,4,4]"), "tensor 'a': data_offsets must be [begin, end], found a third number"},
        BadFile{"Negative", offsets("[-4,0]"), "tensor 'a': data_offsets[0] must be a non-negative integer, found -4"},
        BadFile{"Float", offsets("[0,4.5]"), "tensor 'a': data_offsets[1] must be a non-negative integer, found a float (4.5)"},
        BadFile{"Huge", offsets("[0,99999999999999999999]"),
                "data_offsets[1] must be a non-negative integer, found an integer beyond 64 bits"},
        BadFile{"Reversed", offsets("[4,0]"), "tensor 'a': data_offsets [4, 0] end before they begin"},
        BadFile{"U64Wrap", offsets("[18446744073709551612,0]"), "end before they begin"},
        BadFile{"FarOut", offsets("[18446744073709551611,18446744073709551615]"),
                "bytes 0 to 18446744073709551611 of the data, before tensor 'a', belong to no tensor"}),
    nameOf);

INSTANTIATE_TEST_SUITE_P(
    Coverage, BadHeader,
    testing::Values(
        BadFile{"HoleFirst", pair(1, 4, 4, 8), "bytes 0 to 1 of the data, before tensor 'a', belong to no tensor"},
        BadFile{"HoleBetween", pair(0, 3, 4, 8), "bytes 3 to 4 of the data, before tensor 'b', belong to no tensor"},
        BadFile{"Overlap", pair(0, 5, 4, 8), "tensor 'b' at byte 4 of the data overlaps tensor 'a', which ends at 5"},
        BadFile{"SameBytes", pair(0, 8, 0, 8), "tensor 'b' at byte 0 of the data overlaps tensor 'a', which ends at 8"},
        BadFile{"EmptyInside", pair(0, 8, 4, 4), "tensor 'b' at byte 4 of the data overlaps tensor 'a', which ends at 8"},
        BadFile{"Trailing", pair(0, 4, 4, 7), "1 bytes follow the last tensor"},
        BadFile{"TrailingAlone", safetensors("{}", "x"), "1 bytes follow the last tensor"},
        BadFile{"Truncated", pair(0, 4, 4, 9),
                "truncated: tensor 'b' ends at byte 9 of the data, but the file holds 8; download it again"}),
    nameOf);

INSTANTIATE_TEST_SUITE_P(
    Metadata, BadHeader,
    testing::Values(BadFile{"Null", metadata("null"), "__metadata__ must be an object of strings, found null"},
                    BadFile{"Array", metadata("[]"), "__metadata__ must be an object of strings, found an array"},
                    BadFile{"Number", metadata("{\"n\":1}"), "__metadata__ 'n' must be a string, found a number (1)"},
                    BadFile{"Nested", metadata("{\"n\":{}}"), "__metadata__ 'n' must be a string, found an object"},
                    BadFile{"Bool", metadata("{\"n\":false}"), "__metadata__ 'n' must be a string, found false"},
                    BadFile{"KeyTwice", metadata("{\"n\":\"1\",\"\\u006e\":\"2\"}"), "__metadata__ key 'n' is given twice"},
                    BadFile{"Twice", metadata("{},\"__metadata__\":{}"), "__metadata__ is given twice"}),
    nameOf);

TEST(Header, EmptyFile) {
  auto header = parse(safetensors("{}"));
  ASSERT_TRUE(header) << errorOf(header);
  EXPECT_TRUE(header->tensors.empty());
  EXPECT_EQ(header->dataBegin, 10u);
}

TEST(Header, MetadataIsKept) {
  auto header = parse(metadata("{\"format\":\"pt\",\"quote\":\"\\\"\"}"));
  ASSERT_TRUE(header) << errorOf(header);
  EXPECT_EQ(header->metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"quote", "\""}}));
}

TEST(Header, SpacesPad) { EXPECT_TRUE(parse(safetensors("{}      "))); }

TEST(Header, TensorsStandInFileOrderAndAreFoundByName) {
  auto header = parse(pair(4, 8, 0, 4));
  ASSERT_TRUE(header) << errorOf(header);
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[1].name, "a");
  EXPECT_EQ(header->find("a"), &header->tensors[1]);
  EXPECT_EQ(header->find("b"), &header->tensors[0]);
  for (auto name : {"", "A", "aa", "c"})
    EXPECT_EQ(header->find(name), nullptr);
}

TEST(Header, ScalarsEmptiesAndSubByte) {
  auto header = parse(safetensors("{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                                  "\"e\":{\"dtype\":\"F32\",\"shape\":[7,0],\"data_offsets\":[0,0]},"
                                  "\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[7,7]},"
                                  "\"f\":{\"dtype\":\"F6_E3M2\",\"shape\":[2,2],\"data_offsets\":[4,7]}}",
                                  "7 bytes"));
  ASSERT_TRUE(header) << errorOf(header);
  EXPECT_EQ(header->tensors[0].name, "e");
  EXPECT_EQ(header->find("s")->shape, std::vector<int64_t>{});
  EXPECT_EQ(header->find("z")->bytes(), 0u);
  EXPECT_EQ(header->find("f")->bytes(), 3u);
}

TEST(Header, LargestRank) {
  auto header = parse(shaped("[" + repeated("1,", 63) + "4]"));
  ASSERT_TRUE(header) << errorOf(header);
  EXPECT_EQ(header->tensors[0].shape.size(), 64u);
}

TEST(Header, PrefixMustHoldTheHeader) {
  std::string file = pair(0, 4, 4, 8);
  EXPECT_ERROR(parseHeader(bytesOf(file).first(20), file.size()), "header needs 113 bytes, only 20 were read");
  EXPECT_TRUE(parseHeader(bytesOf(file).first(file.size() - 8), file.size()));
}

TEST(Header, ByteSize) {
  EXPECT_EQ(byteSize(DType::F8E4M3FN, std::vector<int64_t>{576, 7168}).value(), 576u * 7168);
  EXPECT_EQ(byteSize(DType::F4E2M1FN, std::vector<int64_t>{3, 2}).value(), 3u);
  EXPECT_EQ(byteSize(DType::F64, {}).value(), 8u);
  EXPECT_ERROR(byteSize(DType::U8, std::vector<int64_t>{2, -1}), "shape [2, -1] has a negative dimension");
  EXPECT_ERROR(byteSize(DType::U8, std::vector<int64_t>(65, 1)), "has 65 dimensions, more than 64");
}

/// A header of `count` tensors, last one first in the JSON.
std::string manyTensors(size_t count) {
  std::string json = "{";
  for (size_t i = count; i-- > 0;)
    json += "\"model.layers.61.mlp.experts." + std::to_string(i) +
            ".up_proj.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" + std::to_string(i) + "," +
            std::to_string(i + 1) + "]}" + (i ? "," : "}");
  return safetensors(json, std::string(count, 'x'));
}

TEST(Header, AMillionTensorsInSeconds) {
  std::string file = manyTensors(700'000); // 85 MB of JSON
  auto start = std::chrono::steady_clock::now();
  auto header = parse(file);
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(header) << errorOf(header);
  EXPECT_EQ(header->tensors.size(), 700'000u);
  EXPECT_NE(header->find("model.layers.61.mlp.experts.4711.up_proj.weight"), nullptr);
  RecordProperty("seconds", std::to_string(seconds.count()));
  EXPECT_LT(seconds.count(), 60) << "quadratic?"; // about 1 s in a release build
}

} // namespace
