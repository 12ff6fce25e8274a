//===- tokens.cpp - first and last tokens of a configuration --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/tokens.h"

using namespace quant;
using namespace quant::models;

using nlohmann::json;

void models::readTokenIds(ObjectReader &fields, std::string_view key, std::vector<int64_t> &out) {
  const json *value = fields.find(key);
  if (!value)
    return;
  out.clear();
  if (!value->is_array())
    return fields.read(key, out.emplace_back());
  for (const json &id : *value) {
    std::optional<int64_t> number = wholeNumber(id);
    if (!number)
      return fields.refuse(key, shortText(id) + " in the list is not an integer");
    out.push_back(*number);
  }
}

void models::readTokenIds(ObjectReader &fields, ModelConfig &config) {
  std::vector<int64_t> first;
  readTokenIds(fields, "bos_token_id", first);
  if (!first.empty())
    config.bosTokenId = first.front();
  readTokenIds(fields, "eos_token_id", config.eosTokenIds);
}

json models::tokenIdsJson(const std::vector<int64_t> &ids) { return ids.size() == 1 ? json(ids.front()) : json(ids); }
