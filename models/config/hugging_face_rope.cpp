//===- hugging_face_rope.cpp - rope_scaling and rope_parameters -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/hugging_face_rope.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

/// YaRN's numbers, in the rope object under these names.
template <typename Visit>
static void forYarnFields(Visit visit) {
  for (const auto &field : kIntFields)
    if (field.huggingFace.starts_with('@'))
      visit(field.huggingFace.substr(1), field.member);
  for (const auto &field : kRealFields)
    if (field.huggingFace.starts_with('@'))
      visit(field.huggingFace.substr(1), field.member);
}

/// "yarn" or "default"; `type` and `rope_type` are old and new name of one key.
static std::string readType(ObjectReader &rope) {
  std::string type = "default", oldType;
  rope.read("type", oldType);
  if (!oldType.empty())
    type = oldType;
  rope.read("rope_type", type);
  if (!oldType.empty() && type != oldType)
    rope.refuse("rope_type", "\"" + type + "\" contradicts type \"" + oldType + "\"");
  if (!rope.find("type") && !rope.find("rope_type") && rope.find("factor"))
    rope.refuse("type", "is missing beside factor; yarn is the scaling that is supported");
  if (type != "default" && type != "yarn" && type != "deepseek_yarn")
    rope.refuse("type", "\"" + type + "\" is not supported, only yarn and default");
  return type;
}

static void readYarn(ObjectReader &rope, ModelConfig &config, std::string &defaults) {
  config.hasRopeScaling = true;
  rope.require("factor");
  rope.require("original_max_position_embeddings");
  rope.expect("truncate", true, "the ends of the ramp are whole dimensions");
  forYarnFields([&](std::string_view key, auto member) {
    if (rope.find(key))
      rope.read(key, config.*member);
    else
      defaults += fmt::format("{}{}{} {}", defaults.empty() ? "" : ", ", rope.where(), key, config.*member);
  });
  rope.read("attention_factor", config.ropeAttentionFactor);
  if (rope.find("mscale") && config.mscale != 1 && !rope.find("mscale_all_dim") && !config.ropeAttentionFactor)
    rope.refuse("mscale_all_dim",
                "is missing beside an mscale; transformers then takes mscale to be 1, modeling_deepseek.py does "
                "not; 0 is DeepSeek's default");
}

static void readRopeObject(ObjectReader &rope, ModelConfig &config, std::string &defaults) {
  std::string type = readType(rope);
  rope.read("rope_theta", config.ropeTheta);
  rope.expect("partial_rotary_factor", 1, "all of qk_rope_head_dim turns");
  if (!rope.failed() && type != "default")
    readYarn(rope, config, defaults);
}

/// A key other than null that is neither read nor YaRN's: of another kind of rope.
static void refuseUnknown(ObjectReader &rope, const json &object) {
  for (const auto &[key, value] : object.items()) {
    bool known = value.is_null();
    for (const char *read : {"type", "rope_type", "rope_theta", "partial_rotary_factor", "truncate", "attention_factor"})
      known |= key == read;
    forYarnFields([&, &key = key](std::string_view field, auto) { known |= key == field; });
    if (!known)
      return rope.refuse(key, "is not a key of yarn or default, the two that are supported");
  }
}

/// `name` of the configuration into `config`; false when it is not there.
static Result<bool> readNamed(ObjectReader &fields, std::string_view name, ModelConfig &config, std::string &defaults) {
  const json *object = fields.find(name);
  if (!object)
    return false;
  if (!object->is_object())
    return fail(fmt::format("{}: {} is not an object", name, shortText(*object)));
  ObjectReader rope(*object, fmt::format("{}.", name));
  readRopeObject(rope, config, defaults);
  refuseUnknown(rope, *object);
  QUANT_TRY(rope.result());
  return true;
}

/// What of the rope differs: its key, or "".
static std::string difference(const ModelConfig &a, const ModelConfig &b) {
  std::string key;
  if (a.hasRopeScaling != b.hasRopeScaling)
    return "rope_type";
  forYarnFields([&](std::string_view field, auto member) {
    if (a.*member != b.*member)
      key = field;
  });
  return a.ropeAttentionFactor != b.ropeAttentionFactor ? "attention_factor" : key;
}

Result<void> models::readRope(ObjectReader &fields, ModelConfig &config, FieldNames &names, std::string &defaults) {
  QUANT_TRY(fields.result());
  ModelConfig fromScaling = config, fromParameters = config;
  std::string scalingDefaults, parameterDefaults;
  QUANT_TRY_ASSIGN(bool scaling, readNamed(fields, "rope_scaling", fromScaling, scalingDefaults));
  QUANT_TRY_ASSIGN(bool parameters, readNamed(fields, "rope_parameters", fromParameters, parameterDefaults));
  if (scaling && parameters) {
    std::string key = difference(fromScaling, fromParameters);
    if (fields.find("rope_scaling")->contains("rope_theta") && fromScaling.ropeTheta != fromParameters.ropeTheta)
      key = "rope_theta";
    if (!key.empty())
      return fail(fmt::format("rope_scaling: contradicts rope_parameters in {}; one of them is enough", key));
  }
  names.ropeObject = scaling || !parameters ? "rope_scaling" : "rope_parameters";
  defaults = parameters ? parameterDefaults : scalingDefaults;
  if (scaling || parameters)
    config = parameters ? fromParameters : fromScaling;
  return {};
}
