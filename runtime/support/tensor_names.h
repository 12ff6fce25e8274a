//===- tensor_names.h - what names of tensors say ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_TENSOR_NAMES_H
#define QUANT_RUNTIME_SUPPORT_TENSOR_NAMES_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quant {

/// What stands behind the last dot: "weight".
std::string_view lastPart(std::string_view name);
/// What stands before it: "model.layers.0.mlp.up_proj".
std::string_view moduleOf(std::string_view name);
/// Whether `part` is one of its dotted parts.
bool hasPart(std::string_view name, std::string_view part);
/// The number behind `part`, "layers" or "experts"; -1 when there is none.
int64_t numberBehind(std::string_view name, std::string_view part);
/// Whether only MTP layers have such a tensor (README_WEIGHTS.md of DeepSeek-V3).
bool isOfMtpLayer(std::string_view name);

/// Whether a last part says how a weight is stored: "weight_scale_inv", "weight_packed", "input_scale", "weight_zero_point".
bool isStorage(std::string_view part);
/// What such a part adds to codes and their scales, so that without it the weight is another: "zero points are"; else "".
std::string_view changeOfWeight(std::string_view part);

/// The codes whose columns that tensor orders: "X.qweight" for "X.g_idx", "X.weight_packed" for "X.weight_g_idx"; else "".
std::string codesOfOrder(std::string_view name);

/// A tensor that no model of the family reads, and why it does not matter.
struct HarmlessTensor {
  std::string_view what; ///< of which kind it is, one or two words for machines and for counting: "inv_freq"
  std::string_view why;  ///< a sentence behind the tensor's name
};
/// Buffers that are computed, other towers, scales of a quantized cache.
std::optional<HarmlessTensor> harmlessTensor(std::string_view name);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_TENSOR_NAMES_H
