//===- mixture.h - a policy within a budget ---------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_MIXTURE_H
#define QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_MIXTURE_H

#include "tools/quant-convert/sensitivity/sensitivities.h"

namespace quant::convert {

/// "4.25bits", for a weight of the layers that can be quantized, scales included; or a size of all tensors, "350GB", "12.5GiB".
struct Budget {
  std::string text;
  double bits = 0;   ///< a weight; 0: `bytes` counts
  int64_t bytes = 0; ///< of all tensors
};
Result<Budget> parseBudget(const std::string &text);

/// What a budget was spent on.
struct Mixture {
  /// One scheme for a kind in a layer.
  struct Part {
    LayerUnit unit;
    Decision decision; ///< nothing: kept
    int64_t parameters = 0, bytes = 0;
    double divergence = 0; ///< as it was measured alone
  };
  std::vector<Part> parts;
  std::string indivisible;     ///< as the sensitivities were measured
  int64_t parameters = 0;      ///< of all parts
  int64_t bytes = 0, rest = 0; ///< of all parts; of all other tensors
  int64_t most = 0;            ///< what the budget allows for the parts
  /// All parts in one scheme, to compare with: those measured everywhere.
  struct Uniform {
    std::string scheme;
    int64_t bytes = 0;
    double divergence = 0;
  };
  std::vector<Uniform> uniform;

  double divergence() const; ///< the sum over the parts
  double bits() const { return 8 * static_cast<double>(bytes) / static_cast<double>(parameters); }
  /// As --policy reads it.
  nlohmann::ordered_json policy() const;
  nlohmann::ordered_json json() const;
  /// What was chosen, and why, in lines.
  std::string describe() const;
};

/// The mixture of the measured schemes, and of keeping weights as they are, whose divergences, each measured alone, sum up to the
/// least within the budget (leastLoss()). Layers that were not measured (MTP's) get what the last measured layer of their kind
/// gets. Errors: sensitivities of another model, a budget that nothing fits.
Result<Mixture> chooseMixture(const Budget &budget, const Sensitivities &sensitivities, const QuantizableLayers &layers,
                              const Weights &weights, FileLayout layout);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_MIXTURE_H
