//===- stored.h - tensors that are stored and that nothing reads -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_STORED_H
#define QUANT_MODELS_STORED_H

#include "models/config.h"
#include "runtime/support/result.h"

#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant::models {

/// Why a stored tensor is not read.
struct UnreadTensor {
  bool refused;     ///< the model that the checkpoint holds computes with it, so that without it the result is another
  std::string what; ///< of which kind it is, one or two words for machines and for counting: "inv_freq"
  std::string why;  ///< a sentence behind the tensor's name, with the key of the configuration that denies it
};

/// The names of a checkpoint's tensors beside its configuration.
class StoredTensors {
public:
  /// `names` of all tensors; they need not outlive this.
  StoredTensors(const ModelConfig &config, std::span<const std::string_view> names);

  /// Nothing when the model reads the tensor `name`, or it is a part of how such a one is stored (scales, zero points).
  std::optional<UnreadTensor> unread(std::string_view name) const;

private:
  std::optional<UnreadTensor> beyondLayers(int64_t layer) const;
  std::optional<UnreadTensor> denied(std::string_view name) const;
  std::optional<UnreadTensor> unreadStorage(std::string_view name) const;

  const ModelConfig &config;
  std::set<std::string, std::less<>> known, modules;
  std::set<int64_t> mtpLayers; ///< by the tensors that only they have
};

/// What a user should know of the tensors of `names` that nothing reads: a sentence for each kind. Fails with the first, in the
/// order of `names`, that the model needs.
Result<std::vector<std::string>> checkStored(const ModelConfig &config, std::span<const std::string_view> names);

} // namespace quant::models

#endif // QUANT_MODELS_STORED_H
