//===- storage.cpp - how the weights of a configuration are stored --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/storage.h"

#include "models/config/names.h"

#include <algorithm>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

void models::readWeightBlock(ObjectReader &fields, std::array<int64_t, 2> &block) {
  const json *value = fields.find("weight_block_size");
  if (!value)
    return;
  bool pair = value->is_array() && value->size() == 2 && (*value)[0].is_number_integer() && (*value)[1].is_number_integer();
  if (!pair)
    return fields.refuse("weight_block_size", shortText(*value) + " is not two integers, rows and columns");
  // What does not fit i64 wraps to a negative number, which is out of range all the same.
  block = {(*value)[0].get<int64_t>(), (*value)[1].get<int64_t>()};
}

static void readQuantization(ObjectReader &fields, ModelConfig &config) {
  config.dtype = WeightDType::FP8;
  std::string method, format = "e4m3", activations = "dynamic";
  fields.require("quant_method");
  fields.read("quant_method", method);
  if (method != "fp8")
    return fields.refuse("quant_method", "\"" + method + "\" is not supported, only fp8");
  fields.read("fmt", format);
  if (format != "e4m3" && format != "float8_e4m3fn")
    return fields.refuse("fmt", "\"" + format + "\" is not supported, only e4m3");
  fields.read("activation_scheme", activations);
  if (activations != "dynamic")
    return fields.refuse("activation_scheme", "\"" + activations + "\" is not supported, only dynamic");
  if (!fields.find("weight_block_size"))
    return fields.refuse("weight_block_size",
                         "is missing; FP8 with one scale a tensor is not supported, only blocks such as [128, 128]");
  readWeightBlock(fields, config.weightBlock);
  fields.readEnum("scale_fmt", config.scaleFmt, parseScaleFmt);
  // Two names of one list: transformers reads the first, vLLM the second.
  fields.read("modules_to_not_convert", config.modulesNotQuantized);
  std::vector<std::string> ignored;
  fields.read("ignored_layers", ignored);
  for (std::string &module : ignored)
    if (std::ranges::find(config.modulesNotQuantized, module) == config.modulesNotQuantized.end())
      config.modulesNotQuantized.push_back(std::move(module));
}

Result<void> models::readStorage(ObjectReader &fields, ModelConfig &config) {
  std::string dtype = "bfloat16";
  fields.read("torch_dtype", dtype);
  fields.read("dtype", dtype); // the newer name
  if (fields.failed())
    return fields.result();
  if (const json *quantization = fields.find("quantization_config")) {
    if (!quantization->is_object())
      return fail("quantization_config: " + shortText(*quantization) + " is not an object");
    ObjectReader quantizationFields(*quantization, "quantization_config.");
    readQuantization(quantizationFields, config);
    return quantizationFields.result();
  }
  if (dtype != "bfloat16" && dtype != "float32")
    return fail("torch_dtype: \"" + dtype +
                "\" is not supported, only bfloat16 and float32 (FP8 comes with a quantization_config)");
  config.dtype = dtype == "bfloat16" ? WeightDType::BF16 : WeightDType::F32;
  return {};
}
