//===- policy_test.cpp - which layers get which scheme --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/scheme_config.h"
#include "tools/quant-convert/quantize/policy.h"

#include <gtest/gtest.h>

#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

namespace {

using Names = std::set<std::string, std::less<>>;

/// Of a model of three layers, the first dense, with an MTP layer.
Names modules() {
  Names names;
  for (int layer = 0; layer < 4; ++layer) {
    std::string prefix = fmt::format("model.layers.{}.", layer);
    for (const char *part : {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"})
      names.insert(prefix + "self_attn." + part);
    for (const char *part : {"gate_proj", "up_proj", "down_proj"})
      for (int expert = 0; expert < 2 && layer > 0; ++expert)
        names.insert(fmt::format("{}mlp.experts.{}.{}", prefix, expert, part));
    for (const char *part : {"gate_proj", "up_proj", "down_proj"})
      names.insert(prefix + (layer == 0 ? "mlp." : "mlp.shared_experts.") + part);
  }
  return names;
}

Result<Decisions> decide(const std::string &text) {
  QUANT_TRY_ASSIGN(Policy policy, parsePolicy(json::parse(text), "policy.json"));
  return applyPolicy(policy, modules(), 3);
}

std::string errorOf(const std::string &text) {
  auto decided = decide(text);
  return decided ? "none" : decided.error().message;
}

void expectError(const std::string &text, const std::string &words) {
  std::string error = errorOf(text);
  EXPECT_NE(error.find(words), std::string::npos) << text << ": " << error;
}

} // namespace

TEST(Policy, FirstRuleCounts) {
  auto decided = decide(R"({"default": {"scheme": "fp8-block"}, "rules": [
    {"match": "model.layers", "layers": [0, -1], "scheme": "keep"},
    {"match": "mlp.experts.*.down_proj", "scheme": "w4a16", "group_size": 64, "zero_points": true},
    {"match": ["re:.*self_attn\\.", "mlp.shared_experts"], "scheme": "w8a8"}]})");
  ASSERT_TRUE(decided) << decided.error().message;
  EXPECT_EQ(decided->size(), modules().size());
  auto at = [&](const char *module) { return decided->at(module); };
  EXPECT_EQ(at("model.layers.0.self_attn.o_proj"), Decision());
  EXPECT_EQ(at("model.layers.2.mlp.experts.1.down_proj"), Decision()); // -1 is the last layer before MTP
  EXPECT_EQ(at("model.layers.1.mlp.experts.1.down_proj"), Decision(SchemeChoice("w4a16", 64, true)));
  EXPECT_EQ(at("model.layers.1.mlp.experts.1.up_proj"), Decision(SchemeChoice("fp8-block")));
  EXPECT_EQ(at("model.layers.3.self_attn.q_a_proj"), Decision(SchemeChoice("w8a8")));
  EXPECT_EQ(at("model.layers.1.mlp.shared_experts.up_proj"), Decision(SchemeChoice("w8a8")));
}

TEST(Policy, PresetsAreSound) {
  for (const char *preset : {"int8-int4", "experts-int4", "fp8-experts-int4"}) {
    auto policy = readPolicy(preset);
    ASSERT_TRUE(policy) << policy.error().message;
    auto decided = applyPolicy(*policy, modules(), 3);
    ASSERT_TRUE(decided) << decided.error().message;
    EXPECT_TRUE(checkFusions(*decided));
    EXPECT_NE(describePresets().find(preset), std::string::npos);
    EXPECT_EQ(decided->at("model.layers.1.mlp.experts.0.up_proj")->name, "w4a16");
  }
}

