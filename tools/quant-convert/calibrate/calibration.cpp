//===- calibration.cpp - --calibration of quantize ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/calibration.h"

#include "tools/common/tensor_name.h"
#include "tools/common/units.h"
#include "tools/quant-convert/calibrate/first_stage.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <thread>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

/// Sums of a file of the first stage, where one input does not take more: what a killed run loses at most, beside its pass. Some
/// inputs may take more together, so that their factors are made in parallel.
static constexpr int64_t kCellBytes = 32 << 20, kParallelCellBytes = 256 << 20;
static constexpr size_t kParallelInputs = 4;

void convert::addCalibrationOptions(CLI::App &app, CalibratedOptions &options) {
  app.add_option("--calibration", options.text.text,
                 "For --method=gptq, awq and smoothquant, and for fp8-tensor-static: a text, or token ids as JSON, {\"tokens\": "
                 "[ids]} or the ids alone")
      ->type_name("FILE.txt|FILE.json");
  app.add_option("--module", options.text.module, "IN compiled for the host by quant-compile: runs the text")
      ->type_name("FILE.qmod");
  app.add_option("--context", options.text.context,
                 "Tokens of a piece of the text with its BOS; 0: the module's limit, 2048 at most")
      ->check(CLI::Range(0, 1 << 20).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--damp", options.gptq.damp, "Added to the diagonal of the inputs' sums, a share of its mean")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("SHARE")
      ->capture_default_str();
  app.add_flag("--act-order", options.gptq.actOrder, "Round the columns of the largest inputs first; the file's order stays");
  app.add_option("--alpha", options.alpha, "With --method=smoothquant: how much of the inputs' range goes to the weights")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("SHARE")
      ->capture_default_str();
  app.add_option("--expert-floor", options.experts.floor, "Tokens up to which an expert borrows from its layer's others")
      ->check(CLI::Range(0, 1 << 30).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag(
      "--experts-together", options.experts.together,
      "gate_proj and up_proj of a layer's experts go by the inputs of all tokens: one sum for all experts, not one each");
  app.add_option("--memory", options.memory,
                 "What a calibrated run may take beside the mapped checkpoint, such as 500MB, 8GB or 16GiB: the less, the more "
                 "often the text is run")
      ->transform(CLI::AsSizeValue(true).description(""))
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("BYTES")
      ->default_str("8GB");
}

//===----------------------------------------------------------------------===//
// Reports as tensors
//===----------------------------------------------------------------------===//

static constexpr std::string_view kReport = ".calibration_report", kScales = ".input_scales";
using ReportRow = std::array<double, 6>;

static ReportRow rowOf(const LayerReport &report) {
  return {report.tokens, report.borrowed, report.damp, report.signal, report.nearest, report.carried};
}

/// One report for each row of the tensor.
static std::vector<LayerReport> readReports(const Tensor &tensor) {
  std::vector<LayerReport> reports(tensor.data.size() / sizeof(ReportRow));
  for (size_t i = 0; i < reports.size(); ++i) {
    ReportRow row;
    std::memcpy(row.data(), tensor.data.data() + i * sizeof(row), sizeof(row));
    reports[i] = {row[0], row[1], row[2], row[3], row[4], row[5]};
  }
  return reports;
}

static checkpoint::TensorSpec reportSpec(const std::string &name, int64_t rows) {
  return {name + std::string(kReport), DType::F64, {rows, static_cast<int64_t>(std::tuple_size_v<ReportRow>)}};
}

//===----------------------------------------------------------------------===//
// The first stage's plan
//===----------------------------------------------------------------------===//

Result<std::unique_ptr<Calibration>> Calibration::create(const CalibratedOptions &options, unsigned threads,
                                                         const checkpoint::Checkpoint &checkpoint, const Weights &weights,
                                                         const InputScaling::Targets &targets, const Clip &clip) {
  CalibratedOptions given = options;
  given.text.threads = static_cast<int>(threads);
  if (options.method != "gptq")
    QUANT_TRY(InputScaling::checkSchemes(targets));
  QUANT_TRY_ASSIGN(TextRun run, TextRun::open(given.text, checkpoint.dir()));
  if (threads == 0)
    threads = std::max(1u, std::thread::hardware_concurrency());
  std::unique_ptr<Calibration> calibration(new Calibration(given, threads, std::move(run), checkpoint, weights, targets, clip));
  QUANT_TRY(calibration->plan());
  return calibration;
}

static const Weight &weightOf(const Weights &weights, const std::string &layer) { return *weights.find(layer + ".weight"); }

Result<void> Calibration::plan() {
  LayerColumns columns;
  for (const auto &[layer, target] : targets) {
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weightOf(weights, layer)));
    columns[layer] = rows.columns();
  }
  collector.emplace(text, checkpoint, columns, options.experts);
  for (const auto &[layer, target] : targets)
    if (!collector->inputOf(layer))
      unreached.push_back(layer);
  if (unreached.size() == targets.size())
    return fail("the module reads none of the layers that are to be quantized; was it compiled from this checkpoint?");
  return scales() ? planScales() : planLayers();
}

