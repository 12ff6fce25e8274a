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
  for (factor.damp = options.damp; factor.damp <= 1; factor.damp = std::max(factor.damp * 10, 1e-6)) {
    Eigen::MatrixXd damped = sums(factor.order, factor.order);
    for (int64_t i = 0; i < damped.rows(); ++i)
      if (damped(i, i) == 0)
        damped(i, i) = 1;
    double mean = damped.diagonal().mean();
    damped.diagonal().array() += factor.damp * mean;
    Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> lower(damped);
    if (lower.info() != Eigen::Success)
      continue;
    Eigen::MatrixXd inverse = Eigen::MatrixXd::Identity(damped.rows(), damped.cols());
    lower.solveInPlace(inverse);
    damped.resize(0, 0);
    Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>, Eigen::Upper> upper(inverse);
    if (upper.info() != Eigen::Success || !inverse.allFinite())
      continue;
    factor.upper = upper.matrixU();
    return factor;
  }
  return fail("the sums over its inputs have no Cholesky factor, not even with a damping of 1; quantize it by another method");
}

/// Rows that go through a factor together, so that it is read from memory once for all of them, and columns whose errors the
/// later columns take together, as one product (the paper's lazy batches).
static constexpr int64_t kRowsTogether = 64, kColumnsTogether = 32;

EncodedRows convert::encodeByGptq(const NumberFormat &format, const Scheme &scheme, const RowBlock &in, EncodedRows out,
                                  const GptqFactor &factor) {
  auto sides = blockSides(scheme, in.rows, in.columns);
  int64_t groups = (in.columns + sides[1] - 1) / sides[1];
  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rest(kRowsTogether, in.columns),
      errors(kRowsTogether, kColumnsTogether);
  auto round = [&](int64_t first, int64_t r, int64_t i) {
    int64_t row = first + r, column = factor.order[static_cast<size_t>(i)];
    auto group = static_cast<size_t>(row / sides[0] * groups + column / sides[1]);
    Parameters parameters = {out.scales[group], out.zeros.empty() ? 0 : out.zeros[group]};
    uint8_t &code = out.codes[static_cast<size_t>(row * in.columns + column)];
    return (rest(r, i) - format.round(static_cast<float>(rest(r, i)), parameters, out.global, code)) / factor.upper(i, i);
  };
  for (int64_t first = 0; first < in.rows; first += kRowsTogether) {
    int64_t count = std::min(kRowsTogether, in.rows - first);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < in.columns; ++i)
        rest(r, i) = in.values[static_cast<size_t>((first + r) * in.columns + factor.order[static_cast<size_t>(i)])];
    for (int64_t begin = 0; begin < in.columns; begin += kColumnsTogether) {
      int64_t width = std::min(kColumnsTogether, in.columns - begin), end = begin + width, left = in.columns - end;
      for (int64_t i = begin; i < end; ++i)
        for (int64_t r = 0; r < count; ++r) {
          errors(r, i - begin) = round(first, r, i);
          rest.row(r).segment(i + 1, end - i - 1) -= errors(r, i - begin) * factor.upper.row(i).segment(i + 1, end - i - 1);
        }
      rest.block(0, end, count, left).noalias() -=
          errors.topLeftCorner(count, width) * factor.upper.block(begin, end, width, left);
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

void LayerReport::add(const LayerReport &rows) {
  tokens = rows.tokens;
  borrowed = rows.borrowed;
  damp = rows.damp;
  signal += rows.signal;
  nearest += rows.nearest;
  carried += rows.carried;
}

void Gptq::hold(Hessians taken) {
  hessians = std::move(taken);
  factors.clear();
  for (const auto &[layer, hessian] : hessians)
    factors.try_emplace(hessian.get(), std::make_shared<Factor>());
}

void Gptq::drop(std::span<const std::string> layers) {
  for (const std::string &layer : layers) {
    auto found = hessians.find(layer);
    if (found == hessians.end())
      continue;
    factors.erase(found->second.get());
    hessians.erase(found);
  }
}

/// At most Gptq::kJudgedRows rows, evenly over the block.
static std::vector<float> someRows(const RowBlock &in, std::span<const float> values) {
  int64_t count = std::min(in.rows, Gptq::kJudgedRows);
  std::vector<float> rows;
  rows.reserve(static_cast<size_t>(count * in.columns));
  for (int64_t i = 0; i < count; ++i) {
    auto row = values.subspan(static_cast<size_t>(i * in.rows / count * in.columns), static_cast<size_t>(in.columns));
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

Result<EncodedRows> Gptq::encode(const std::string &layer, const NumberFormat &format, const Scheme &scheme, const RowBlock &in,
                                 LayerReport &report) const {
  const Hessian &hessian = *hessians.find(layer)->second;
  EncodedRows nearest = encodeRows(format, scheme, in, clip);
  if (hessian.sums.size() == 0)
    return nearest;
  Factor &shared = *factors.at(&hessian);
  {
    std::lock_guard guard(shared.lock);
    if (!shared.made) {
      auto made = factorize(hessian.sums, options);
      if (!made)
        return tl::unexpected(made.error().in(layer));
      shared.made = std::move(*made);
    }
  }
  EncodedRows encoded = encodeByGptq(format, scheme, in, nearest, *shared.made);
  std::vector<float> judged = someRows(in, in.values);
  auto errorOf = [&](std::span<const float> rounded) {
    return outputError(hessian.sums, {judged, static_cast<int64_t>(judged.size()) / in.columns, in.columns, 0}, rounded);
  };
  report.add({static_cast<double>(hessian.tokens), static_cast<double>(hessian.borrowed), shared.made->damp,
              errorOf(std::vector<float>(judged.size())), errorOf(someRows(in, decodeRows(format, scheme, in, nearest))),
              errorOf(someRows(in, decodeRows(format, scheme, in, encoded)))});
  return encoded;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

int64_t convert::factorBytes(int64_t columns) { return columns * columns * static_cast<int64_t>(sizeof(double)); }

// The damped sums and their inverse.
int64_t convert::factorizingBytes(int64_t columns) { return 2 * factorBytes(columns); }

// Values before and after in f32, codes twice, before, error and error times sums in f64.
int64_t convert::encodingBytes(int64_t weights) { return 42 * weights; }
