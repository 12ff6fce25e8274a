//===- gptq.h - GPTQ: rounding that carries errors on -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Frantar et al., GPTQ (arXiv 2210.17323): with H the sum of x xᵀ over a layer's inputs, damped, and H⁻¹ = Uᵀ U, U upper
// triangular, columns are rounded one after the other, and of each the error e = (w_j - ŵ_j) / U_jj is taken from those that
// follow: w_k -= e U_jk. Scales are static: those of the weight before any error was carried. Arithmetic in f64, the rounding
// itself in f32 as everywhere (number_format.h). A column that no input has touched is rounded to the nearest.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_GPTQ_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_GPTQ_H

#include "tools/quant-convert/calibrate/hessians.h"
#include "tools/quant-convert/quantize/quantize_weight.h"

#include <mutex>
#include <optional>
#include <span>

namespace quant::convert {

struct GptqOptions {
  double damp = 0.01;    ///< of the mean of H's diagonal, added to it
  bool actOrder = false; ///< columns by falling diagonal of H; the file keeps its order, and groups are those of the file
};

/// What a layer's inverse is made to: the order of its columns and U in that order.
struct GptqFactor {
  std::vector<int64_t> order;
  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> upper;
  double damp = 0; ///< that was needed, of the mean
};

/// Raises the damping tenfold, to 1 at most, where H has no factor. Error: not even then.
Result<GptqFactor> factorize(const Eigen::MatrixXd &sums, const GptqOptions &options);

/// `nearest` with codes by the algorithm in place of its own. @pre factor.upper is [columns, columns]
EncodedRows encodeByGptq(const NumberFormat &format, const Scheme &scheme, const RowBlock &in, EncodedRows nearest,
                         const GptqFactor &factor);

/// tr((W - Ŵ) H (W - Ŵ)ᵀ), what the layer's output errs by on the calibration text, squared.
double outputError(const Eigen::MatrixXd &sums, const RowBlock &in, std::span<const float> rounded);

/// What came of a layer, or of some of its rows.
struct LayerReport {
  double tokens = 0, borrowed = 0;             ///< Hessian's
  double damp = 0;                             ///< of the mean of H's diagonal
  double signal = 0, nearest = 0, carried = 0; ///< output energy; squared output errors of round-to-nearest and of the method

  /// Adds other rows of the layer.
  void add(const LayerReport &rows);
};

/// Encodes layers by the Hessians that are at hand.
class Gptq {
public:
  Gptq(const GptqOptions &options, const Clip &clip) : options(options), clip(clip) {}

  /// In place of those before.
  void hold(Hessians hessians);
  /// Gives the Hessian of these layers back, with its factor.
  void drop(std::span<const std::string> layers);
  /// Rows of a layer. The factor is made by the first step, and shared by all layers with that input. A layer whose input no
  /// token reached is rounded to the nearest. Adds to `report`, of at most kJudgedRows
  /// of the rows: to find what all of them err by takes longer than to encode them.
  /// @pre the layer's Hessian is held
  Result<EncodedRows> encode(const std::string &layer, const NumberFormat &format, const Scheme &scheme, const RowBlock &in,
                             LayerReport &report) const;

  static constexpr int64_t kJudgedRows = 128;

private:
  struct Factor {
    std::mutex lock;
    std::optional<GptqFactor> made;
  };

  GptqOptions options;
  Clip clip;
  Hessians hessians;
  std::map<const Hessian *, std::shared_ptr<Factor>> factors;
};

/// Bytes that the factor of an input of so many columns takes, and that making it takes beside the sums.
int64_t factorBytes(int64_t columns);
int64_t factorizingBytes(int64_t columns);
/// Bytes that encoding so many weights at a time takes.
int64_t encodingBytes(int64_t weights);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_GPTQ_H
