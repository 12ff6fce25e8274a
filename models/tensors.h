//===- tensors.h - the tensors of a checkpoint ------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_TENSORS_H
#define QUANT_MODELS_TENSORS_H

#include "models/config.h"
#include "runtime/support/dtype.h"

#include <cstdint>
#include <string>
#include <vector>

namespace quant::models {

/// What a tensor is for.
enum class TensorRole {
  Embedding, ///< embed_tokens: rows are looked up
  Linear,    ///< a weight [out, in] that is multiplied with; the gate and the heads, too
  Scale,     ///< of a quantized weight: [ceil(out / block rows), ceil(in / block columns)], multiplied with the codes
  ZeroPoint, ///< of a quantized weight, as its scheme packs them
  Norm,      ///< the weight of an RMS norm
  GateBias   ///< e_score_correction_bias
};

/// One tensor of a Hugging Face checkpoint.
struct TensorSpec {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  TensorRole role;
  int64_t layer = -1;  ///< -1: outside the layers
  int64_t expert = -1; ///< of a routed expert
  int64_t values = 0;  ///< numbers it stands for: of packed words the codes in them, else the elements

  int64_t elements() const;
  int64_t bytes() const;
};

/// Every tensor of the model's checkpoint in the Hugging Face layout, in the order of the layers, a weight's scale right
/// behind it. Quantized linear layers are as their scheme says; the others, embeddings and norms are of the type `plain`;
/// e_score_correction_bias is f32. The layers from nLayers on are the MTP layers with their extras.
/// @pre validateConfig(config)
std::vector<TensorSpec> checkpointTensors(const ModelConfig &config);

/// Counts over checkpointTensors(). Parameters are the values of everything but scales.
struct ModelTotals {
  int64_t tensors = 0;
  int64_t bytes = 0;         ///< of all tensors, scales included
  int64_t parameters = 0;    ///< without the MTP layers
  int64_t mtpParameters = 0; ///< of the MTP layers, with their copies of embedding and head
  /// Parameters one token meets, without the MTP layers: of the routed experts the selected ones, of the embedding none
  /// (one row is looked up), everything else whole.
  int64_t activeParameters = 0;
};
ModelTotals totals(const ModelConfig &config);

} // namespace quant::models

#endif // QUANT_MODELS_TENSORS_H
