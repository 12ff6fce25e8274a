//===- hessians.cpp - inputs of linear layers, summed up ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/hessians.h"

#include "runtime/support/narrow.h"
#include "tools/common/parallel.h"
#include "tools/common/units.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

using namespace quant;
using namespace quant::convert;
using runtime::Dims;
using runtime::Value;
using runtime::ValueKind;

//===----------------------------------------------------------------------===//
// Finding the inputs
//===----------------------------------------------------------------------===//

static std::string layerOf(const std::string &weight) {
  constexpr std::string_view kWeight = ".weight";
  return weight.ends_with(kWeight) ? weight.substr(0, weight.size() - kWeight.size()) : "";
}

static std::string expertName(const std::string &group, size_t expert) {
  size_t at = group.find("{}");
  return at == group.npos ? group : group.substr(0, at) + std::to_string(expert) + group.substr(at + 2);
}

static bool takes(const LayerColumns &columns, const std::string &layer, int64_t width) {
  auto found = columns.find(layer);
  return found != columns.end() && found->second == width;
}

HessianCollector::HessianCollector(const TextRun &run, const checkpoint::Checkpoint &checkpoint, const LayerColumns &columns,
                                   const ExpertInputs &experts)
    : run(run), checkpoint(checkpoint), experts(experts) {
  for (size_t i = 0; i < run.target().program.dispatches.size(); ++i) {
    findDispatch(i, columns);
    findCache(i, columns);
  }
}

const Value &HessianCollector::operand(size_t dispatch, size_t i) const {
  const runtime::Program &program = run.target().program;
  return program.values[static_cast<size_t>(program.dispatches[dispatch].operands[i])];
}

void HessianCollector::addLayer(size_t dispatch, Tap &tap, size_t expert, const std::string &layer) {
  if (byLayer.contains(layer))
    return;
  if (tap.inputs.size() <= expert)
    tap.inputs.resize(expert + 1);
  auto &input = tap.inputs[expert];
  if (!input) {
    input = found.size();
    found.push_back({{}, tap.columns, dispatch, expert});
  }
  found[*input].layers.push_back(layer);
  byLayer[layer] = *input;
}

/// A matmul: its input is the first operand, [tokens, columns] or [tokens, top_k, columns] in f32.
void HessianCollector::findDispatch(size_t dispatch, const LayerColumns &columns) {
  const auto &operands = run.target().program.dispatches[dispatch].operands;
  const Value &input = operand(dispatch, 0);
  if (input.dtype != DType::F32 || input.shape.empty() || input.shape.back().dim)
    return;
  Tap tap;
  tap.columns = tap.stride = input.shape.back().size;
  for (size_t i = 1; i < operands.size(); ++i) {
    const Value &value = operand(dispatch, i);
    bool isList = value.dtype == DType::I32 && value.kind == ValueKind::Workspace;
    if (isList && !value.shape[0].dim)
      tap.offsets = i;
    else if (isList) {
      tap.gathered = i;
      tap.topK = value.shape.back().size;
    }
  }
  bool isOne = experts.together && tap.gathered != 0;
  if (isOne) // the input is that of all tokens
    tap.offsets = tap.gathered = 0;
  for (size_t i = 1; i < operands.size(); ++i) {
    const Value &value = operand(dispatch, i);
    size_t count = value.kind == ValueKind::WeightGroup ? static_cast<size_t>(value.count) : 1;
    bool isWeight = value.kind == ValueKind::Weight || value.kind == ValueKind::WeightGroup;
    for (size_t e = 0; isWeight && e < count; ++e)
      if (std::string layer = layerOf(expertName(value.name, e)); takes(columns, layer, tap.columns))
        addLayer(dispatch, tap, isOne ? 0 : e, layer);
  }
  if (!tap.inputs.empty())
    taps.emplace(dispatch, std::move(tap));
}

/// Behind the cache mla_core takes the tokens' positions, their sequences and the table of pages.
static constexpr size_t kPositionsBehindCache = 1, kSequencesBehindCache = 2, kPagesBehindCache = 3;

