//===- stored.cpp - tensors that are stored and that nothing reads --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/stored.h"

#include "models/tensors.h"
#include "runtime/support/tensor_names.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <map>

using namespace quant;
using namespace quant::models;

//===----------------------------------------------------------------------===//
// Kinds
//===----------------------------------------------------------------------===//

StoredTensors::StoredTensors(const ModelConfig &config, std::span<const std::string_view> names) : config(config) {
  for (TensorSpec &tensor : checkpointTensors(config)) {
    modules.insert(std::string(moduleOf(tensor.name)));
    known.insert(std::move(tensor.name));
  }
  for (std::string_view name : names)
    if (isOfMtpLayer(name))
      mtpLayers.insert(numberBehind(name, "layers"));
}

static UnreadTensor missed(std::string_view of) {
  return {true, "unknown",
          fmt::format("is of a {}, and nothing reads it: the model that was saved computes with something that this one has not",
                      of)};
}

/// A tensor of layer `layer`, which the configuration does not have.
std::optional<UnreadTensor> StoredTensors::beyondLayers(int64_t layer) const {
  if (mtpLayers.contains(layer))
    return UnreadTensor{false, "MTP layer", "is of an MTP layer that num_nextn_predict_layers does not count, and is not read"};
  return UnreadTensor{true, "layer", fmt::format("is stored, but num_hidden_layers is {}", config.nLayers)};
}

/// A tensor of the layers that the configuration says the model does not have.
std::optional<UnreadTensor> StoredTensors::denied(std::string_view name) const {
  auto refuse = [](const char *what, std::string why) { return UnreadTensor{true, what, std::move(why)}; };
  if (hasPart(name, "indexer"))
    return refuse("indexer", "is of the indexer of DeepSeek's sparse attention (V3.2, index_topk), which is not supported: dense "
                             "attention is another function");
  if (hasPart(name, "shared_experts") && config.nSharedExperts == 0)
    return refuse("shared expert", "is stored, but n_shared_experts says that there is no shared expert");
  if (config.qLoraRank == 0 && (hasPart(name, "q_a_proj") || hasPart(name, "q_b_proj") || hasPart(name, "q_a_layernorm")))
    return refuse("q_a", "is stored, but q_lora_rank says that queries have no low rank");
  if (config.qLoraRank > 0 && hasPart(name, "q_proj"))
    return refuse("q_proj",
                  fmt::format("is stored, but q_lora_rank is {}, with which there is none; null means q_proj", config.qLoraRank));
  if (lastPart(name) == "e_score_correction_bias" && !config.hasGateBias())
    return refuse("gate bias", "is stored, but scoring_func is softmax and topk_method not noaux_tc, which have no gate bias");
  if (int64_t expert = numberBehind(name, "experts"); expert >= config.nRoutedExperts && config.hasMoe())
    return refuse("expert", fmt::format("is stored, but n_routed_experts is {}", config.nRoutedExperts));
  return missed("layer");
}

/// A part of how a weight that is read is stored. The order of columns is checked where the codes are read.
std::optional<UnreadTensor> StoredTensors::unreadStorage(std::string_view name) const {
  std::string_view part = lastPart(name), change = changeOfWeight(part);
  if (change.empty() || known.contains(codesOfOrder(name)))
    return std::nullopt;
  return UnreadTensor{true, std::string(part),
                      fmt::format("is stored, but {} no part of the scheme {}, and without it the weight is another", change,
                                  config.quantization.mainScheme().name)};
}

std::optional<UnreadTensor> StoredTensors::unread(std::string_view name) const {
  if (known.contains(name))
    return std::nullopt;
  if (auto harmless = harmlessTensor(name))
    return UnreadTensor{false, std::string(harmless->what), std::string(harmless->why)};
  bool ofKnown = modules.contains(moduleOf(name));
  if (ofKnown && isStorage(lastPart(name)))
    return unreadStorage(name);
  if (name == "lm_head.weight")
    return UnreadTensor{false, "lm_head", "is not read, because tie_word_embeddings is true"};
  int64_t layer = numberBehind(name, "layers");
  if (layer < 0 && ofKnown)
    return missed("module that is computed");
  if (layer < 0)
    return UnreadTensor{false, "unknown", "is not among the tensors of config.json, and is not read"};
  return layer >= config.nLayers + config.nMtpLayers ? beyondLayers(layer) : denied(name);
}

//===----------------------------------------------------------------------===//
// All of a checkpoint
//===----------------------------------------------------------------------===//

Result<std::vector<std::string>> models::checkStored(const ModelConfig &config, std::span<const std::string_view> names) {
  struct Kind {
    std::string_view first;
    std::string why;
    size_t count = 0;
  };
  StoredTensors stored(config, names);
  std::map<std::string, Kind> kinds;
  for (std::string_view name : names) {
    auto unread = stored.unread(name);
    if (!unread)
      continue;
    if (unread->refused)
      return fail(fmt::format("tensor {} {}", quote(name), unread->why));
    Kind &kind = kinds[unread->what];
    if (kind.count++ == 0)
      kind = {name, unread->why, 1};
  }
  std::vector<std::string> notes;
  for (const auto &[what, kind] : kinds)
    notes.push_back(fmt::format("tensor {} {}{}", quote(kind.first), kind.why,
                                kind.count > 1 ? fmt::format("; {} of this kind", kind.count) : ""));
  return notes;
}
