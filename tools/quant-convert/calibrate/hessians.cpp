//===- hessians.cpp - inputs of linear layers, summed up ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/hessians.h"

#include "runtime/api/inference.h"
#include "runtime/device/host/session.h"
#include "runtime/module/module.h"
#include "runtime/support/text.h"
#include "tools/common/progress.h"
#include "tools/common/tokenized_text.h"
#include "tools/common/units.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

using namespace quant;
using namespace quant::convert;
using runtime::Dims;
using runtime::Program;
using runtime::Value;
using runtime::ValueKind;

/// A text shorter than this says little about any layer.
static constexpr size_t kLeastTokens = 256;
static constexpr int64_t kDefaultContext = 2048;

namespace {

using Columns = std::map<std::string, int64_t, std::less<>>;
using Rows = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>, 0, Eigen::OuterStride<>>;

/// A dispatch whose input is summed: as it is, or by expert.
struct Tap {
  int64_t columns = 0, stride = 0;
  size_t input = 0;                 ///< among the operands
  int64_t pagesOfSequence = 0;      ///< of a cache, columns of the table of pages; 0: the input is no cache
  size_t offsets = 0, gathered = 0; ///< operands of a grouped matmul; 0: there is none
  int64_t topK = 1;
  std::vector<std::shared_ptr<Hessian>> sums; ///< one, or one for each expert
};

/// Finds the taps of a program, and sums while it runs.
class Collector {
public:
  Collector(const runtime::Target &target, const Columns &columns) : target(target), columns(columns) {}

  void find();
  void see(size_t dispatch, std::span<void *const> operands, const Dims &dims);
  int64_t bytes() const;
  Result<void> checkFinite() const;
  void borrow(int64_t floor);
  Hessians results() const { return {found.begin(), found.end()}; }

private:
  const Value &operand(size_t dispatch, size_t i) const {
    return target.program.values[static_cast<size_t>(target.program.dispatches[dispatch].operands[i])];
  }
  void findDispatch(size_t dispatch);
  void findCache(size_t dispatch);
  void addLayer(Tap &tap, size_t expert, const std::string &name);
  bool takes(const std::string &weight, int64_t width) const;

  const runtime::Target &target;
  const Columns &columns;
  std::map<size_t, Tap> taps;
  std::map<std::string, std::shared_ptr<Hessian>, std::less<>> found;
};

constexpr std::string_view kWeight = ".weight";

std::string layerOf(const std::string &weight) {
  return weight.ends_with(kWeight) ? weight.substr(0, weight.size() - kWeight.size()) : "";
}

std::string expertName(const std::string &group, size_t expert) {
  size_t at = group.find("{}");
  return at == group.npos ? group : group.substr(0, at) + std::to_string(expert) + group.substr(at + 2);
}

} // namespace

bool Collector::takes(const std::string &weight, int64_t width) const {
  auto layer = columns.find(layerOf(weight));
  return layer != columns.end() && layer->second == width;
}

void Collector::addLayer(Tap &tap, size_t expert, const std::string &name) {
  if (tap.sums.size() <= expert)
    tap.sums.resize(expert + 1);
  auto &sums = tap.sums[expert];
  if (!sums)
    sums = std::make_shared<Hessian>();
  found.emplace(layerOf(name), sums);
}

/// A matmul: its input is the first operand, [tokens, columns] or [tokens, top_k, columns] in f32.
void Collector::findDispatch(size_t dispatch) {
  const auto &operands = target.program.dispatches[dispatch].operands;
  const Value &input = operand(dispatch, 0);
  if (input.dtype != DType::F32 || input.shape.empty() || input.shape.back().dim)
    return;
  Tap tap;
  tap.columns = tap.stride = input.shape.back().size;
  for (size_t i = 1; i < operands.size(); ++i) {
    const Value &value = operand(dispatch, i);
    if (value.kind == ValueKind::Weight && takes(value.name, tap.columns))
      addLayer(tap, 0, value.name);
    for (size_t e = 0; value.kind == ValueKind::WeightGroup && e < static_cast<size_t>(value.count); ++e)
      if (takes(expertName(value.name, e), tap.columns))
        addLayer(tap, e, expertName(value.name, e));
    bool isList = value.dtype == DType::I32 && value.kind == ValueKind::Workspace;
    if (isList && !value.shape[0].dim)
      tap.offsets = i;
    else if (isList) {
      tap.gathered = i;
      tap.topK = value.shape.back().size;
    }
  }
  if (!tap.sums.empty())
    taps.emplace(dispatch, std::move(tap));
}

/// Behind the cache mla_core takes the tokens' positions, their sequences and the table of pages.
static constexpr size_t kPositionsBehindCache = 1, kSequencesBehindCache = 2, kPagesBehindCache = 3;

