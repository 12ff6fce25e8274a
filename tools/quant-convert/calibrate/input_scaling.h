//===- input_scaling.h - columns scaled before they are rounded -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The layers that read one input x have their columns multiplied by s before they are rounded, and x is divided by s, in what
// makes it: the elements of the norm before, or the rows of up_proj before down_proj. The product stays. A norm is stored
// rounded: s is then what it was divided by, exactly.
//
// AWQ (Lin et al., arXiv 2306.00978): columns of large inputs are rounded more finely. s_j = a_j^r / sqrt(max s · min s), with
// a_j the root mean square of x_j, and r of 0, 1/20 ... 19/20 the one with the least output error tr((W - Ŵ) H (W - Ŵ)ᵀ) over
// these layers, H the sum of x xᵀ; r = 0 is rounding to the nearest. (The paper's a_j is the mean magnitude, and its error that
// of the whole block; H has neither.)
//
// SmoothQuant (Xiao et al., arXiv 2211.10438): large inputs become smaller, for engines that quantize them.
// s_j = max |x_j|^α / max |W_j|^(1-α), W over all rows of these layers; 1 where either is 0. Not of experts, which would share an
// s that fits few of them (llm-compressor).
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_INPUT_SCALING_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_INPUT_SCALING_H

#include "tools/quant-convert/calibrate/gptq.h"
#include "tools/quant-convert/quantize/scheme_choice.h"

#include <optional>
#include <span>

namespace quant::convert {

/// Names without ".weight".
using Modules = std::set<std::string, std::less<>>;

/// Layers that read one input, and what makes it.
struct ScaledInput {
  std::string source;              ///< a norm, or an up_proj
  std::vector<std::string> layers; ///< quantized
  std::string router;              ///< reads it, too, and stays as it is; empty: there is none

  bool fromLayer() const { return source.ends_with("up_proj"); }
};

/// The inputs that can be scaled in a DeepSeek model: those of q_a_proj (q_proj) and kv_a_proj_with_mqa, of q_b_proj, of
/// kv_b_proj, of a layer's gate_proj and up_proj with its router, of each down_proj; not o_proj's, whose values come out of
/// kv_b_proj. Left out are inputs that a layer beside `quantized` reads. `all` are the checkpoint's weights.
std::vector<ScaledInput> scaledInputs(const Modules &all, const Modules &quantized);

/// Rows of a layer that are tried, and how they are to be rounded.
struct ScaledLayer {
  const Eigen::MatrixXd *sums; ///< H
  std::vector<float> values;   ///< [rows, columns]
  NumberFormat format;
  Scheme scheme;
};

/// tr((W - Ŵ) H (W - Ŵ)ᵀ) for Ŵ rounded as W s, and divided by s again.
double scaledError(const ScaledLayer &layer, std::span<const float> scales);

/// s for this ratio, by the mean squares of the input. Columns without input take the least.
std::vector<float> scalesFor(std::span<const double> squares, double ratio);

/// s of SmoothQuant, by the largest magnitudes of the input and of the columns.
std::vector<float> smoothingScales(std::span<const double> inputs, std::span<const double> weights, double alpha);

/// What was found for an input.
struct FoundScales {
  std::vector<float> scales;        ///< of its columns
  std::vector<LayerReport> reports; ///< of its layers; errors are of the rows that were tried
};

/// Scales of inputs, and what encodes layers by them.
class InputScaling {
public:
  /// Of a layer: how it is to be rounded.
  using Targets = std::map<std::string, Target, std::less<>>;

  /// Errors: a scheme whose scales rows share.
  static Result<void> checkSchemes(const Targets &targets);
  /// Those of scaledInputs() that can be scaled: their layers are equally wide, and what takes the scales is of a type and size
  /// that holds them.
  static Result<std::vector<ScaledInput>> inputsOf(const Weights &weights, const Targets &targets);
  /// The best scales for an input by AWQ, or with `alpha` by SmoothQuant. At most kTriedRows rows of a layer are tried, evenly
  /// over it. Ones where no token reached it. Errors: values that are not finite. @pre an input of inputsOf(), checkSchemes(),
  /// Hessians of all its layers
  static Result<FoundScales> search(const ScaledInput &input, const Hessians &hessians, const Weights &weights,
                                    const Targets &targets, std::optional<double> alpha);
  /// Takes what was found for an input.
  void add(const ScaledInput &input, const FoundScales &found);

  Encoder encoder(const std::string &layer, const Scheme &scheme, bool zeroPoints) const;
  /// What the last dimension of a norm or router is multiplied by; null: it stays as it is.
  const std::vector<float> *factors(const std::string &module) const;
  /// Whether its values are others than the checkpoint's.
  bool changes(const std::string &module) const { return columns.contains(module) || rows.contains(module); }

  static constexpr int64_t kTriedRows = 128;

private:
  struct Search;
  static Result<Search> searchOf(const ScaledInput &input, const Hessians &hessians, const Weights &weights,
                                 const Targets &targets, std::optional<double> alpha);

  std::map<std::string, std::vector<float>, std::less<>> columns; ///< of layers and routers, and 1/s of norms
  std::map<std::string, std::vector<float>, std::less<>> rows;    ///< 1/s of up_proj
};

/// The job that writes a norm or router as `name`, its last dimension multiplied by `factors`. @pre BF16 or F32
Job scaledTensorJob(const Tensor &tensor, std::string name, std::vector<float> factors);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_INPUT_SCALING_H
