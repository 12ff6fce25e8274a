//===- config_json.cpp - what config.json says of quantization ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/config_json.h"

#include "models/config/scheme_config.h"

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
static void removeQuantization(json &part, const std::string &type) {
  if (part.is_object()) {
    for (const char *key : kQuantizationKeys)
      part.erase(key);
    for (const char *key : {"torch_dtype", "dtype"})
      if (auto found = part.find(key);
          found != part.end() && found->is_string() && found->get_ref<const std::string &>().starts_with("float8"))
        *found = type;
  }
  if (part.is_structured())
    for (json &inner : part)
      removeQuantization(inner, type);
}

json convert::quantizedConfig(json config, const Scheme &scheme, const std::vector<std::string> &notConverted) {
  removeQuantization(config, "bfloat16");
  config["quantization_config"] = toQuantizationConfig(scheme, notConverted);
  return config;
}

json convert::mxfp4Config(json config, const std::vector<std::string> &ignored) {
  removeQuantization(config, "bfloat16");
  json weights = {{"num_bits", 4},     {"type", "float"},  {"strategy", "group"},         {"group_size", 32},
                  {"symmetric", true}, {"dynamic", false}, {"scale_dtype", "torch.uint8"}};
  json group = {{"targets", {"Linear"}}, {"weights", weights}, {"input_activations", nullptr}, {"output_activations", nullptr}};
  config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", "mxfp4-pack-quantized"},
                                   {"quantization_status", "compressed"},
                                   {"config_groups", {{"group_0", group}}},
                                   {"ignore", ignored},
                                   {"kv_cache_scheme", nullptr}};
  return config;
}

json convert::plainConfig(json config, DType dtype) {
  std::string type = dtype == DType::BF16 ? "bfloat16" : "float32";
  removeQuantization(config, type);
  for (const char *key : {"torch_dtype", "dtype"})
    if (config.contains(key))
      config[key] = config[key] == "fp8" ? std::string(mlirName(dtype)) : type; // the first in DeepSeek's own configurations
  if (!config.contains("torch_dtype") && !config.contains("dtype"))
    config["torch_dtype"] = type;
  return config;
}
