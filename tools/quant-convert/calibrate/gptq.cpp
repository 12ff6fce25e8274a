//===- gptq.cpp - GPTQ: rounding that carries errors on -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/gptq.h"

#include <Eigen/Cholesky>
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

using namespace quant;
using namespace quant::convert;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Columns by falling diagonal, equal ones as they stand.
static std::vector<int64_t> columnOrder(const Eigen::MatrixXd &sums, bool byDiagonal) {
  std::vector<int64_t> order(static_cast<size_t>(sums.rows()));
  std::iota(order.begin(), order.end(), 0);
  if (byDiagonal)
    std::ranges::sort(order, [&](int64_t a, int64_t b) { return sums(a, a) != sums(b, b) ? sums(a, a) > sums(b, b) : a < b; });
  return order;
}

Result<GptqFactor> convert::factorize(const Eigen::MatrixXd &sums, const GptqOptions &options) {
  GptqFactor factor;
  factor.order = columnOrder(sums, options.actOrder);
  Eigen::MatrixXd ordered = sums(factor.order, factor.order);
  for (int64_t i = 0; i < ordered.rows(); ++i)
    if (ordered(i, i) == 0)
      ordered(i, i) = 1;
  double mean = ordered.diagonal().mean();
  for (factor.damp = options.damp; factor.damp <= 1; factor.damp = std::max(factor.damp * 10, 1e-6)) {
    Eigen::MatrixXd damped = ordered;
    damped.diagonal().array() += factor.damp * mean;
    Eigen::LLT<Eigen::MatrixXd> lower(damped);
    if (lower.info() != Eigen::Success)
      continue;
    Eigen::MatrixXd inverse = lower.solve(Eigen::MatrixXd::Identity(damped.rows(), damped.cols()));
    Eigen::LLT<Eigen::MatrixXd, Eigen::Upper> upper(inverse);
    if (upper.info() != Eigen::Success || !inverse.allFinite())
      continue;
    factor.upper = Eigen::MatrixXd(upper.matrixU());
    return factor;
  }
  return fail("the sums over its inputs have no Cholesky factor, not even with a damping of 1; quantize it by another method");
}

EncodedRows convert::encodeByGptq(const NumberFormat &format, const Scheme &scheme, const RowBlock &in, EncodedRows out,
                                  const GptqFactor &factor) {
  auto sides = blockSides(scheme, in.rows, in.columns);
  int64_t groups = (in.columns + sides[1] - 1) / sides[1];
  Eigen::RowVectorXd rest(in.columns);
  for (int64_t row = 0; row < in.rows; ++row) {
    const float *values = in.values.data() + row * in.columns;
    for (int64_t i = 0; i < in.columns; ++i)
      rest(i) = values[factor.order[static_cast<size_t>(i)]];
    for (int64_t i = 0; i < in.columns; ++i) {
      int64_t column = factor.order[static_cast<size_t>(i)];
      auto group = static_cast<size_t>(row / sides[0] * groups + column / sides[1]);
      Parameters parameters = {out.scales[group], out.zeros.empty() ? 0 : out.zeros[group]};
      uint8_t &code = out.codes[static_cast<size_t>(row * in.columns + column)];
      double error = rest(i) - format.round(static_cast<float>(rest(i)), parameters, out.global, code);
      int64_t left = in.columns - i - 1;
      rest.tail(left) -= error / factor.upper(i, i) * factor.upper.row(i).tail(left);
    }
  }
  return out;
}

double convert::outputError(const Eigen::MatrixXd &sums, const RowBlock &in, std::span<const float> rounded) {
  Eigen::Map<const RowMajor> before(in.values.data(), in.rows, in.columns), after(rounded.data(), in.rows, in.columns);
  Eigen::MatrixXd error = before.cast<double>() - after.cast<double>();
  return (error * sums).cwiseProduct(error).sum();
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

const Hessian *Gptq::find(const std::string &layer) const {
  auto found = hessians.find(layer);
  return found == hessians.end() ? nullptr : found->second.get();
}

bool Gptq::knows(const std::string &layer) const {
  const Hessian *hessian = find(layer);
  return hessian && hessian->sums.size() > 0;
}

Encoder Gptq::encoder(const std::string &layer, const Scheme &scheme, bool zeroPoints) {
  NumberFormat format(scheme, zeroPoints);
  std::shared_ptr<Factor> &shared = factors[find(layer)];
  if (!shared)
    shared = std::make_shared<Factor>();
  return [this, shared = shared, layer, scheme, format](int64_t, const RowBlock &in) -> Result<EncodedRows> {
    const Hessian &hessian = *find(layer);
    {
      std::lock_guard guard(shared->lock);
      if (!shared->made) {
        auto made = factorize(hessian.sums, options);
        if (!made)
          return tl::unexpected(made.error().in(layer));
        shared->made = std::move(*made);
      }
    }
    EncodedRows nearest = encodeRows(format, scheme, in, clip),
                encoded = encodeByGptq(format, scheme, in, nearest, *shared->made);
    std::vector<float> zeros(in.values.size());
    LayerReport report = {hessian.tokens,
                          hessian.borrowed,
                          shared->made->damp,
                          outputError(hessian.sums, in, zeros),
                          outputError(hessian.sums, in, decodeRows(format, scheme, in, nearest)),
                          outputError(hessian.sums, in, decodeRows(format, scheme, in, encoded))};
    std::lock_guard guard(lock);
    LayerReport &sum = done[layer];
    report.signal += sum.signal;
    report.nearest += sum.nearest;
    report.carried += sum.carried;
    sum = report;
    return encoded;
  };
}

std::map<std::string, LayerReport> Gptq::reports() const {
  std::lock_guard guard(lock);
  return done;
}
