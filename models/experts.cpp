//===- experts.cpp - are all routed experts stored alike? -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/experts.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

using namespace quant;
using namespace quant::models;
using checkpoint::TensorInfo;

namespace {

/// A name such as "model.layers.3.mlp.experts.7.up_proj.weight" at its expert's number.
struct ExpertName {
  std::string_view before, after; ///< "model.layers.3.mlp.experts.", ".up_proj.weight"
  int64_t layer = -1, expert = -1;
};

/// The tensors of the experts of one layer that have one `after`, by their expert.
using Family = std::map<int64_t, const TensorInfo *>;

} // namespace

static constexpr std::string_view kExperts = ".experts.", kLayers = "layers.";

static std::optional<ExpertName> splitName(std::string_view name) {
  size_t at = name.find(kExperts), layers = name.find(kLayers);
  if (at == name.npos || layers == name.npos)
    return std::nullopt;
  ExpertName split;
  std::from_chars(name.data() + layers + kLayers.size(), name.data() + at, split.layer);
  const char *number = name.data() + at + kExperts.size();
  auto [end, error] = std::from_chars(number, name.data() + name.size(), split.expert);
  if (error != std::errc() || split.layer < 0)
    return std::nullopt;
  split.before = name.substr(0, at + kExperts.size());
  split.after = name.substr(static_cast<size_t>(end - name.data()));
  return split;
}

static std::string typeText(const TensorInfo &tensor) {
  return fmt::format("{} {}", safetensorsName(tensor.dtype), shapeList(tensor.shape));
}

static Result<void> checkFamily(const std::string &before, const std::string &after, const Family &family, int64_t experts) {
  const TensorInfo &first = *family.begin()->second;
  for (int64_t expert = 0; expert < experts; ++expert) {
    auto found = family.find(expert);
    if (found == family.end())
      return fail(fmt::format("tensor {} is missing, the model has {} experts in that layer; is the download complete?",
                              quote(fmt::format("{}{}{}", before, expert, after)), experts));
    const TensorInfo &tensor = *found->second;
    if (tensor.dtype != first.dtype || tensor.shape != first.shape)
      return fail(
          fmt::format("tensor {} is {}, but {} is {}: the experts of a layer must be stored alike; convert them to one dtype",
                      quote(tensor.name), typeText(tensor), quote(first.name), typeText(first)));
  }
  return {};
}

Result<void> models::checkExperts(const checkpoint::Checkpoint &checkpoint, int64_t experts, int64_t layers) {
  std::map<std::pair<std::string, std::string>, Family> families;
  for (const auto &tensor : checkpoint.tensors())
    if (auto name = splitName(tensor.info->name); name && name->layer < layers)
      families[{std::string(name->before), std::string(name->after)}][name->expert] = tensor.info;
  for (const auto &[name, family] : families)
    QUANT_TRY(checkFamily(name.first, name.second, family, experts));
  return {};
}
