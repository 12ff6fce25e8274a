//===- layers.h - what of a checkpoint is quantized -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_LAYERS_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_LAYERS_H

#include "tools/quant-convert/quantize/policy.h"
#include "tools/quant-convert/quantize/quantize_weight.h"
#include "tools/quant-convert/quantize/quantized_config.h"

namespace quant::convert {

/// "model.layers.3.mlp.up_proj" for "model.layers.3.mlp.up_proj.weight".
std::string moduleOf(std::string_view weight);

/// Linear layers, and how many decoder layers the model has without those of MTP.
struct QuantizableLayers {
  ModuleSet modules;
  int64_t decoderLayers = 0;
};

/// The linear layers that DeepSeek-V3 itself quantizes, and that the checkpoint has. Errors: no config.json that says which,
/// none.
Result<QuantizableLayers> quantizableLayers(const checkpoint::Checkpoint &checkpoint, const Weights &weights);

/// What becomes of a layer whose columns the groups of its scheme do not divide.
enum class Indivisible : uint8_t { Error, Keep, Smaller };
Indivisible parseIndivisible(std::string_view text);

/// The choice as it fits the weight: itself, with smaller groups, or nothing to keep the weight. Errors: it does not fit.
Result<Decision> fitChoice(const SchemeChoice &choice, const Weight &weight, FileLayout layout, Indivisible how);

/// Bytes of the tensors that the weight becomes. @pre fitChoice()
Result<int64_t> storedBytes(const SchemeChoice &choice, const Weight &weight, FileLayout layout);

/// The linear layers of one kind in one decoder layer: they get one scheme, since engines read most of them as one.
struct LayerUnit {
  int64_t layer = 0;
  std::string kind; ///< "attention", "dense", "experts", "shared_experts"
  std::vector<std::string> modules;

  /// "attention of layer 3".
  std::string describe() const;
};

/// By layer and kind.
std::vector<LayerUnit> unitsOf(const ModuleSet &modules);

/// Weights of a unit's layers.
Result<int64_t> parametersOf(const LayerUnit &unit, const Weights &weights);

/// What a policy calls the layers of a kind: "self_attn".
std::string_view patternOfKind(std::string_view kind);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_LAYERS_H