/// kv_b_proj's input is the latent, the first columns of what lies in the cache before attention reads it.
void HessianCollector::findCache(size_t dispatch, const LayerColumns &columns) {
  constexpr std::string_view kEnd = ".attention";
  const runtime::Dispatch &step = run.target().program.dispatches[dispatch];
  if (!step.label.ends_with(kEnd) || !run.target().kernels[static_cast<size_t>(step.kernel)].name.starts_with("mla_core"))
    return;
  std::string name = step.label.substr(0, step.label.size() - kEnd.size()) + ".kv_b_proj";
  auto layer = columns.find(name);
  for (size_t i = 0; i < step.operands.size() && layer != columns.end(); ++i) {
    const Value &value = operand(dispatch, i);
    bool isRead = value.dtype == DType::F32 || value.dtype == DType::BF16;
    if (value.kind != ValueKind::Cache || !isRead || value.shape.back().size < layer->second)
      continue;
    Tap tap;
    tap.dtype = value.dtype;
    tap.columns = layer->second;
    tap.stride = value.shape.back().size;
    tap.input = i;
    tap.pagesOfSequence = operand(dispatch, i + kPagesBehindCache).shape.back().size;
    addLayer(dispatch, tap, 0, name);
    if (!tap.inputs.empty())
      taps.emplace(dispatch, std::move(tap));
  }
}

std::optional<size_t> HessianCollector::inputOf(const std::string &layer) const {
  auto at = byLayer.find(layer);
  return at == byLayer.end() ? std::nullopt : std::optional(at->second);
}

void HessianCollector::PassBytes::add(const std::set<size_t> &more) {
  for (size_t number : more) {
    const Input &input = collector.found[number];
    if (!inputs.insert(number).second)
      continue;
    bool isExpert = collector.taps.at(input.dispatch).offsets != 0;
    bool isFirst = isExpert && experts.insert(input.dispatch).second;
    sum += input.bytes() * (isFirst ? 2 : 1);
  }
}

//===----------------------------------------------------------------------===//
// The rows that reach them
//===----------------------------------------------------------------------===//

/// What the cache holds of the call's tokens.
HessianCollector::Rows HessianCollector::cachedRows(const Tap &tap, std::span<void *const> operands, int64_t tokens) const {
  auto numbers = [&](size_t behind) { return static_cast<const int32_t *>(operands[tap.input + behind]); };
  const void *cache = operands[tap.input];
  Rows rows(tokens, tap.columns);
  for (int64_t t = 0; t < tokens; ++t) {
    int64_t position = numbers(kPositionsBehindCache)[t], sequence = numbers(kSequencesBehindCache)[t];
    int64_t page = numbers(kPagesBehindCache)[sequence * tap.pagesOfSequence + position / abi::kPageRows];
    int64_t row = page * abi::kPageRows + position % abi::kPageRows;
    for (int64_t c = 0, first = row * tap.stride; c < tap.columns; ++c)
      rows(t, c) = tap.dtype == DType::F32 ? static_cast<const float *>(cache)[first + c]
                                           : fromBf16(static_cast<const uint16_t *>(cache)[first + c]);
  }
  return rows;
}

static Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> denseRows(const float *data, int64_t rows,
                                                                                        int64_t columns, int64_t stride) {
  using Floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const Floats, 0, Eigen::OuterStride<>>(data, rows, columns, Eigen::OuterStride<>(stride)).cast<double>();
}

void HessianCollector::forExperts(const Tap &tap, const std::set<size_t> &wanted, std::span<void *const> operands, int64_t tokens,
                                  bool all, const TakeRows &take) const {
  const auto *data = static_cast<const float *>(operands[tap.input]);
  const auto *offsets = static_cast<const int32_t *>(operands[tap.offsets]);
  const auto *gathered = tap.gathered ? static_cast<const int32_t *>(operands[tap.gathered]) : nullptr;
  int64_t assigned = offsets[tap.inputs.size()];
  // Each token is the input of as many experts as any other.
  if (all && assigned > 0)
    take({}, denseRows(data, gathered ? tokens : assigned, tap.columns, tap.stride));
  for (size_t e = 0; e < tap.inputs.size(); ++e) {
    int64_t count = offsets[e + 1] - offsets[e];
    if (!tap.inputs[e] || !wanted.contains(*tap.inputs[e]) || count == 0)
      continue;
    Rows rows(count, tap.columns);
    for (int64_t r = 0; r < count; ++r) {
      int64_t row = offsets[e] + r;
      row = gathered ? gathered[row] / tap.topK : row;
      rows.row(r) = Eigen::Map<const Eigen::RowVectorXf>(data + row * tap.stride, tap.columns).cast<double>();
    }
    take(tap.inputs[e], std::move(rows));
  }
}