/// kv_b_proj's input is the latent, the first columns of what lies in the cache before attention reads it.
void Collector::findCache(size_t dispatch) {
  constexpr std::string_view kEnd = ".attention";
  const runtime::Dispatch &step = target.program.dispatches[dispatch];
  if (!step.label.ends_with(kEnd) || !target.kernels[static_cast<size_t>(step.kernel)].name.starts_with("mla_core"))
    return;
  std::string name = step.label.substr(0, step.label.size() - kEnd.size()) + ".kv_b_proj";
  auto layer = columns.find(name);
  for (size_t i = 0; i < step.operands.size() && layer != columns.end(); ++i) {
    const Value &value = operand(dispatch, i);
    if (value.kind != ValueKind::Cache || value.dtype != DType::F32 || value.shape.back().size < layer->second)
      continue;
    Tap tap;
    tap.columns = layer->second;
    tap.stride = value.shape.back().size;
    tap.input = i;
    tap.pagesOfSequence = operand(dispatch, i + kPagesBehindCache).shape.back().size;
    addLayer(tap, 0, name + std::string(kWeight));
    taps.emplace(dispatch, std::move(tap));
  }
}

void Collector::find() {
  for (size_t i = 0; i < target.program.dispatches.size(); ++i) {
    findDispatch(i);
    findCache(i);
  }
}

/// Adds rows of f32; a value that is not finite stays in the sums, where checkFinite() finds it.
static void addRows(Hessian &hessian, const Eigen::MatrixXd &rows) {
  if (hessian.sums.size() == 0) {
    hessian.sums = Eigen::MatrixXd::Zero(rows.cols(), rows.cols());
    hessian.largest = Eigen::VectorXd::Zero(rows.cols());
  }
  hessian.largest = hessian.largest.cwiseMax(rows.cwiseAbs().colwise().maxCoeff().transpose());
  hessian.sums.selfadjointView<Eigen::Lower>().rankUpdate(rows.transpose());
  hessian.tokens += rows.rows();
}

/// What the cache holds of the call's tokens.
static Eigen::MatrixXd cachedRows(const Tap &tap, std::span<void *const> operands, int64_t tokens) {
  auto numbers = [&](size_t behind) { return static_cast<const int32_t *>(operands[tap.input + behind]); };
  const auto *cache = static_cast<const float *>(operands[tap.input]);
  Eigen::MatrixXd rows(tokens, tap.columns);
  for (int64_t t = 0; t < tokens; ++t) {
    int64_t position = numbers(kPositionsBehindCache)[t], sequence = numbers(kSequencesBehindCache)[t];
    int64_t page = numbers(kPagesBehindCache)[sequence * tap.pagesOfSequence + position / abi::kPageRows];
    int64_t row = page * abi::kPageRows + position % abi::kPageRows;
    rows.row(t) = Eigen::Map<const Eigen::RowVectorXf>(cache + row * tap.stride, tap.columns).cast<double>();
  }
  return rows;
}

void Collector::see(size_t dispatch, std::span<void *const> operands, const Dims &dims) {
  auto at = taps.find(dispatch);
  if (at == taps.end())
    return;
  Tap &tap = at->second;
  int64_t tokens = dims[static_cast<size_t>(abi::Dim::Tokens)];
  if (tap.pagesOfSequence > 0) {
    addRows(*tap.sums[0], cachedRows(tap, operands, tokens));
    return;
  }
  const auto *data = static_cast<const float *>(operands[tap.input]);
  if (tap.offsets == 0) {
    addRows(*tap.sums[0], Rows(data, tokens, tap.columns, Eigen::OuterStride<>(tap.stride)).cast<double>());
    return;
  }
  const auto *offsets = static_cast<const int32_t *>(operands[tap.offsets]);
  const auto *gathered = tap.gathered ? static_cast<const int32_t *>(operands[tap.gathered]) : nullptr;
  for (size_t e = 0; e < tap.sums.size(); ++e) {
    Eigen::MatrixXd rows(offsets[e + 1] - offsets[e], tap.columns);
    for (int64_t r = 0; r < rows.rows(); ++r) {
      int64_t row = offsets[e] + r;
      row = gathered ? gathered[row] / tap.topK : row;
      rows.row(r) = Eigen::Map<const Eigen::RowVectorXf>(data + row * tap.stride, tap.columns).cast<double>();
    }
    if (tap.sums[e] && rows.rows() > 0)
      addRows(*tap.sums[e], rows);
  }
}

int64_t Collector::bytes() const {
  int64_t sum = 0;
  for (const auto &[dispatch, tap] : taps)
    sum += static_cast<int64_t>(tap.sums.size()) * tap.columns * tap.columns * static_cast<int64_t>(sizeof(double));
  return sum;
}

Result<void> Collector::checkFinite() const {
  for (const auto &[layer, hessian] : found)
    if (hessian->sums.size() > 0 && !hessian->sums.diagonal().allFinite())
      return fail(
          fmt::format("{}: an input of it is NaN or infinite on the calibration text; is the checkpoint damaged?", layer));
  return {};
}

