//===- sensitivities.h - what quantizing a part costs -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_SENSITIVITIES_H
#define QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_SENSITIVITIES_H

#include "tools/quant-convert/quantize/layers.h"

#include <filesystem>

namespace quant::convert {

/// How far the model is from the unquantized one on the text while one unit alone is quantized.
struct UnitCost {
  double divergence = 0;     ///< KL(unquantized || quantized), the mean over the tokens, in nats
  double lossDifference = 0; ///< nats a token
  double standardError = 0;  ///< of lossDifference
  double agreement = 1;      ///< share of positions with the same first choice
};

/// A file of `quant-convert sensitivity`.
struct Sensitivities {
  /// Of one unit, by scheme.
  struct Unit {
    int64_t layer = 0;
    std::string kind;
    int64_t parameters = 0;
    std::map<SchemeChoice, UnitCost> costs;
  };

  std::string fingerprint; ///< of model, text and options
  std::string indivisible; ///< as --indivisible was
  double loss = 0;         ///< of the unquantized model, nats a token
  int64_t tokens = 0, context = 0;
  std::vector<Unit> units;

  /// That of a layer and kind; null if it is not there.
  const Unit *find(int64_t layer, std::string_view kind) const;
  Unit &of(const LayerUnit &unit, int64_t parameters);

  /// Errors: no such file, or none of these; the message names it.
  static Result<Sensitivities> read(const std::filesystem::path &path);
  Result<void> write(const std::filesystem::path &path) const;
  nlohmann::ordered_json json() const;
  /// A table of all units.
  std::string describe() const;
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_SENSITIVITIES_H
