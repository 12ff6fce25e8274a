//===- read.cpp - model configurations out of JSON and files --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"

#include "models/config/deepseek_style.h"
#include "models/config/hugging_face_style.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/support/object_reader.h"

using namespace quant;
using namespace quant::models;

using nlohmann::json;

Result<ModelConfig> models::parseConfig(const json &object) {
  if (!object.is_object())
    return fail("a model configuration is a JSON object, this is " + shortText(object));
  if (object.contains("hidden_size") && object.contains("dim"))
    return fail("hidden_size and dim: the keys of Hugging Face's and of DeepSeek's style are mixed; keep to one");
  if (object.contains("dim"))
    return parseDeepSeek(object);
  if (object.contains("model_type") || object.contains("hidden_size"))
    return parseHuggingFace(object);
  return fail("neither Hugging Face's model_type and hidden_size nor DeepSeek's dim is there; this is no model configuration");
}

/// A configuration is a few kilobytes; more is another file.
static constexpr uint64_t kMaxConfigBytes = 16 << 20;

Result<ModelConfig> models::loadConfig(const std::filesystem::path &fileOrDir) {
  std::error_code ignored;
  auto file = std::filesystem::is_directory(fileOrDir, ignored) ? fileOrDir / "config.json" : fileOrDir;
  QUANT_TRY_ASSIGN(auto json, checkpoint::readJsonFile(file, kMaxConfigBytes));
  auto config = parseConfig(json);
  if (!config)
    return tl::unexpected(config.error().in(file.string()));
  return config;
}