/// Opens another file where the cell does not fit into the last one: layers of the decoder do not share any.
void Calibration::addCell(Cell cell) {
  auto decoderLayer = [](const Cell &of) { return tools::numberAfter(of.layers.front(), "layers"); };
  if (!cells.empty() && decoderLayer(cells.back()) == decoderLayer(cell)) {
    std::set<size_t> both = cells.back().inputs;
    both.insert(cell.inputs.begin(), cell.inputs.end());
    if (int64_t bytes = bytesOf(both); bytes <= kCellBytes || (both.size() <= kParallelInputs && bytes <= kParallelCellBytes)) {
      Cell &last = cells.back();
      last.inputs = std::move(both);
      last.layers.insert(last.layers.end(), cell.layers.begin(), cell.layers.end());
      std::ranges::move(cell.shard.jobs, std::back_inserter(last.shard.jobs));
      return;
    }
  }
  size_t number = cells.size();
  cell.shard.file = fmt::format("model-calibrated-{:05}.safetensors", number + 1);
  cell.shard.prepare = [this, number] { return prepare(number); };
  cells.push_back(std::move(cell));
}

/// A layer's tensors, and a report for each step.
Result<Job> Calibration::layerJob(const std::string &layer) {
  const Target &target = targets.find(layer)->second;
  QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weightOf(weights, layer)));
  Job job = quantizeWeightJob(rows, layer, target.scheme, {});
  job.outputs.push_back(reportSpec(layer, job.steps));
  NumberFormat format(target.scheme, target.zeroPoints);
  job.run = [this, rows, layer, scheme = target.scheme, format](int64_t step, Sink &sink) -> Result<void> {
    LayerReport report;
    Encoder encode = [&](int64_t, const RowBlock &in) { return gptq.encode(layer, format, scheme, in, report); };
    QUANT_TRY(quantizeWeightJob(rows, layer, scheme, encode).run(step, sink));
    ReportRow row = rowOf(report);
    return sink.put(layer + std::string(kReport), static_cast<uint64_t>(step) * sizeof(row), std::as_bytes(std::span(row)));
  };
  return job;
}

Result<void> Calibration::planLayers() {
  for (size_t i = 0; i < collector->inputs().size(); ++i) {
    Cell cell{{i}, collector->inputs()[i].layers, {}};
    for (const std::string &layer : cell.layers) {
      QUANT_TRY_ASSIGN(Job job, layerJob(layer));
      cell.shard.jobs.push_back(std::move(job));
    }
    addCell(std::move(cell));
  }
  return {};
}

/// Scales of an input, and a report for each of its layers.
Job Calibration::scalesJob(const ScaledInput &input) {
  auto columns = static_cast<int64_t>(collector->inputs()[*collector->inputOf(input.layers.front())].columns);
  Job job;
  job.outputs = {{input.source + std::string(kScales), DType::F32, {columns}},
                 reportSpec(input.source, static_cast<int64_t>(input.layers.size()))};
  job.run = [this, input](int64_t, Sink &sink) -> Result<void> {
    std::optional<double> alpha = options.method == "smoothquant" ? std::optional(options.alpha) : std::nullopt;
    QUANT_TRY_ASSIGN(FoundScales found, InputScaling::search(input, hessians, weights, targets, alpha));
    std::vector<ReportRow> rows;
    std::ranges::transform(found.reports, std::back_inserter(rows), rowOf);
    QUANT_TRY(sink.put(input.source + std::string(kScales), 0, std::as_bytes(std::span(found.scales))));
    return sink.put(input.source + std::string(kReport), 0, std::as_bytes(std::span(rows)));
  };
  return job;
}

