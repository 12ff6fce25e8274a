//===- weights.h - the weights that a checkpoint holds ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A checkpoint is a list of tensors, several of which are one weight: codes, scales, zero points. Which belong together is
// decided by their names, as runtime/support/scheme.cpp has them; how they are stored is what config.json says where the tensors
// agree with it, else what they look like themselves: layers that a configuration forgets, files without one.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_WEIGHTS_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_WEIGHTS_H

#include "tools/common/tensor_source.h"
#include "tools/quant-convert/schemes/linear_weight.h"

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace quant::convert {

/// Whether that is the name of packed codes, "X.weight_packed" or "X.qweight".
bool isPacked(std::string_view name);

/// One weight, or a tensor that is none: norms, embeddings, whatever is stored as it is.
struct Weight {
  /// As a checkpoint that is not quantized has it: "X.weight" for "X.weight_packed" and "X.qweight".
  std::string name;
  /// The codes, or the tensor itself.
  const Tensor *tensor;
  /// How to decode it; nothing for what is stored as it is, and for what is broken.
  std::optional<LinearWeight> linear;
  std::optional<LayoutFault> fault;
};

/// The scheme that a configuration gives the linear layer of that name, "model.layers.0.mlp.up_proj"; nothing if it gives none.
using SchemeOfLayer = std::function<std::optional<Scheme>(const std::string &layer)>;
/// What a config.json says, wherever its quantization_config is: a scheme for every layer. None where it is null, or says nothing
/// that is known.
SchemeOfLayer schemesOf(const nlohmann::json &config);

/// The tensors of a checkpoint as weights. Refers to them.
class Weights {
public:
  /// Reads headers and the weight_shape of packed weights, on `threads` threads; no codes and no scales. `source` has tensors()
  /// and find(name), as Checkpoint and TensorSource have.
  template <typename Source>
  static Weights of(const Source &source, const SchemeOfLayer &configured, unsigned threads) {
    return Weights(source.tensors(), [&source](std::string_view name) { return source.find(name); }, configured, threads);
  }

  /// In the order of the names of their tensors.
  const std::vector<Weight> &all() const & { return weights; }
  const std::vector<Weight> &all() const && = delete; // a loop over those of a temporary
  /// The weight of that name, as Weight has it, or null.
  const Weight *find(const std::string &name) const;
  /// What a tensor of the source belongs to.
  const Weight &of(const Tensor &tensor) const { return weights[owners[indexOf(tensor)]]; }
  /// Whether a tensor of the source goes with codes and is none itself: scales, zero points, scales of inputs.
  bool isPart(const Tensor &tensor) const { return of(tensor).tensor != &tensor; }

private:
  using Find = std::function<const Tensor *(std::string_view)>;
  Weights(std::span<const Tensor> tensors, const Find &find, const SchemeOfLayer &configured, unsigned threads);
  size_t indexOf(const Tensor &tensor) const { return static_cast<size_t>(&tensor - first); }

  const Tensor *first;
  std::vector<Weight> weights;
  std::vector<uint32_t> owners; ///< of each tensor of the source
  std::unordered_map<std::string_view, uint32_t> byName;
};

/// Those of a folder or a file, by the config.json that is there, if one is. Fails where that cannot be read.
Result<Weights> readWeights(const tools::TensorSource &source, unsigned threads);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_WEIGHTS_H
