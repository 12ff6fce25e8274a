//===- storage.cpp - how the weights of a configuration are stored --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/storage.h"

#include "models/config/scheme_config.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

/// A scheme of the list that is compiled. ModelArgs knows FP8 alone, and no name for it.
static Result<Scheme> parseScheme(std::string_view text) {
  const Scheme *scheme = findScheme(text);
  if (scheme && scheme->compiled)
    return *scheme;
  return fail(fmt::format("\"{}\" is not supported, only {}", text, compiledSchemes()));
}

/// scale_fmt, scheme and weight_block_size.
static Scheme readOwnScheme(ObjectReader &fields) {
  ScaleFmt scaleFmt = ScaleFmt::None;
  fields.readEnum("scale_fmt", scaleFmt, parseScaleFmt);
  Scheme scheme = deepSeekFp8(scaleFmt);
  fields.readEnum("scheme", scheme, parseScheme);
  scheme.scaleFmt = scaleFmt;
  readWeightBlock(fields, scheme.block);
  return scheme;
}

/// What toJson() writes where layers are stored in several ways, or where not all are quantized.
static void readOwnGroups(ObjectReader &fields, const json &list, std::vector<SchemeGroup> &groups) {
  groups.clear();
  for (const json &group : list.is_array() ? list : json::array({list})) {
    ObjectReader reader(group);
    Scheme scheme = readOwnScheme(reader);
    groups.push_back({{}, scheme});
    reader.read("targets", groups.back().targets);
    if (reader.failed())
      fields.refuse("scheme_groups", reader.result().error().message);
  }
}

void models::readDeepSeekStorage(ObjectReader &fields, ModelConfig &config) {
  std::string dtype = "bf16";
  fields.read("dtype", dtype);
  if (dtype != "bf16" && dtype != "fp8" && dtype != "f32" && dtype != "f16")
    fields.refuse("dtype", fmt::format("\"{}\" is not supported, only bf16, fp8, f32, f16", dtype));
  config.plain = dtype == "f32" ? DType::F32 : dtype == "f16" ? DType::F16 : DType::BF16;
  Scheme scheme = readOwnScheme(fields);
  if (dtype == "fp8")
    config.quantization.groups = everyLinear(scheme);
  if (const json *groups = fields.find("scheme_groups"))
    readOwnGroups(fields, *groups, config.quantization.groups);
  fields.read("modules_to_not_convert", config.quantization.notQuantized);
}

/// A scheme that is known and not compiled is refused by its name.
static void readCompiledScheme(ObjectReader &fields, ModelConfig &config) {
  std::optional<QuantizationConfig> quantization = readQuantization(fields);
  if (!quantization)
    return;
  for (const auto &[targets, scheme] : quantization->groups)
    if (!scheme.compiled)
      fields.refuse("quant_method",
                    fmt::format("{} ({}) is not compiled yet, only {}", scheme.name, scheme.describe, compiledSchemes()));
  config.quantization = std::move(*quantization);
}

Result<void> models::readStorage(ObjectReader &fields, ModelConfig &config) {
  std::string dtype = "bfloat16", older;
  fields.read("torch_dtype", older);
  if (!older.empty())
    dtype = older;
  fields.read("dtype", dtype); // the newer name
  if (!older.empty() && dtype != older)
    fields.refuse("dtype",
                  fmt::format("{} contradicts torch_dtype {}; one of them is enough", shortText(dtype), shortText(older)));
  if (fields.failed())
    return fields.result();
  if (const json *quantization = fields.find("quantization_config")) {
    if (!quantization->is_object())
      return fail("quantization_config: " + shortText(*quantization) + " is not an object");
    ObjectReader quantizationFields(*quantization, "quantization_config.");
    readCompiledScheme(quantizationFields, config);
    return quantizationFields.result();
  }
  if (dtype != "bfloat16" && dtype != "float32" && dtype != "float16")
    return fail("torch_dtype: \"" + dtype +
                "\" is not supported, only bfloat16, float32 and float16 (FP8 comes with a quantization_config)");
  config.plain = dtype == "bfloat16" ? DType::BF16 : dtype == "float16" ? DType::F16 : DType::F32;
  return {};
}