bool HessianCollector::forRows(size_t dispatch, const std::set<size_t> &wanted, std::span<void *const> operands, const Dims &dims,
                               bool all, const TakeRows &take) const {
  auto at = taps.find(dispatch);
  bool isWanted = at != taps.end() && std::ranges::any_of(at->second.inputs, [&](const std::optional<size_t> &input) {
                    return input && wanted.contains(*input);
                  });
  if (!isWanted)
    return false;
  const Tap &tap = at->second;
  int64_t tokens = dims[static_cast<size_t>(abi::Dim::Tokens)];
  if (tap.offsets != 0)
    forExperts(tap, wanted, operands, tokens, all, take);
  else if (tap.pagesOfSequence > 0)
    take(tap.inputs[0], cachedRows(tap, operands, tokens));
  else
    take(tap.inputs[0], denseRows(static_cast<const float *>(operands[tap.input]), tokens, tap.columns, tap.stride));
  return true;
}

//===----------------------------------------------------------------------===//
// Summing
//===----------------------------------------------------------------------===//

namespace {

/// Columns of a sum that are computed at a time: fixed, so that its bits do not depend on the threads.
constexpr int64_t kPanel = 256;

/// Rows that are to be added to a sum.
struct Addition {
  Hessian *to;
  Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows;
};

/// Adds the part [., begin + kPanel) of the lower triangle.
void addPanel(const Addition &addition, int64_t begin) {
  int64_t columns = addition.rows.cols(), width = std::min(kPanel, columns - begin), below = columns - begin;
  addition.to->sums.block(begin, begin, below, width).noalias() +=
      addition.rows.rightCols(below).transpose() * addition.rows.middleCols(begin, width);
}

/// A value that is not finite stays in the sums, where checkFinite() finds it.
void addAll(const std::vector<Addition> &additions, unsigned threads) {
  std::vector<std::pair<const Addition *, int64_t>> panels;
  for (const Addition &addition : additions) {
    Hessian &hessian = *addition.to;
    int64_t columns = addition.rows.cols();
    if (hessian.sums.size() == 0) {
      hessian.sums = Eigen::MatrixXd::Zero(columns, columns);
      hessian.largest = Eigen::VectorXd::Zero(columns);
    }
    hessian.largest = hessian.largest.cwiseMax(addition.rows.cwiseAbs().colwise().maxCoeff().transpose());
    hessian.tokens += addition.rows.rows();
    for (int64_t begin = 0; begin < columns; begin += kPanel)
      panels.emplace_back(&addition, begin);
  }
  tools::parallelFor(panels.size(), threads, [&](size_t i) { addPanel(*panels[i].first, panels[i].second); });
}

} // namespace

/// One run over the text, for some inputs.
struct HessianCollector::Pass {
  const HessianCollector &collector;
  const std::set<size_t> &wanted;
  std::map<size_t, std::shared_ptr<Hessian>> sums; ///< by input
  std::map<size_t, Hessian> all;                   ///< by dispatch: of all experts
  size_t last = 0;                                 ///< dispatch

  bool see(size_t dispatch, std::span<void *const> operands, const Dims &dims);
  Result<void> checkFinite() const;
  void borrow();
};

bool HessianCollector::Pass::see(size_t dispatch, std::span<void *const> operands, const Dims &dims) {
  std::vector<Addition> additions;
  auto take = [&](std::optional<size_t> input, Rows rows) {
    additions.push_back({input ? sums.at(*input).get() : &all[dispatch], std::move(rows)});
  };
  if (!collector.forRows(dispatch, wanted, operands, dims, collector.experts.floor > 0, take))
    return true;
  addAll(additions, static_cast<unsigned>(collector.run.threads()));
  return dispatch != last;
}

Result<void> HessianCollector::Pass::checkFinite() const {
  for (const auto &[input, hessian] : sums)
    if (hessian->sums.size() > 0 && !hessian->sums.diagonal().allFinite())
      return fail(fmt::format("{}: an input of it is NaN or infinite on the calibration text; is the checkpoint damaged?",
                              collector.found[input].layers.front()));
  return {};
}

