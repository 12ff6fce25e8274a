//===- budget_test.cpp - the least loss within a size ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/sensitivity/budget.h"
#include "tools/quant-convert/sensitivity/mixture.h"

#include "test_dir.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;

namespace {

using Items = std::vector<std::vector<SizedOption>>;

SizedOption sumOf(const Items &items, const std::vector<size_t> &chosen) {
  SizedOption sum;
  for (size_t i = 0; i < items.size(); ++i) {
    sum.bytes += items[i][chosen[i]].bytes;
    sum.loss += items[i][chosen[i]].loss;
  }
  return sum;
}

/// The least loss of all choices; nothing where none fits.
std::optional<double> byTrying(const Items &items, int64_t bytes) {
  std::optional<double> best;
  std::vector<size_t> chosen(items.size());
  for (bool isMore = true; isMore;) {
    SizedOption sum = sumOf(items, chosen);
    if (sum.bytes <= bytes && (!best || sum.loss < *best))
      best = sum.loss;
    isMore = false;
    for (size_t i = 0; i < items.size() && !isMore; ++i) {
      isMore = ++chosen[i] < items[i].size();
      chosen[i] = isMore ? chosen[i] : 0;
    }
  }
  return best;
}

/// `count` lists of up to four options of some bytes.
Items randomItems(size_t count, int64_t most, std::mt19937 &random) {
  std::uniform_int_distribution<int64_t> bytes(1, most), number(1, 4);
  std::uniform_real_distribution<double> loss(0, 1);
  Items items(count);
  for (auto &options : items)
    for (int64_t i = number(random); i > 0; --i)
      options.push_back({bytes(random), loss(random)});
  return items;
}

TEST(Budget, IsAsGoodAsTryingAll) {
  uint32_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  size_t fitting = 0;
  for (int round = 0; round < 300; ++round) {
    Items items = randomItems(1 + random() % 7, 20, random);
    int64_t bytes = std::uniform_int_distribution<int64_t>(1, 100)(random);
    std::optional<double> best = byTrying(items, bytes);
    auto chosen = leastLoss(items, bytes);
    ASSERT_EQ(chosen.has_value(), best.has_value());
    if (!chosen)
      continue;
    ++fitting;
    SizedOption sum = sumOf(items, *chosen);
    EXPECT_LE(sum.bytes, bytes);
    EXPECT_NEAR(sum.loss, *best, 1e-12);
  }
  EXPECT_GT(fitting, 50u);
}

/// More sums than are kept: still within the budget, and nearly as good as where bytes may be split (the bound of the relaxation,
/// found by moving along the convex hulls of the options).
TEST(Budget, ManyItemsStayWithin) {
  std::mt19937 random(7);
  Items items = randomItems(250, 1000000000, random);
  int64_t least = 0, most = 0;
  for (auto &options : items) {
    options.push_back({2000000000, 0});
    least += std::ranges::min_element(options, {}, &SizedOption::bytes)->bytes;
    most += 2000000000;
  }
  double before = std::numeric_limits<double>::infinity();
  for (double share : {0.0, 0.1, 0.3, 0.6, 1.0}) {
    int64_t bytes = least + static_cast<int64_t>(share * static_cast<double>(most - least));
    auto chosen = leastLoss(items, bytes);
    ASSERT_TRUE(chosen) << share;
    SizedOption sum = sumOf(items, *chosen);
    EXPECT_LE(sum.bytes, bytes);
    EXPECT_LT(sum.loss, before);
    before = sum.loss;
    // For any price of a byte the least of loss + price * bytes bounds the loss from below.
    double bound = 0;
    for (double price = 1e-12; price < 1e-7; price *= 1.2) {
      double cost = -price * static_cast<double>(bytes);
      for (const auto &options : items) {
        double each = std::numeric_limits<double>::infinity();
        for (const SizedOption &option : options)
          each = std::min(each, option.loss + price * static_cast<double>(option.bytes));
        cost += each;
      }
      bound = std::max(bound, cost);
    }
    EXPECT_LT(sum.loss - bound, 0.05 * bound + 0.1) << share; // an item's loss is up to 1
  }
  EXPECT_EQ(before, 0);
  EXPECT_FALSE(leastLoss(items, least - 1));
}

TEST(Budget, Texts) {
  EXPECT_EQ(parseBudget("4.25bits")->bits, 4.25);
  EXPECT_EQ(parseBudget("350GB")->bytes, 350000000000);
  EXPECT_EQ(parseBudget("1.5GiB")->bytes, 3 << 29);
  for (const char *bad : {"", "4.25", "bits", "-1bits", "0GB", "nanbits", "infGB", "4 bits", "1e300TB", "4bitsx"}) {
    auto budget = parseBudget(bad);
    ASSERT_FALSE(budget) << bad;
    EXPECT_NE(budget.error().message.find("give bits a weight, as in 4.25bits, or a size, as in 350GB"), std::string::npos);
  }
}

TEST(Budget, ChoicesAsWords) {
  for (const char *text : {"w8a8", "w4a16", "w4a16:32", "w4a16:64:zero-points", "w8a16:zero-points", "w8a16:-1", "mxfp4"}) {
    auto choice = parseChoice(text);
    ASSERT_TRUE(choice) << choice.error().message;
    EXPECT_EQ(choice->text(), text);
  }
  for (const char *bad : {"", "w5a16", "w4a16:", "w4a16:x", "w4a16:32x", "w8a8:32", "mxfp4:zero-points", "w4a16:zero"})
    EXPECT_FALSE(parseChoice(bad)) << bad;
}

TEST(Sensitivities, FileThereAndBack) {
  TestDir dir;
  std::filesystem::path path = dir / "s.json";
  Sensitivities written;
  written.fingerprint = "abc";
  written.indivisible = "smaller";
  written.loss = 3.25;
  written.tokens = 1000;
  written.context = 256;
  LayerUnit unit{2, "experts", {}};
  written.of(unit, 77).costs[*parseChoice("w4a16:32")] = {0.125, -0.5, 0.25, 0.75};
  ASSERT_TRUE(written.write(path));
  auto read = Sensitivities::read(path);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->json(), written.json());
  EXPECT_EQ(read->find(2, "experts")->parameters, 77);
  EXPECT_EQ(read->find(1, "experts"), nullptr);
  for (const char *bad :
       {"[]", "{}", R"({"format": "quant-convert sensitivity 1"})",
        R"({"format": "quant-convert sensitivity 1", "fingerprint": "", "indivisible": "", "tokens": 1, "context": 2,
                              "loss": 1, "units": [{"layer": 0, "kind": "norms", "parameters": 1, "schemes": {}}]})",
        R"({"format": "quant-convert sensitivity 1", "fingerprint": "", "indivisible": "", "tokens": 1, "context": 2,
                              "loss": 1, "units": [{"layer": 0, "kind": "dense", "parameters": 1, "schemes": {"w9": {"kl": 0}}}]})"}) {
    std::ofstream(path) << bad;
    auto wrong = Sensitivities::read(path);
    ASSERT_FALSE(wrong) << bad;
    EXPECT_TRUE(wrong.error().message.starts_with(path.string() + ": ")) << wrong.error().message;
  }
}

TEST(Units, ByLayerAndKind) {
  const std::string p = "model.layers.";
  auto units = unitsOf({p + "0.self_attn.o_proj", p + "0.self_attn.q_proj", p + "0.mlp.up_proj", p + "3.mlp.experts.0.up_proj",
                        p + "3.mlp.experts.11.up_proj", p + "3.mlp.shared_experts.up_proj"});
  std::vector<std::string> found;
  for (const LayerUnit &unit : units)
    found.push_back(unit.describe() + " " + std::to_string(unit.modules.size()));
  EXPECT_EQ(found, (std::vector<std::string>{"attention of layer 0 2", "dense of layer 0 1", "experts of layer 3 2",
                                             "shared_experts of layer 3 1"}));
}

} // namespace
