//===- scheme_choice.h - --scheme, and what it means ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_SCHEME_CHOICE_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_SCHEME_CHOICE_H

#include "runtime/support/scheme.h"

#include <nlohmann/json.hpp>

#include <compare>
#include <string>
#include <vector>

namespace quant::convert {

/// Whose layout a checkpoint has: "compressed-tensors", "gptq", "gptq_v2", "deepseek".
enum class FileLayout : uint8_t { CompressedTensors, Gptq, GptqV2, DeepSeek };
Result<FileLayout> parseFileLayout(const std::string &text);
std::string layoutNames();

/// What somebody asks for: a name, and what a group is where the scheme has groups.
struct SchemeChoice {
  std::string name;      ///< "w4a16"
  int64_t groupSize = 0; ///< columns; 0: the scheme's own, -1: whole rows
  bool zeroPoints = false;

  /// "w4a16:32:zero-points", as parseChoice() reads it.
  std::string text() const;
  auto operator<=>(const SchemeChoice &) const = default;
};

/// A choice in a layout.
struct Target {
  SchemeChoice choice;
  Scheme scheme;                  ///< with its block
  bool zeroPoints;                ///< of the codes: GPTQ's files have them, symmetric or not
  std::string format;             ///< compressed-tensors' name of the layout: "pack-quantized"
  nlohmann::json weights, inputs; ///< compressed-tensors' arguments

  /// "w4a16 in groups of 128 with zero points".
  std::string describe() const;
  /// Whether the checkpoint holds a scale of the layer's inputs, which takes a calibration.
  bool hasInputScale() const { return scheme.activations == ActivationScheme::StaticScale; }
  bool operator==(const Target &other) const { return choice == other.choice; }
};

/// NAME[:GROUP SIZE][:zero-points]. Errors: another text, or a choice that compressed-tensors' layout does not hold.
Result<SchemeChoice> parseChoice(const std::string &text);

/// Errors: an unknown name, a group size or zero points that the scheme has not, a layout that does not hold it.
Result<Target> chooseTarget(SchemeChoice choice, FileLayout layout);

/// "w8a8, w8a16, ...".
std::string schemeNames();

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_SCHEME_CHOICE_H