/// Experts that saw few tokens: up to the floor they take the mean of all experts of their layer.
void HessianCollector::Pass::borrow() {
  for (const auto &[input, hessian] : sums) {
    auto every = all.find(collector.found[input].dispatch);
    if (every == all.end() || hessian->tokens >= collector.experts.floor)
      continue;
    hessian->borrowed = collector.experts.floor - hessian->tokens;
    Eigen::MatrixXd share =
        every->second.sums * (static_cast<double>(hessian->borrowed) / static_cast<double>(every->second.tokens));
    if (hessian->sums.size() > 0) {
      hessian->sums += share;
    } else {
      hessian->sums = std::move(share);
      hessian->largest = Eigen::VectorXd::Zero(hessian->sums.rows());
    }
  }
  for (const auto &[input, hessian] : sums)
    if (hessian->sums.size() > 0)
      hessian->sums.triangularView<Eigen::StrictlyUpper>() = hessian->sums.transpose();
}

Result<Hessians> HessianCollector::collect(const std::set<size_t> &inputs) const {
  Pass pass{*this, inputs, {}, {}, 0};
  for (size_t input : inputs) {
    pass.sums[input] = std::make_shared<Hessian>();
    pass.last = std::max(pass.last, found[input].dispatch);
  }
  auto tap = [&](size_t dispatch, std::span<void *const> operands, const Dims &dims) {
    return pass.see(dispatch, operands, dims);
  };
  QUANT_TRY(run.run(checkpoint, tap, "calibrating"));
  QUANT_TRY(pass.checkFinite());
  pass.borrow();
  Hessians result;
  for (const auto &[input, hessian] : pass.sums)
    for (const std::string &layer : found[input].layers)
      result.emplace(layer, hessian);
  return result;
}

//===----------------------------------------------------------------------===//
// Largest magnitudes
//===----------------------------------------------------------------------===//

/// One run over the text, for some inputs.
struct HessianCollector::RangePass {
  const HessianCollector &collector;
  const std::set<size_t> &wanted;
  std::map<size_t, std::shared_ptr<InputRange>> ranges; ///< by input
  size_t last = 0;                                      ///< dispatch
  size_t piece = 0;                                     ///< of the text, that runs

  bool see(size_t dispatch, std::span<void *const> operands, const Dims &dims) {
    bool isSeen = collector.forRows(dispatch, wanted, operands, dims, false, [&](std::optional<size_t> input, const Rows &rows) {
      InputRange &range = *ranges.at(*input);
      auto largest = static_cast<float>(rows.cwiseAbs().maxCoeff<Eigen::PropagateNaN>());
      // A NaN stays, where checkFinite() finds it.
      if (float &before = range.largest[piece]; std::isnan(largest) || largest > before)
        before = largest;
      range.tokens[piece] += rows.rows();
    });
    return !isSeen || dispatch != last;
  }

  Result<void> checkFinite() const {
    for (const auto &[input, range] : ranges)
      for (size_t i = 0; i < range->largest.size(); ++i)
        if (!std::isfinite(range->largest[i]))
          return fail(fmt::format("{}: its inputs reach {} in piece {} of the calibration text; is the checkpoint damaged?",
                                  collector.found[input].layers.front(), range->largest[i], i));
    return {};
  }
};

Result<InputRanges> HessianCollector::collectRanges(const std::set<size_t> &inputs) const {
  RangePass pass{*this, inputs, {}};
  for (size_t input : inputs) {
    pass.ranges[input] =
        std::make_shared<InputRange>(InputRange{std::vector<float>(run.pieces()), std::vector<int64_t>(run.pieces())});
    pass.last = std::max(pass.last, found[input].dispatch);
  }
  auto tap = [&](size_t dispatch, std::span<void *const> operands, const Dims &dims) {
    return pass.see(dispatch, operands, dims);
  };
  QUANT_TRY(run.run(checkpoint, tap, "calibrating", [&](size_t piece) { pass.piece = piece; }));
  QUANT_TRY(pass.checkFinite());
  InputRanges result;
  for (const auto &[input, range] : pass.ranges)
    for (const std::string &layer : found[input].layers)
      result.emplace(layer, range);
  return result;
}