Result<void> Calibration::planScales() {
  QUANT_TRY_ASSIGN(inputs, InputScaling::inputsOf(weights, targets));
  std::erase_if(inputs, [&](const ScaledInput &input) {
    bool isOfExperts = input.fromLayer() || !input.router.empty();
    return (options.method == "smoothquant" && isOfExperts) ||
           !std::ranges::all_of(input.layers, [&](const std::string &layer) { return collector->inputOf(layer).has_value(); });
  });
  std::ranges::sort(inputs, {}, [&](const ScaledInput &input) { return *collector->inputOf(input.layers.front()); });
  for (const ScaledInput &input : inputs) {
    Cell cell{{}, input.layers, {}};
    for (const std::string &layer : input.layers)
      cell.inputs.insert(*collector->inputOf(layer));
    cell.shard.jobs.push_back(scalesJob(input));
    addCell(std::move(cell));
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

int64_t Calibration::bytesOf(const std::set<size_t> &inputs) const {
  HessianCollector::PassBytes bytes(*collector);
  bytes.add(inputs);
  return bytes.total();
}

/// What is needed beside the sums: the session while they are made, or what encodes the cell afterwards.
int64_t Calibration::workBytes(const Cell &cell) const {
  int64_t factors = 0, widest = 0, step = 0;
  for (size_t input : cell.inputs) {
    factors += factorBytes(collector->inputs()[input].columns);
    widest = std::max(widest, collector->inputs()[input].columns);
  }
  for (const std::string &layer : cell.layers) {
    auto rows = WeightRows::create(weightOf(weights, layer));
    int64_t weights = rows ? stepWeights(rows->rows(), rows->columns(), targets.find(layer)->second.scheme) : 0;
    int64_t tried = rows ? std::min(rows->rows(), InputScaling::kTriedRows) * rows->columns() : 0;
    step = std::max(step, encodingBytes(scales() ? tried : weights));
  }
  auto workers = static_cast<int64_t>(threads), factorizing = std::min(workers, static_cast<int64_t>(cell.inputs.size()));
  int64_t encoding = workers * step + (scales() ? 0 : factors + factorizing * factorizingBytes(widest));
  return std::max(encoding, text.sessionBytes());
}

/// The cells from `first` on whose sums fit into memory together, with what works on them.
size_t Calibration::endOfPass(size_t first) const {
  HessianCollector::PassBytes sums(*collector);
  int64_t work = 0;
  size_t end = first;
  for (; end < cells.size(); ++end) {
    sums.add(cells[end].inputs);
    work = std::max(work, workBytes(cells[end]));
    if (sums.total() + work > static_cast<int64_t>(options.memory) && end > first)
      break;
  }
  return end;
}

CalibrationForecast Calibration::forecast() const {
  CalibrationForecast forecast;
  forecast.files = cells.size();
  forecast.tokens = static_cast<int64_t>(text.tokens().size());
  for (size_t first = 0; first < cells.size(); ++forecast.passes) {
    HessianCollector::PassBytes sums(*collector);
    int64_t work = 0;
    for (size_t end = endOfPass(first); first < end; ++first) {
      const Cell &cell = cells[first];
      sums.add(cell.inputs);
      work = std::max(work, workBytes(cell));
      forecast.least = std::max(forecast.least, bytesOf(cell.inputs) + workBytes(cell));
      forecast.disk += cell.shard.bytes();
    }
    forecast.sums += sums.total();
    forecast.memory = std::max(forecast.memory, sums.total() + work);
  }
  return forecast;
}

std::string CalibrationForecast::describe(const std::string &sums) const {
  auto bytes = [](auto count) { return tools::humanBytes(static_cast<uint64_t>(count)); };
  return fmt::format(
      "\n  {} take {} in all: the {} tokens are run {} times, in {} of memory at most ({} at least by --memory), and "
      "{} files of {} lie beside the output meanwhile",
      sums, bytes(this->sums), tokens, passes, bytes(memory), bytes(least), files, bytes(disk));
}

nlohmann::json CalibrationForecast::json() const {
  return {{"passes", passes},  {"tokens", tokens}, {"sums_bytes", sums}, {"memory_bytes", memory}, {"least_memory_bytes", least},
          {"disk_bytes", disk}};
}

//===----------------------------------------------------------------------===//
// Running the first stage
//===----------------------------------------------------------------------===//

/// Has the sums for a cell in memory, and gives back those of the cells before it.
Result<void> Calibration::prepare(size_t cell) {
  for (; heldFrom < std::min(cell, heldTo); ++heldFrom) {
    gptq.drop(cells[heldFrom].layers);
    for (const std::string &layer : cells[heldFrom].layers)
      hessians.erase(layer);
  }
  if (cell >= heldFrom && cell < heldTo)
    return {};
  gptq.hold({});
  hessians.clear();
  heldFrom = cell;
  heldTo = endOfPass(cell);
  std::set<size_t> wanted;
  for (size_t i = heldFrom; i < heldTo; ++i)
    wanted.insert(cells[i].inputs.begin(), cells[i].inputs.end());
  QUANT_TRY_ASSIGN(Hessians collected, collector->collect(wanted));
  if (scales())
    hessians = std::move(collected);
  else
    gptq.hold(std::move(collected));
  return {};
}

Result<void> Calibration::run(const EngineOptions &output) {
  CalibrationForecast needs = forecast();
  if (needs.least > static_cast<int64_t>(options.memory))
    return fail(fmt::format("--memory {}: the least that this run can do with is {}", tools::humanBytes(options.memory),
                            tools::humanBytes(static_cast<uint64_t>(needs.least))));
  Plan plan;
  plan.command = "quantize --method=" + options.method;
  QUANT_TRY_ASSIGN(plan.options, fingerprint(options));
  plan.options += fmt::format(" {} {}", static_cast<int>(clip.method), clip.percentile);
  for (const auto &[layer, target] : targets)
    plan.options += fmt::format(" {}={}:{}", layer, target.choice.text(), target.format);
  plan.inputs = {&checkpoint};
  for (const Cell &cell : cells)
    plan.shards.push_back(cell.shard);
  QUANT_TRY_ASSIGN(folder, runFirstStage(plan, output, ".calibration"));
  gptq.hold({});
  hessians.clear();
  return read();
}

Result<void> Calibration::end() const { return removeFirstStage(folder); }

//===----------------------------------------------------------------------===//
// What came of it
//===----------------------------------------------------------------------===//

Result<void> Calibration::read() {
  QUANT_TRY_ASSIGN(done, checkpoint::Checkpoint::open(folder));
  for (const ScaledInput &input : inputs) {
    FoundScales found;
    const Tensor &scales = *done->find(input.source + std::string(kScales));
    found.scales.resize(scales.data.size() / sizeof(float));
    std::memcpy(found.scales.data(), scales.data.data(), scales.data.size());
    found.reports = readReports(*done->find(input.source + std::string(kReport)));
    for (size_t i = 0; i < input.layers.size(); ++i)
      reports[input.layers[i]] = found.reports[i];
    scaling.add(input, found);
  }
  for (const auto &[layer, target] : targets) {
    if (const Tensor *rows = scales() ? nullptr : done->find(layer + std::string(kReport)))
      for (const LayerReport &report : readReports(*rows))
        reports[layer].add(report);
    auto report = reports.find(layer);
    if (report == reports.end())
      continue;
    if (report->second.tokens == 0)
      unhit.push_back(layer);
    else if (report->second.borrowed > 0)
      borrowing.push_back(layer);
  }
  return {};
}

Encoder Calibration::encoder(const std::string &layer, const Scheme &scheme, bool zeroPoints) const {
  return scales() ? scaling.encoder(layer, scheme, zeroPoints) : roundToNearest(scheme, zeroPoints, clip);
}

static void addNote(const std::vector<std::string> &layers, const std::string &what, std::vector<std::string> &notes) {
  if (!layers.empty())
    notes.push_back(fmt::format("{} layers, {} first, {}", layers.size(), layers.front(), what));
}

std::vector<std::string> Calibration::notes() const {
  std::vector<std::string> notes;
  addNote(unreached, "are not computed by the module (MTP is not compiled): rounded to the nearest", notes);
  addNote(
      unhit,
      fmt::format("belong to experts that no token of the text chose: {}",
                  options.experts.floor > 0 ? "they go by the inputs of their layer's other experts" : "rounded to the nearest"),
      notes);
  addNote(
      borrowing,
      fmt::format("belong to experts with fewer than {} tokens: they borrow from their layer's others", options.experts.floor),
      notes);
  return notes;
}

Result<std::string> Calibration::fingerprint(const CalibratedOptions &options) {
  QUANT_TRY_ASSIGN(std::string text, convert::fingerprint(options.text));
  return fmt::format("{} {} {} {} {} {} {}", options.method, text, options.gptq.damp, options.gptq.actOrder,
                     options.experts.floor, options.experts.together, options.alpha);
}

json Calibration::report() const {
  json layers = json::object(), nearest = json::array();
  for (const auto &[layer, target] : targets)
    if (!reports.contains(layer))
      nearest.push_back(layer);
  for (const auto &[layer, report] : reports)
    layers[layer] = {{"tokens", report.tokens},
                     {"borrowed_tokens", report.borrowed},
                     {"damp", report.damp},
                     {"relative_output_error", report.signal > 0 ? report.carried / report.signal : 0},
                     {"relative_output_error_nearest", report.signal > 0 ? report.nearest / report.signal : 0},
                     {"of_nearest", report.nearest > 0 ? report.carried / report.nearest : 1}};
  return {
      {"layers", layers}, {"rounded_to_nearest", nearest}, {"experts_never_chosen", unhit}, {"experts_that_borrow", borrowing}};
}

std::string Calibration::summary() const {
  double sum = 0, worst = 0;
  for (const auto &[layer, report] : reports) {
    double share = report.nearest > 0 ? report.carried / report.nearest : 1;
    sum += share;
    worst = std::max(worst, share);
  }
  if (reports.empty())
    return "";
  return fmt::format("\n  {} on {} layers: output error {:.3f} of round-to-nearest's in the mean, {:.3f} at the worst",
                     options.method, reports.size(), sum / static_cast<double>(reports.size()), worst);
}
