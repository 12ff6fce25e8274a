//===- config_json.cpp - what config.json says of quantization ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/config_json.h"

#include "runtime/support/scheme_config.h"

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

/// What says how weights are quantized; the second as older compressed-tensors have it.
static constexpr const char *kQuantizationKeys[] = {"quantization_config", "compression_config"};

const json &convert::quantizedPart(const json &config) {
  auto found = config.find("quantization_config");
  if (found != config.end() && !found->is_null())
    return config;
  for (const json &part : config)
    if (part.is_object())
      if (const json &inner = quantizedPart(part); inner.contains("quantization_config"))
        return inner;
  return config;
}

/// Takes every key out that says how weights are quantized, and the type FP8 of weights.
static void removeQuantization(json &part) {
  if (part.is_object()) {
    for (const char *key : kQuantizationKeys)
      part.erase(key);
    for (const char *key : {"torch_dtype", "dtype"})
      if (auto type = part.find(key);
          type != part.end() && type->is_string() && type->get_ref<const std::string &>().starts_with("float8"))
        *type = "bfloat16";
  }
  if (part.is_structured())
    for (json &inner : part)
      removeQuantization(inner);
}

json convert::quantizedConfig(json config, const Scheme &scheme, const std::vector<std::string> &notConverted) {
  removeQuantization(config);
  config["quantization_config"] = toQuantizationConfig({scheme, notConverted});
  return config;
}

json convert::plainConfig(json config) {
  removeQuantization(config);
  for (const char *key : {"torch_dtype", "dtype"})
    if (config.contains(key))
      config[key] = config[key] == "fp8" ? "bf16" : "bfloat16"; // the first in DeepSeek's own configurations
  if (!config.contains("torch_dtype") && !config.contains("dtype"))
    config["torch_dtype"] = "bfloat16";
  return config;
}
