//===- index.cpp - the index of a sharded checkpoint ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/index.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

namespace quant::checkpoint {

using Json = nlohmann::json;

bool isPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

static Result<void> checkMetadata(const Json &index) {
  auto metadata = index.find("metadata");
  if (metadata == index.end())
    return {};
  if (!metadata->is_object())
    return fail("metadata must be an object, found " + std::string(metadata->type_name()));
  auto size = metadata->find("total_size");
  if (size != metadata->end() && !size->is_number())
    return fail("metadata.total_size must be a number of bytes, found " + std::string(size->type_name()));
  return {};
}

Result<WeightMap> parseIndex(std::string_view text) {
  QUANT_TRY_ASSIGN(auto index, parseJsonStrict(text));
  if (!index.is_object())
    return fail("index must be an object, found " + std::string(index.type_name()));
  QUANT_TRY(checkMetadata(index));
  auto map = index.find("weight_map");
  if (map == index.end())
    return fail("weight_map is missing");
  if (!map->is_object())
    return fail("weight_map must be an object from tensor to file, found " + std::string(map->type_name()));
  if (map->empty())
    return fail("weight_map names no tensor");
  WeightMap weights;
  for (auto &[tensor, file] : map->get_ref<Json::object_t &>()) {
    if (!file.is_string())
      return fail(fmt::format("weight_map: tensor {} must name a file, found {}", quote(tensor), file.type_name()));
    auto &name = file.get_ref<std::string &>();
    if (!isPlainFileName(name))
      return fail(fmt::format("weight_map: tensor {} is in {}, which is not the plain name of a file in the checkpoint's folder",
                              quote(tensor), quote(name)));
    weights.emplace_hint(weights.end(), tensor, std::move(name));
  }
  return weights;
}

} // namespace quant::checkpoint
