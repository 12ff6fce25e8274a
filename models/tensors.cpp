//===- tensors.cpp - the tensors of a checkpoint --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/tensors.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::models;

int64_t TensorSpec::elements() const {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

int64_t TensorSpec::bytes() const { return elements() * bitWidth(dtype) / 8; }

namespace {

/// Lists the tensors, one module after the other.
class Inventory {
public:
  explicit Inventory(const ModelConfig &config) : config(config) {}

  std::vector<TensorSpec> list();

private:
  void add(std::string name, DType dtype, std::vector<int64_t> shape, TensorRole role) {
    tensors.push_back({std::move(name), dtype, std::move(shape), role, layer, expert});
    tensors.back().values = tensors.back().elements();
  }
  void norm(const std::string &module, int64_t size) { add(module + ".weight", config.plain, {size}, TensorRole::Norm); }
  /// A linear layer that is never quantized.
  void plainLinear(const std::string &module, int64_t out, int64_t in) {
    add(module + ".weight", config.plain, {out, in}, TensorRole::Linear);
  }
  void embedding(const std::string &module) {
    add(module + ".weight", config.plain, {config.vocabSize, config.dim}, TensorRole::Embedding);
  }
  void linear(const std::string &module, int64_t out, int64_t in);
  void attention(const std::string &module);
  void feedForward(const std::string &module, int64_t width);
  void experts(const std::string &module);
  void decoderLayer(const std::string &module);
  void mtpExtras(const std::string &module);

  const ModelConfig &config;
  std::vector<TensorSpec> tensors;
  int64_t layer = -1, expert = -1;
};

void Inventory::linear(const std::string &module, int64_t out, int64_t in) {
  const Scheme *scheme = config.quantization.schemeOf(module);
  if (!scheme)
    return plainLinear(module, out, in);
  std::string data = module + std::string(scheme->suffixes.data);
  StoredShape codes = storedCodes(*scheme, out, in);
  add(data, codes.dtype, codes.shape, TensorRole::Linear);
  tensors.back().values = out * in;
  StoredShape scale = storedScales(*scheme, out, in);
  add(scaleNameOf(*scheme, data), scale.dtype, scale.shape, TensorRole::Scale);
  if (scheme->hasGlobalScale())
    add(module + std::string(scheme->suffixes.globalScale), DType::F32, {1}, TensorRole::Scale);
  if (scheme->zeroPoints != ZeroPoints::None) {
    StoredShape zeros = storedZeros(*scheme, out, in);
    add(module + std::string(scheme->suffixes.zeroPoint), zeros.dtype, zeros.shape, TensorRole::ZeroPoint);
  }
}

void Inventory::attention(const std::string &module) {
  int64_t queryRows = config.nHeads * config.qkHeadDim();
  if (config.qLoraRank > 0) {
    linear(module + ".q_a_proj", config.qLoraRank, config.dim);
    norm(module + ".q_a_layernorm", config.qLoraRank);
    linear(module + ".q_b_proj", queryRows, config.qLoraRank);
  } else {
    linear(module + ".q_proj", queryRows, config.dim);
  }
  linear(module + ".kv_a_proj_with_mqa", config.kvLoraRank + config.qkRopeHeadDim, config.dim);
  norm(module + ".kv_a_layernorm", config.kvLoraRank);
  linear(module + ".kv_b_proj", config.nHeads * (config.qkNopeHeadDim + config.vHeadDim), config.kvLoraRank);
  linear(module + ".o_proj", config.dim, config.nHeads * config.vHeadDim);
}

void Inventory::feedForward(const std::string &module, int64_t width) {
  linear(module + ".gate_proj", width, config.dim);
  linear(module + ".up_proj", width, config.dim);
  linear(module + ".down_proj", config.dim, width);
}

void Inventory::experts(const std::string &module) {
  plainLinear(module + ".gate", config.nRoutedExperts, config.dim);
  if (config.hasGateBias())
    add(module + ".gate.e_score_correction_bias", DType::F32, {config.nRoutedExperts}, TensorRole::GateBias);
  for (expert = 0; expert < config.nRoutedExperts; ++expert)
    feedForward(fmt::format("{}.experts.{}", module, expert), config.moeInterDim);
  expert = -1;
  if (config.nSharedExperts > 0)
    feedForward(module + ".shared_experts", config.nSharedExperts * config.moeInterDim);
}

void Inventory::decoderLayer(const std::string &module) {
  norm(module + ".input_layernorm", config.dim);
  attention(module + ".self_attn");
  norm(module + ".post_attention_layernorm", config.dim);
  if (config.isMoeLayer(layer))
    experts(module + ".mlp");
  else
    feedForward(module + ".mlp", config.interDim);
}

/// What an MTP layer has beyond a decoder layer (README_WEIGHTS.md of DeepSeek-V3), never quantized.
void Inventory::mtpExtras(const std::string &module) {
  embedding(module + ".embed_tokens");
  norm(module + ".enorm", config.dim);
  norm(module + ".hnorm", config.dim);
  plainLinear(module + ".eh_proj", config.dim, 2 * config.dim);
  norm(module + ".shared_head.norm", config.dim);
  plainLinear(module + ".shared_head.head", config.vocabSize, config.dim);
}

std::vector<TensorSpec> Inventory::list() {
  embedding("model.embed_tokens");
  for (layer = 0; layer < config.nLayers + config.nMtpLayers; ++layer) {
    std::string module = fmt::format("model.layers.{}", layer);
    decoderLayer(module);
    if (layer >= config.nLayers)
      mtpExtras(module);
  }
  layer = -1;
  norm("model.norm", config.dim);
  if (!config.tieWordEmbeddings)
    plainLinear("lm_head", config.vocabSize, config.dim);
  return std::move(tensors);
}

} // namespace

std::vector<TensorSpec> models::checkpointTensors(const ModelConfig &config) { return Inventory(config).list(); }

ModelTotals models::totals(const ModelConfig &config) {
  ModelTotals totals;
  for (const TensorSpec &tensor : checkpointTensors(config)) {
    ++totals.tensors;
    totals.bytes += tensor.bytes();
    if (tensor.role == TensorRole::Scale || tensor.role == TensorRole::ZeroPoint)
      continue;
    if (tensor.layer >= config.nLayers) {
      totals.mtpParameters += tensor.values;
      continue;
    }
    totals.parameters += tensor.values;
    bool tiedHead = tensor.role == TensorRole::Embedding && config.tieWordEmbeddings;
    if (tensor.expert < config.nActivatedExperts && (tensor.role != TensorRole::Embedding || tiedHead))
      totals.activeParameters += tensor.values;
  }
  return totals;
}
