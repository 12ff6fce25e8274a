//===- class_defaults.cpp - what a key that is left out means -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/class_defaults.h"

#include "runtime/support/object_reader.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

namespace {

/// What an explicit null means.
enum class Null {
  Absent, ///< the same as no key
  Value,  ///< "none", which readers know as 0
  OfV2    ///< "none" in deepseek_v2 (no groups); nothing in deepseek_v3, whose gate divides by it
};

/// The values as JSON text; an empty one where the published classes differ.
struct ClassDefault {
  std::string_view key, v3, v2;
  bool ofExperts;
  Null null = Null::Absent;
  std::string_view difference = {}; ///< of deepseek_v2, for the message
};

} // namespace

static constexpr ClassDefault kDefaults[] = {
    {"moe_intermediate_size", "2048", "1407", true, Null::Value},
    {"n_routed_experts", "256", "", true, Null::Value, "64 in transformers, none in configuration_deepseek.py"},
    {"n_shared_experts", "1", "", true, Null::Value, "2 in transformers, none in configuration_deepseek.py"},
    {"num_experts_per_tok", "8", "", true, Null::Value, "none in transformers and in configuration_deepseek.py"},
    {"n_group", "8", "1", true, Null::OfV2},
    {"topk_group", "4", "1", true, Null::OfV2},
    {"routed_scaling_factor", "2.5", "1.0", true},
    {"scoring_func", "\"sigmoid\"", "\"softmax\"", true},
    {"topk_method", "\"noaux_tc\"", "\"greedy\"", true},
    {"norm_topk_prob", "true", "false", true},
    {"q_lora_rank", "1536", "1536", false, Null::Value},
    {"rms_norm_eps", "1e-06", "1e-06", false},
    {"rope_theta", "10000.0", "10000.0", false},
    {"max_position_embeddings", "4096", "2048", false},
    {"tie_word_embeddings", "false", "false", false},
};

/// The integer of `key`, 0 when there is none.
static int64_t integerAt(const json &object, const char *key) {
  auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

/// Any layer has experts, or the sizes that would tell are not there.
static bool hasExperts(const json &object) {
  int64_t layers = integerAt(object, "num_hidden_layers"), dense = integerAt(object, "first_k_dense_replace");
  return layers == 0 || dense < layers || integerAt(object, "num_nextn_predict_layers") > dense - layers;
}

/// rope_theta is in the rope object since transformers 5.
static bool isInRopeObject(const json &object, std::string_view key) {
  for (const char *rope : {"rope_scaling", "rope_parameters"})
    if (auto found = object.find(rope); found != object.end() && found->is_object() && found->contains(key))
      return true;
  return false;
}

Result<CompletedConfig> models::completeConfig(const json &object, std::string_view modelType) {
  CompletedConfig result{object, {}};
  bool v3 = modelType == "deepseek_v3", experts = hasExperts(object);
  for (const ClassDefault &one : kDefaults) {
    auto found = object.find(one.key);
    bool isNull = found != object.end() && found->is_null();
    if ((found != object.end() && !isNull) || (isNull && one.null == Null::Value) || (one.ofExperts && !experts) ||
        isInRopeObject(object, one.key))
      continue;
    if (isNull && one.null == Null::OfV2) {
      if (v3)
        return fail(fmt::format("{}: null says nothing in {}, whose gate selects groups; 1 means no groups", one.key, modelType));
      result.object[one.key] = 1;
      continue;
    }
    std::string_view value = v3 ? one.v3 : one.v2;
    if (value.empty())
      return fail(fmt::format("{}: is missing, and {} has no one default for it ({}); write it into config.json", one.key,
                              modelType, one.difference));
    result.object[one.key] = json::parse(value);
    result.defaults += fmt::format("{}{} {}", result.defaults.empty() ? "" : ", ", one.key, value);
  }
  return result;
}
