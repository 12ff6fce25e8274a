//===- inspect.h - what is in a checkpoint, and what is wrong ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CHECK_INSPECT_H
#define QUANT_TOOLS_QUANT_CONVERT_CHECK_INSPECT_H

#include "models/tensors.h"
#include "tools/common/tensor_source.h"
#include "tools/quant-convert/schemes/weights.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace quant::convert {

/// Something that a user has to know of one tensor ("" for the whole). A broken checkpoint has problems that are errors.
struct Problem {
  bool error;
  std::string kind; ///< one word or two for machines: "missing_scale"
  std::string tensor;
  std::string message; ///< without the tensor's name
};

/// Tensors that differ in the numbers of their names only.
struct TensorKind {
  std::string name; ///< "model.layers.*.mlp.experts.*.up_proj.weight"
  DType dtype;
  std::vector<int64_t> shape;
  std::optional<std::vector<int64_t>> scaleShape;
  std::string scheme; ///< "ct-w4a16"; "" for what is stored as it is
  /// Of codes and all that goes with them; elements are those of the weights, however many the words have room for.
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

/// The weights of one scheme.
struct SchemeTotals {
  uint64_t weights = 0, elements = 0, bytes = 0;

  double bitsPerWeight() const { return elements == 0 ? 0 : 8.0 * double(bytes) / double(elements); }
};

struct DTypeTotals {
  uint64_t tensors = 0, elements = 0, bytes = 0;
};

struct LayerTotals {
  std::vector<int64_t> dense, moe, mtp; ///< numbers of the layers
  int64_t routedExperts = 0;            ///< most in a layer
};

struct ScaleTotals {
  uint64_t tensors = 0, blocks = 0;
  uint64_t nan = 0, inf = 0, zero = 0, negative = 0;
  std::optional<double> min, max; ///< of the positive finite ones
};

/// What only a look at every byte tells.
struct ValueTotals {
  uint64_t bytes = 0, fp8NaN = 0, zeroBlocks = 0, nan = 0, inf = 0;
  double seconds = 0;
};

struct Inspection {
  std::filesystem::path path;
  uint64_t files = 0, tensors = 0, bytes = 0;
  std::optional<models::ModelConfig> config;
  std::string configNote;   ///< why there is no config
  std::string quantMethod;  ///< of config.json's quantization_config; "" if there is none
  SchemeOfLayer configured; ///< how config.json says that weights are stored; null where it says nothing
  std::shared_ptr<const Weights> weights;
  std::map<DType, DTypeTotals> dtypes;
  std::map<std::string, SchemeTotals> schemes; ///< of the quantized weights, by the schemes' names
  std::vector<TensorKind> kinds;
  uint64_t stored = 0; ///< parameters in the files: elements of all but scales and what else goes with codes
  std::optional<models::ModelTotals> totals; ///< what the config says
  LayerTotals layers;
  ScaleTotals scales;
  std::optional<ValueTotals> values;
  std::vector<Problem> problems;

  void report(bool error, std::string kind, std::string tensor, std::string message) {
    problems.push_back({error, std::move(kind), std::move(tensor), std::move(message)});
  }
  uint64_t errors() const;
};

/// Everything that headers, config.json and scales tell.
Inspection inspectSource(const tools::TensorSource &source, unsigned threads);

/// The tensors against the config's inventory: what is missing, unknown, or of another shape or dtype.
void checkInventory(const tools::TensorSource &source, Inspection &inspection);

/// Scales against weights, and the scales' values.
void inspectScales(const tools::TensorSource &source, Inspection &inspection, unsigned threads);

/// Reads the vectors, which are norms and gate biases: NaN and Inf in them.
void inspectVectors(const tools::TensorSource &source, Inspection &inspection, unsigned threads);

/// Reads every byte: FP8 codes that are NaN, blocks of zeros, NaN and Inf in float tensors. Draws a progress bar.
void checkValues(const tools::TensorSource &source, Inspection &inspection, unsigned threads);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_INSPECT_H
