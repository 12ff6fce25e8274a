//===- lint_model.h - a checkpoint as the rules of engines see it - C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_MODEL_H
#define QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_MODEL_H

#include "tools/quant-convert/check/lint.h"

#include <map>
#include <optional>
#include <regex>

namespace quant::convert {

/// What the values of a scale are.
struct ScaleFacts {
  uint64_t count = 0, broken = 0, zero = 0; ///< broken: NaN, infinite or negative
  uint64_t notPower = 0;                    ///< no powers of two
  uint64_t rounded = 0;                     ///< that a bf16 does not hold
  double energy = 0, error = 0;             ///< sums of s^2 and (s - bf16(s))^2
};

/// A linear layer.
struct LintModule {
  std::string name;  ///< "model.layers.3.mlp.experts.7.up_proj"
  std::string block; ///< what its layer's modules have in common, "model.layers.3."
  std::string last;  ///< "up_proj"
  bool isRouted;     ///< a routed expert's
  const Weight *weight;
  int64_t rows, columns;
  /// Of the tensors; null for what is stored as it is.
  const Scheme *scheme;
  /// Whether the configuration quantizes it, whatever the tensors are.
  bool isConfigured;
  ScaleFacts scales;

  std::string tensor() const { return weight->tensor->info->name; }
  /// The last part of the name is one of a list.
  bool isOneOf(std::initializer_list<std::string_view> names) const;
};

/// One of compressed-tensors' config_groups.
struct LintGroup {
  std::string name;
  nlohmann::json all, weights, inputs; ///< null where they are missing
  std::vector<std::string> targets;
};

struct LintModel {
  static Result<LintModel> read(const TensorSource &source, const Weights &weights, unsigned threads);

  LintOptions options;
  nlohmann::json config, quantization; ///< the part that counts; null where there is none
  std::string method;
  std::vector<LintGroup> groups;
  std::vector<std::string> ignored;
  std::vector<LintModule> modules; ///< in the order of their names
  std::map<std::string, const LintModule *> byName;
  std::vector<const Weight *> faulty;          ///< weights whose layout is broken
  std::map<std::string, uint64_t> ignoredHits; ///< modules that an entry of `ignored` names

  const LintModule *find(const std::string &name) const;
  /// config.json's integer, or 0.
  int64_t integer(const char *key) const;
  bool hasExperts() const;
  /// Ranks that split an expert: those that do not share experts.
  int64_t expertRanks() const { return std::max<int64_t>(1, options.tp / std::max<int64_t>(1, options.ep)); }
};

/// As engines match a module with an entry of `targets` or `ignore`: its name, `re:` and what Python's re.match finds, or the
/// class Linear. Methods without `re:` have names that stand for all below them.
bool namesModule(const std::string &entry, const std::string &module, bool isCompressedTensors);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_MODEL_H