/// Experts that saw few tokens: up to the floor they take the mean of all experts of their layer.
void Collector::borrow(int64_t floor) {
  for (auto &[dispatch, tap] : taps) {
    Eigen::MatrixXd all = Eigen::MatrixXd::Zero(tap.columns, tap.columns);
    int64_t tokens = 0;
    for (const auto &sums : tap.sums)
      if (sums && sums->tokens > 0) {
        all += sums->sums;
        tokens += sums->tokens;
      }
    for (auto &sums : tap.sums) {
      if (!sums || tap.offsets == 0 || sums->tokens >= floor || tokens == 0)
        continue;
      sums->borrowed = floor - sums->tokens;
      Eigen::MatrixXd share = all * (static_cast<double>(sums->borrowed) / static_cast<double>(tokens));
      sums->sums = sums->sums.size() ? Eigen::MatrixXd(sums->sums + share) : share;
    }
  }
  for (auto &[layer, hessian] : found)
    if (hessian->sums.size() > 0)
      hessian->sums.triangularView<Eigen::StrictlyUpper>() = hessian->sums.transpose();
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

static Result<int32_t> beginToken(const runtime::Module &module) {
  auto config = nlohmann::json::parse(module.modelConfig, nullptr, false);
  auto bos = config.is_object() ? config.value("bos_token_id", nlohmann::json()) : nlohmann::json();
  if (!bos.is_number_integer())
    return fail("the configuration of its model has no bos_token_id, which goes before each piece of the text");
  return bos.get<int32_t>();
}

static Result<void> runText(runtime::Inference &inference, std::span<const int32_t> tokens, int64_t context, int32_t bos) {
  QUANT_TRY(inference.checkTokens(tokens));
  QUANT_TRY(inference.checkTokens({&bos, 1}));
  auto size = static_cast<size_t>(context - 1);
  tools::Progress progress("calibrating", tokens.size(), tools::stderrTerminal(), tools::humanCount);
  runtime::Sequence sequence;
  for (size_t begin = 0; begin < tokens.size(); begin += size) {
    auto piece = tokens.subspan(begin, std::min(size, tokens.size() - begin));
    std::vector<int32_t> inputs = {bos};
    inputs.insert(inputs.end(), piece.begin(), piece.end());
    inference.clear(sequence);
    runtime::SequenceStep step = {.sequence = &sequence, .tokens = inputs};
    QUANT_TRY(inference.forward({&step, 1}));
    progress.add(piece.size());
  }
  return {};
}

Result<Hessians> convert::collectHessians(const CalibrationOptions &options, const checkpoint::Checkpoint &checkpoint,
                                          const Columns &columns) {
  QUANT_TRY_ASSIGN(tools::TokenizedText text, tools::readTokenizedText(options.text));
  if (text.tokens.size() < kLeastTokens)
    return fail(fmt::format("{}: {} tokens are too few to calibrate by; give at least {}, better some ten thousand",
                            printable(options.text.native()), text.tokens.size(), kLeastTokens));
  QUANT_TRY_ASSIGN(runtime::Module opened, runtime::openModule(options.module));
  auto module = std::make_shared<const runtime::Module>(std::move(opened));
  auto inModule = [&](const Error &error) { return tl::unexpected(error.in(printable(options.module.native()))); };
  const runtime::Target *target = module->find("host");
  if (!target || target->isForeign)
    return fail(printable(options.module.native()) + ": has no code for the host; compile the checkpoint with --target=host");
  auto bos = beginToken(*module);
  if (!bos)
    return inModule(bos.error());
  Collector collector(*target, columns);
  collector.find();
  if (collector.bytes() > options.memory)
    return fail(fmt::format("the sums over the inputs of {} layers take {}, more than the {} of --calibration-memory",
                            columns.size(), tools::humanBytes(static_cast<uint64_t>(collector.bytes())),
                            tools::humanBytes(static_cast<uint64_t>(options.memory))));
  int64_t limit = target->program.limits.context, context = options.context ? options.context : std::min(limit, kDefaultContext);
  if (context < 2 || context > limit)
    return fail(fmt::format("--context {}: the module allows 2 to {}", context, limit));
  runtime::SessionOptions session{.threads = options.threads, .context = context, .isa = {}, .tap = {}};
  session.tap = [&](size_t dispatch, std::span<void *const> operands, const Dims &dims) {
    collector.see(dispatch, operands, dims);
  };
  QUANT_TRY_ASSIGN(auto created, runtime::HostSession::create(module, *target, session));
  // The caller's, which outlives the session.
  QUANT_TRY(created->load({std::shared_ptr<void>(), &checkpoint}));
  auto inference = runtime::Inference::create(std::move(created), 0);
  if (!inference)
    return inModule(inference.error());
  if (auto ran = runText(*inference, text.tokens, context, *bos); !ran)
    return tl::unexpected(ran.error().in(printable(options.text.native())));
  QUANT_TRY(collector.checkFinite());
  collector.borrow(options.expertFloor);
  return collector.results();
}
