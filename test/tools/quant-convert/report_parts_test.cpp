//===- report_parts_test.cpp - what inspect and compare build on ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/parallel.h"
#include "tools/common/table.h"
#include "tools/common/tensor_name.h"
#include "tools/common/tensor_source.h"
#include "tools/common/units.h"
#include "tools/quant-convert/report/page.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>

using namespace quant;
using namespace quant::convert;
using namespace quant::tools;
using nlohmann::json;

namespace {

TEST(HumanCount, ThreeDigits) {
  EXPECT_EQ(humanCount(0), "0");
  EXPECT_EQ(humanCount(999), "999");
  EXPECT_EQ(humanCount(1500), "1.50k");
  EXPECT_EQ(humanCount(671'026'404'352), "671B");
}

TEST(Table, AlignsColumns) {
  Table table({"name", ">bytes", "file"});
  EXPECT_TRUE(table.empty());
  table.add({"a", "1", "x"});
  table.add({"\u03A3b", "1000000", ""});
  EXPECT_EQ(table.str(1), " name    bytes  file\n a           1  x\n \u03A3b    1000000\n");
}

TEST(TensorName, Numbers) {
  EXPECT_EQ(numberAfter("model.layers.12.mlp.experts.7.up_proj.weight", "layers"), 12);
  EXPECT_EQ(numberAfter("model.layers.12.mlp.experts.7.up_proj.weight", "experts"), 7);
  EXPECT_EQ(numberAfter("model.layers.12.mlp.shared_experts.up_proj.weight", "experts"), -1);
  EXPECT_EQ(numberAfter("layers", "layers"), -1);
  EXPECT_EQ(numberAfter("layers.99999999999999999999.w", "layers"), -1) << "beyond 64 bits";
}

TEST(TensorName, Kinds) {
  EXPECT_EQ(nameOfKind("model.layers.12.mlp.experts.7.up_proj.weight"), "model.layers.*.mlp.experts.*.up_proj.weight");
  EXPECT_EQ(moduleKind("model.layers.12.mlp.experts.7.up_proj.weight"), "mlp.experts.up_proj");
  EXPECT_EQ(moduleKind("lm_head.weight"), "lm_head");
  EXPECT_EQ(moduleKind("model.norm.weight"), "norm");
  EXPECT_EQ(moduleKind("weight"), "weight");
  EXPECT_EQ(moduleKind("3"), "3");
}

TEST(ParallelFor, EachIndexOnce) {
  for (unsigned threads : {0u, 1u, 3u, 100u})
    for (size_t count : {0u, 1u, 2u, 1000u}) {
      std::vector<std::atomic<int>> calls(count);
      parallelFor(count, threads, [&](size_t i) { ++calls[i]; });
      for (auto &call : calls)
        EXPECT_EQ(call, 1);
    }
}

TEST(Decode, EveryFp8Format) {
  struct Case {
    DType dtype;
    uint8_t code;
    double value;
  };
  const double nan = std::nan(""), inf = INFINITY;
  for (Case test :
       {Case{DType::F8E4M3FN, 0x7E, 448}, Case{DType::F8E4M3FN, 0xFF, nan}, Case{DType::F8E4M3FN, 0x01, 0x1p-9},
        Case{DType::F8E5M2, 0x7B, 57344}, Case{DType::F8E5M2, 0xFC, -inf}, Case{DType::F8E5M2, 0x7D, nan},
        Case{DType::F8E5M2, 0x01, 0x1p-16}, Case{DType::F8E4M3FNUZ, 0x7F, 240}, Case{DType::F8E4M3FNUZ, 0x80, nan},
        Case{DType::F8E5M2FNUZ, 0x7F, 57344}, Case{DType::F8E8M0FNU, 0, 0x1p-127}, Case{DType::F8E8M0FNU, 255, nan}}) {
    double value;
    std::byte code{test.code};
    decode(test.dtype, {&code, 1}, {&value, 1});
    EXPECT_TRUE(std::isnan(test.value) ? std::isnan(value) : value == test.value)
        << safetensorsName(test.dtype) << " " << int(test.code) << ": " << value;
  }
}

TEST(Decode, HalfPrecision) {
  const std::vector<std::pair<uint16_t, double>> cases = {{0x0001, 0x1p-24}, {0x03FF, 0x1.ff8p-15}, {0x0400, 0x1p-14},
                                                          {0x7BFF, 65504},   {0xFC00, -INFINITY},   {0x8000, -0.0}};
  for (auto [code, want] : cases) {
    double value;
    decode(DType::F16, std::as_bytes(std::span(&code, 1)), {&value, 1});
    EXPECT_EQ(value, want) << code;
  }
}

TEST(Page, HoldsAnyText) {
  std::string page = fillPage(R"(<p><script id="data" type="application/json">{"sample": 1}</script><p>)",
                              {{"name", "</script><b>"}, {"bytes", "\xff"}});
  EXPECT_EQ(page, R"(<p><script id="data" type="application/json">{"bytes":"�","name":"\u003c/script>\u003cb>"}</script><p>)")
      << page;
}

} // namespace