TEST(Policy, Errors) {
  expectError(R"([])", "policy.json: [] is not an object");
  expectError(R"({"rule": []})", "'rule' is no key that is known");
  expectError(R"({"rules": 3})", "rules: 3 is no list");
  expectError(R"({"rules": [{"scheme": "w8a8"}]})", "rule 1: match: is missing");
  expectError(R"({"rules": [{"match": "mlp"}]})", "rule 1: scheme: is missing");
  expectError(R"({"rules": [{"match": [], "scheme": "w8a8"}]})", "match: names nothing");
  expectError(R"({"rules": [{"match": "mlp", "scheme": "w9"}]})", "policy.json: rule 1: 'w9' is no scheme");
  expectError(R"({"rules": [{"match": "mlp", "scheme": "keep", "group_size": 32}]})", "\"keep\" has neither");
  expectError(R"({"rules": [{"match": "mlp", "scheme": "w8a8", "bits": 4}]})", "'bits' is no key");
  expectError(R"({"rules": [{"match": "re:(", "scheme": "w8a8"}]})", "is no regular expression");
  expectError(R"({"rules": [{"match": "mlp", "layers": "all", "scheme": "w8a8"}]})", "is no list of indices");
  expectError(R"({"default": "w8a8"})", "default: is not an object");
  EXPECT_NE(readPolicy("nothing.json").error().message.find("is no file, and none of the presets"), std::string::npos);
}

TEST(Policy, NamesNothing) {
  expectError(R"({"rules": [{"match": "attention", "scheme": "w8a8"}]})",
              "rule 1 (attention) names no layer that can be quantized");
  expectError(R"({"rules": [{"match": "mlp.gate", "scheme": "w8a8"}]})", "norms, router, embedding and head stay as they are");
  expectError(R"({"rules": [{"match": "mlp", "layers": [9], "scheme": "w8a8"}]})", "names no layer");
}

TEST(Policy, ContradictsItself) {
  expectError(R"({"rules": [{"match": "mlp", "scheme": "w8a8"}, {"match": "mlp.experts", "scheme": "w4a16"}]})",
              "rule 2 (mlp.experts) contradicts those before it: of the 18 layers that it names each is decided already, "
              "model.layers.1.mlp.experts.0.down_proj by rule 1; put the narrower rule first");
}

TEST(Policy, FusedLayersGoTogether) {
  for (const char *part : {"q_a_proj", "model.layers.0.mlp.up_proj", "mlp.experts.1.down_proj", "mlp.experts.1"}) {
    auto decided = decide(fmt::format(R"({{"rules": [{{"match": "{}", "scheme": "w8a8"}}]}})", part));
    ASSERT_TRUE(decided) << decided.error().message;
    auto checked = checkFusions(*decided);
    ASSERT_FALSE(checked) << part;
    EXPECT_NE(checked.error().message.find("give both the same scheme"), std::string::npos);
    EXPECT_NE(checked.error().message.find("w8a8"), std::string::npos);
  }
  EXPECT_TRUE(checkFusions(*decide(R"({"rules": [{"match": "re:.*shared_experts.down", "scheme": "w8a8"}]})")));
}

TEST(Policy, RulesThatNoFileChecked) {
  auto applied = applyPolicy({"--ignore", {{{"re:("}, {}, {}}}, {}}, modules(), 4);
  ASSERT_FALSE(applied);
  EXPECT_NE(applied.error().message.find("--ignore: rule 1: ignore: \"re:(\" is no regular expression"), std::string::npos)
      << applied.error().message;
}

TEST(Policy, EngineNotes) {
  EXPECT_EQ(engineNotes(*decide(R"({"default": {"scheme": "w8a8"}})")).size(), 0u);
  EXPECT_EQ(engineNotes(*decide(R"({"default": {"scheme": "w4a16"}})")).size(), 2u);
}

TEST(Policy, NamesAreExactAndFew) {
  Names all = modules();
  all.insert("lm_head");
  for (const std::string &text :
       {std::string(R"({"rules": [{"match": "mlp.experts", "scheme": "w8a8"}]})"),
        std::string(R"({"rules": [{"match": "self_attn", "layers": [1, 3], "scheme": "w8a8"}]})"),
        std::string(R"({"rules": [{"match": "model.layers.1.mlp.experts.0.up_proj", "scheme": "w8a8"}]})")}) {
    Names chosen;
    Decisions decisions = *decide(text);
    for (const auto &[module, decision] : decisions)
      if (decision)
        chosen.insert(module);
    std::vector<std::string> names = namesFor(chosen, all);
    EXPECT_LE(names.size(), 5u);
    QuantizationConfig config{{{names, deepSeekFp8()}}, {}};
    for (const std::string &module : all)
      EXPECT_EQ(config.schemeOf(module) != nullptr, chosen.contains(module)) << module;
  }
  EXPECT_EQ(namesFor({"lm_head"}, all), std::vector<std::string>{"lm_head"});
}
