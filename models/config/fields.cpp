//===- fields.cpp - the fields of a model configuration, as tables --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/fields.h"

using namespace quant;
using namespace quant::models;

std::string FieldNames::operator()(std::string_view deepSeekName) const {
  std::string_view found = deepSeekName;
  if (style == NameStyle::HuggingFace) {
    for (const auto &field : kIntFields)
      if (field.deepSeek == deepSeekName && !field.huggingFace.empty())
        found = field.huggingFace;
    for (const auto &field : kRealFields)
      if (field.deepSeek == deepSeekName)
        found = field.huggingFace;
    if (deepSeekName == "score_func")
      found = "scoring_func";
    if (deepSeekName == "rope_attention_factor")
      found = "@attention_factor";
    if (deepSeekName == "weight_block_size" || deepSeekName == "modules_to_not_convert")
      return "quantization_config." + std::string(deepSeekName);
  }
  return found.starts_with('@') ? std::string(ropeObject) + "." + std::string(found.substr(1)) : std::string(found);
}
