//===- read.cpp - model configurations out of JSON and files --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"

#include "models/config/deepseek_style.h"
#include "models/config/hugging_face_style.h"
#include "models/config/tokens.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/support/object_reader.h"

#include <algorithm>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

Result<ModelConfig> models::parseConfig(const json &object, std::vector<std::string> *notes) {
  std::vector<std::string> unread;
  if (!notes)
    notes = &unread;
  if (!object.is_object())
    return fail("a model configuration is a JSON object, this is " + shortText(object));
  if (object.contains("hidden_size") && object.contains("dim"))
    return fail("hidden_size and dim: the keys of Hugging Face's and of DeepSeek's style are mixed; keep to one");
  if (object.contains("dim"))
    return parseDeepSeek(object, *notes);
  if (object.contains("model_type") || object.contains("hidden_size"))
    return parseHuggingFace(object, *notes);
  return fail("neither Hugging Face's model_type and hidden_size nor DeepSeek's dim is there; this is no model configuration");
}

/// A configuration is a few kilobytes; more is another file.
static constexpr uint64_t kMaxConfigBytes = 16 << 20;

/// The end tokens of generation_config.json in `dir`, if there is one, joined to those of `config`.
static Result<void> readGenerationConfig(const std::filesystem::path &dir, ModelConfig &config) {
  std::error_code ignored;
  auto file = dir / "generation_config.json";
  if (!std::filesystem::exists(file, ignored))
    return {};
  QUANT_TRY_ASSIGN(auto json, checkpoint::readJsonFile(file, kMaxConfigBytes));
  ObjectReader fields(json);
  std::vector<int64_t> tokens;
  readTokenIds(fields, "eos_token_id", tokens);
  if (!fields.result())
    return tl::unexpected(fields.result().error().in(file.string()));
  for (int64_t token : tokens)
    if (std::ranges::find(config.eosTokenIds, token) == config.eosTokenIds.end())
      config.eosTokenIds.push_back(token);
  return {};
}

Result<ModelConfig> models::loadConfig(const std::filesystem::path &fileOrDir, std::vector<std::string> *notes) {
  std::error_code ignored;
  bool isDir = std::filesystem::is_directory(fileOrDir, ignored);
  auto file = isDir ? fileOrDir / "config.json" : fileOrDir;
  QUANT_TRY_ASSIGN(auto json, checkpoint::readJsonFile(file, kMaxConfigBytes));
  auto config = parseConfig(json, notes);
  if (!config)
    return tl::unexpected(config.error().in(file.string()));
  if (isDir)
    QUANT_TRY(readGenerationConfig(fileOrDir, *config));
  return config;
}
