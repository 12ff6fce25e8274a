//===- scheme_config.h - the scheme that a config.json names ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_SCHEME_CONFIG_H
#define QUANT_RUNTIME_SUPPORT_SCHEME_CONFIG_H

#include "runtime/support/object_reader.h"
#include "runtime/support/scheme.h"

#include <optional>
#include <string>
#include <vector>

namespace quant {

/// What a config.json's `quantization_config` says.
struct QuantizationConfig {
  Scheme scheme; ///< with the block that the file gives
  /// Linear layers that stay as they are: modules_to_not_convert and ignored_layers, or compressed-tensors' `ignore`.
  std::vector<std::string> notQuantized;
};

/// Reads the quantization_config of DeepSeek (quant_method fp8), compressed-tensors, GPTQ and AWQ, and of any other method that a
/// scheme names, with DeepSeek's keys, such as SGLang's blockwise_int8. What
/// is wrong, and a method that is not known, is kept in `fields`; there is no value then. Schemes that are not compiled are read,
/// too.
std::optional<QuantizationConfig> readQuantization(ObjectReader &fields);

/// How the quantized weights of a checkpoint are stored, for tools that look at any: what config.json's quantization_config says,
/// or its weight_block_size where the model is not DeepSeek's; DeepSeek's FP8 where it says nothing. The error names the key.
Result<Scheme> readScheme(const nlohmann::json &config);

/// What readQuantization() reads: the same scheme and layers.
/// @pre the scheme has blocks, and DeepSeek's keys for them: it is none of compressed-tensors, GPTQ, AWQ
nlohmann::json toQuantizationConfig(const QuantizationConfig &config);

/// The most rows or columns that share a scale.
inline constexpr int64_t kMaxBlockSide = 65536;

/// Reads weight_block_size, two integers of 1 .. kMaxBlockSide: rows and columns. Leaves `block` as it is where there is none.
void readWeightBlock(ObjectReader &fields, std::array<int64_t, 2> &block);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_SCHEME_CONFIG_H
