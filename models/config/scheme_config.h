//===- scheme_config.h - the scheme that a config.json names ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_CONFIG_SCHEME_CONFIG_H
#define QUANT_MODELS_CONFIG_SCHEME_CONFIG_H

#include "runtime/support/object_reader.h"
#include "runtime/support/scheme.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quant {

/// What begins the expressions among targets and layers that are ignored, and the target that is every linear layer.
inline constexpr std::string_view kExpression = "re:", kEveryLinear = "Linear";

/// Linear layers that are stored alike. A target is a layer's name, "re:" and an expression that matches from the name's
/// beginning, or "Linear", which is every layer.
struct SchemeGroup {
  std::vector<std::string> targets;
  Scheme scheme; ///< with the block that the file gives
  bool operator==(const SchemeGroup &) const = default;
};

/// One scheme for all layers.
std::vector<SchemeGroup> everyLinear(const Scheme &scheme);

/// What a config.json's `quantization_config` says.
struct QuantizationConfig {
  /// In the file's order. One for all layers but with compressed-tensors, whose config_groups may be several.
  std::vector<SchemeGroup> groups;
  /// Linear layers that stay as they are: modules_to_not_convert and ignored_layers, or compressed-tensors' `ignore`.
  std::vector<std::string> notQuantized;
  bool operator==(const QuantizationConfig &) const = default;

  /// The only scheme, or the first group's, by which a checkpoint is called; DeepSeek's FP8 where nothing is quantized.
  Scheme mainScheme() const;
  /// How the linear layer `module` ("model.layers.3.mlp.experts.7.up_proj", without ".weight") is stored. Null: as it was,
  /// because an entry of notQuantized names it or no target does. An entry names a module when its dotted parts are a run of the
  /// module's parts ("kv_b_proj", "model.layers.3", "mlp.shared_experts"), a part `*` standing for any one part, or when it is
  /// "re:" and an expression that matches from the name's beginning. Of targets, a layer's own name counts before expressions,
  /// and these before "Linear" (compressed-tensors, utils/match.py).
  const Scheme *schemeOf(std::string_view module) const;
  /// Error: an expression of notQuantized or of a group's targets is none. It must have been asked for before schemeOf().
  Result<void> checkExpressions() const;
};

/// Reads the quantization_config of DeepSeek (quant_method fp8), compressed-tensors, GPTQ and AWQ, and of any other method that a
/// scheme names, with DeepSeek's keys, such as SGLang's blockwise_int8. What is wrong, and a method that is not known, is kept in
/// `fields`; there is no value then. Schemes that are not compiled are read, too.
std::optional<QuantizationConfig> readQuantization(ObjectReader &fields);

/// How the quantized weights of a checkpoint are stored, for tools that look at any: what config.json's quantization_config says,
/// or its weight_block_size where the model is not DeepSeek's; DeepSeek's FP8 where it says nothing. The error names the key.
Result<QuantizationConfig> readSchemes(const nlohmann::json &config);
/// Its main scheme.
Result<Scheme> readScheme(const nlohmann::json &config);

/// What readQuantization() reads: that scheme for all layers but those of `notQuantized`.
/// @pre the scheme has blocks, and DeepSeek's keys for them: it is none of compressed-tensors, GPTQ, AWQ
nlohmann::json toQuantizationConfig(const Scheme &scheme, const std::vector<std::string> &notQuantized);

/// The most rows or columns that share a scale.
inline constexpr int64_t kMaxBlockSide = 65536;

/// Reads weight_block_size, two integers of 1 .. kMaxBlockSide: rows and columns. Leaves `block` as it is where there is none.
void readWeightBlock(ObjectReader &fields, std::array<int64_t, 2> &block);

} // namespace quant

#endif // QUANT_MODELS_CONFIG_SCHEME_CONFIG_H
