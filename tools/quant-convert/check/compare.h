//===- compare.h - two checkpoints, tensor by tensor ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CHECK_COMPARE_H
#define QUANT_TOOLS_QUANT_CONVERT_CHECK_COMPARE_H

#include "tools/quant-convert/check/compare_metrics.h"

#include <string>
#include <vector>

namespace quant::convert {

/// A tensor that both sides have.
struct TensorComparison {
  std::string name, kind; ///< kind: "mlp.experts.up_proj"
  int64_t layer;          ///< -1: outside the layers
  std::vector<int64_t> shape;
  DType dtypeA, dtypeB;         ///< of the tensors: of the codes where there are some
  std::string schemeA, schemeB; ///< "ct-w4a16"; "" for what is stored as it is
  std::array<int64_t, 2> block; ///< of `metrics.worst`; zeros where it is not asked for
  Metrics metrics;
};

/// A tensor that both sides have, but that cannot be compared.
struct NotCompared {
  std::string name, reason;
};

struct Comparison {
  std::filesystem::path a, b;
  std::vector<TensorComparison> tensors; ///< in the order of their names
  std::vector<std::string> onlyInA, onlyInB;
  std::vector<NotCompared> notCompared;
  uint64_t bytes = 0; ///< read, of both sides
  double seconds = 0;

  /// All tensors, the worst first: those with NaN or Inf on one side only, then by SQNR.
  std::vector<const TensorComparison *> worstFirst() const;
  uint64_t values() const;
};

/// What to compare.
struct CompareOptions {
  std::string a, b;
  std::string tensorPattern; ///< ECMAScript, found anywhere in the name; "" is every tensor
  unsigned threads = 0;
};

/// Compares the values of all weights of the same name, dequantized: "X.weight_packed" is "X.weight". Scales and what else goes
/// with codes are none of their own. Memory does not grow with the checkpoints; the result does not depend on the number of
/// threads.
Result<Comparison> compareCheckpoints(const CompareOptions &options);

/// The median of the SQNR of tensors that differ; NaN when there are none.
double medianSqnr(std::vector<const TensorComparison *> tensors);

/// The sums of several tensors.
Metrics totals(const std::vector<const TensorComparison *> &tensors);

/// Those of each kind, in the order of the kinds' names, the worst first.
std::vector<std::pair<std::string, std::vector<const TensorComparison *>>> byKind(const Comparison &comparison);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_COMPARE_H
