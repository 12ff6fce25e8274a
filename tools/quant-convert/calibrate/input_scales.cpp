//===- input_scales.cpp - static scales of inputs -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/input_scales.h"

#include "tools/common/tensor_name.h"
#include "tools/common/units.h"
#include "tools/quant-convert/calibrate/first_stage.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

static constexpr std::string_view kInputScale = ".input_scale", kAmax = ".input_amax", kTokens = ".input_tokens";
static constexpr std::array<std::string_view, 3> kRecipes = {"running-max", "delayed", "percentile"};

void convert::addInputScaleOptions(CLI::App &app, AmaxOptions &options) {
  std::map<std::string, AmaxRecipe> recipes;
  for (size_t i = 0; i < kRecipes.size(); ++i)
    recipes[std::string(kRecipes[i])] = static_cast<AmaxRecipe>(i);
  app.add_option("--input-scales", options.recipe,
                 "With fp8-tensor-static: what of the largest magnitudes of the text's pieces an input's scale goes by: the "
                 "largest of all, of the last ones (delayed scaling), or a percentile, beyond which inputs saturate")
      ->transform(CLI::CheckedTransformer(recipes).description(""))
      ->type_name("running-max|delayed|percentile")
      ->default_str(std::string(kRecipes[0]));
  app.add_option("--amax-history", options.history, "With --input-scales=delayed: how many pieces")
      ->check(CLI::Range(1, 1 << 30).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--input-percentile", options.percentile, "With --input-scales=percentile: in percent of the pieces")
      ->check(CLI::Range(0.0, 100.0).description(""))
      ->type_name("P")
      ->capture_default_str();
}

//===----------------------------------------------------------------------===//
// The plan of the first stage
//===----------------------------------------------------------------------===//

Result<std::unique_ptr<InputScales>> InputScales::create(const CalibratedOptions &options, const AmaxOptions &amax,
                                                         unsigned threads, const checkpoint::Checkpoint &checkpoint,
                                                         const Weights &weights, const std::vector<std::string> &layers) {
  CalibratedOptions given = options;
  given.text.threads = static_cast<int>(threads);
  QUANT_TRY_ASSIGN(TextRun run, TextRun::open(given.text, checkpoint.dir()));
  std::unique_ptr<InputScales> scales(new InputScales(given, amax, std::move(run), checkpoint));
  LayerColumns columns;
  for (const std::string &layer : layers) {
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(*weights.find(layer + ".weight")));
    columns[layer] = rows.columns();
  }
  QUANT_TRY(scales->plan(columns));
  return scales;
}

Result<void> InputScales::plan(const LayerColumns &columns) {
  collector.emplace(text, checkpoint, columns, options.experts);
  std::vector<std::string> unreached;
  for (const auto &[layer, width] : columns)
    if (!collector->inputOf(layer))
      unreached.push_back(layer);
  if (!unreached.empty())
    return fail(
        fmt::format("{} layers, {} first, are not computed by the module (MTP is not compiled), so that no token reaches "
                    "them and their inputs have no scale; leave them out, as by --ignore=layers.{}, or give them a scheme "
                    "that scales inputs per token, such as fp8-tensor, in a --policy",
                    unreached.size(), unreached.front(), tools::numberAfter(unreached.front(), "layers")));
  const auto &inputs = collector->inputs();
  for (size_t i = 0; i < inputs.size(); ++i) {
    int64_t layer = tools::numberAfter(inputs[i].layers.front(), "layers");
    if (cells.empty() || cells.back().decoderLayer != layer) {
      size_t number = cells.size();
      cells.push_back({layer, {}, {}});
      cells.back().shard.file = fmt::format("model-inputs-{:05}.safetensors", number + 1);
      cells.back().shard.prepare = [this, number] { return prepare(number); };
    }
    cells.back().inputs.insert(i);
    cells.back().shard.jobs.push_back(rangeJob(inputs[i]));
  }
  return {};
}

/// The history of an input, under the name of its first layer.
Job InputScales::rangeJob(const HessianCollector::Input &input) const {
  const std::string &layer = input.layers.front();
  std::vector<int64_t> shape = {static_cast<int64_t>(text.pieces())};
  Job job;
  job.outputs = {{layer + std::string(kAmax), DType::F32, shape}, {layer + std::string(kTokens), DType::I64, shape}};
  job.run = [this, layer](int64_t, Sink &sink) -> Result<void> {
    const InputRange &range = *held.at(layer);
    QUANT_TRY(sink.put(layer + std::string(kAmax), 0, std::as_bytes(std::span(range.largest))));
    return sink.put(layer + std::string(kTokens), 0, std::as_bytes(std::span(range.tokens)));
  };
  return job;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

int64_t InputScales::rangeBytes(const Cell &cell) const {
  return static_cast<int64_t>(cell.inputs.size() * text.pieces() * (sizeof(float) + sizeof(int64_t)));
}

/// The session, and the rows of one input in f64.
int64_t InputScales::workBytes() const {
  int64_t widest = 0;
  for (const HessianCollector::Input &input : collector->inputs())
    widest = std::max(widest, input.columns);
  return text.sessionBytes() + text.context() * widest * static_cast<int64_t>(sizeof(double));
}

size_t InputScales::endOfPass(size_t first) const {
  size_t end = first;
  for (int64_t bytes = workBytes(); end < cells.size(); ++end) {
    bytes += rangeBytes(cells[end]);
    if (bytes > static_cast<int64_t>(options.memory) && end > first)
      break;
  }
  return end;
}

CalibrationForecast InputScales::forecast() const {
  CalibrationForecast forecast;
  forecast.files = cells.size();
  forecast.tokens = static_cast<int64_t>(text.tokens().size());
  for (size_t first = 0; first < cells.size(); ++forecast.passes) {
    int64_t pass = workBytes();
    for (size_t end = endOfPass(first); first < end; ++first) {
      int64_t bytes = rangeBytes(cells[first]);
      pass += bytes;
      forecast.sums += bytes;
      forecast.least = std::max(forecast.least, workBytes() + bytes);
      forecast.disk += cells[first].shard.bytes();
    }
    forecast.memory = std::max(forecast.memory, pass);
  }
  return forecast;
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

/// Has the magnitudes for a cell in memory, in place of those of an earlier pass.
Result<void> InputScales::prepare(size_t cell) {
  if (cell >= heldFrom && cell < heldTo)
    return {};
  held.clear();
  heldFrom = cell;
  heldTo = endOfPass(cell);
  std::set<size_t> wanted;
  for (size_t i = heldFrom; i < heldTo; ++i)
    wanted.insert(cells[i].inputs.begin(), cells[i].inputs.end());
  QUANT_TRY_ASSIGN(held, collector->collectRanges(wanted));
  return {};
}

Result<void> InputScales::run(const EngineOptions &output) {
  CalibrationForecast needs = forecast();
  if (needs.least > static_cast<int64_t>(options.memory))
    return fail(fmt::format("--memory {}: the least that this run can do with is {}", tools::humanBytes(options.memory),
                            tools::humanBytes(static_cast<uint64_t>(needs.least))));
  Plan plan;
  plan.command = "quantize, largest inputs";
  QUANT_TRY_ASSIGN(plan.options, convert::fingerprint(options.text));
  plan.options += fmt::format(" {}", options.experts.together);
  plan.inputs = {&checkpoint};
  for (const Cell &cell : cells)
    plan.shards.push_back(cell.shard);
  QUANT_TRY_ASSIGN(folder, runFirstStage(plan, output, ".input-scales"));
  held.clear();
  auto made = read();
  if (!made) // another text or policy comes next
    QUANT_TRY(end());
  return made;
}

/// The folder's histories as scales.
Result<void> InputScales::read() {
  QUANT_TRY_ASSIGN(auto done, checkpoint::Checkpoint::open(folder));
  InputRanges ranges;
  for (const HessianCollector::Input &input : collector->inputs()) {
    auto range = std::make_shared<InputRange>(InputRange{std::vector<float>(text.pieces()), std::vector<int64_t>(text.pieces())});
    const Tensor &largest = *done.find(input.layers.front() + std::string(kAmax));
    const Tensor &tokens = *done.find(input.layers.front() + std::string(kTokens));
    std::memcpy(range->largest.data(), largest.data.data(), largest.data.size());
    std::memcpy(range->tokens.data(), tokens.data.data(), tokens.data.size());
    for (const std::string &layer : input.layers)
      ranges[layer] = range;
  }
  QUANT_TRY_ASSIGN(scales, staticScales(ranges, amax, options.experts.floor));
  return {};
}

Result<void> InputScales::end() const { return removeFirstStage(folder); }

Job InputScales::job(const std::string &layer) const {
  std::string name = layer + std::string(kInputScale);
  return {{{name, DType::F32, {1}}}, 1, [this, layer, name](int64_t, Sink &sink) {
            return sink.put(name, 0, std::as_bytes(std::span(&scales.find(layer)->second.scale, 1)));
          }};
}

//===----------------------------------------------------------------------===//
// What came of it
//===----------------------------------------------------------------------===//

static std::vector<std::string> borrowing(const StaticScales &scales) {
  std::vector<std::string> layers;
  for (const auto &[layer, scale] : scales)
    if (scale.isBorrowed)
      layers.push_back(layer);
  return layers;
}

std::vector<std::string> InputScales::notes() const {
  std::vector<std::string> notes, few = borrowing(scales);
  if (amax.recipe == AmaxRecipe::Percentile)
    notes.emplace_back(
        "scaling inputs by a percentile gives up the greatest, which models often need; judge the model by an engine "
        "that rounds its inputs: --held-out and quant-run do not");
  if (!few.empty())
    notes.push_back(
        fmt::format("{} layers, {} first, belong to experts that fewer than {} tokens of the text chose: their inputs "
                    "are scaled by the largest of their layer's experts",
                    few.size(), few.front(), std::max<int64_t>(1, options.experts.floor)));
  return notes;
}

json InputScales::report() const {
  json layers = json::object();
  for (const auto &[layer, scale] : scales)
    layers[layer] = {{"scale", scale.scale},
                     {"amax", scale.amax},
                     {"tokens", scale.tokens},
                     {"pieces", scale.pieces},
                     {"pieces_beyond", scale.beyond}};
  json recipe = {{"name", kRecipes[static_cast<size_t>(amax.recipe)]}};
  if (amax.recipe == AmaxRecipe::Delayed)
    recipe["history"] = amax.history;
  if (amax.recipe == AmaxRecipe::Percentile)
    recipe["percentile"] = amax.percentile;
  return {
      {"recipe", recipe}, {"pieces", text.pieces()}, {"layers", layers}, {"experts_by_their_layers_largest", borrowing(scales)}};
}

std::string InputScales::summary() const {
  if (scales.empty())
    return "";
  auto byScale = [](const auto &a, const auto &b) { return a.second.scale < b.second.scale; };
  auto [least, most] = std::ranges::minmax_element(scales, byScale);
  int64_t beyond = std::ranges::count_if(scales, [](const auto &entry) { return entry.second.beyond > 0; });
  return fmt::format("\n  inputs of {} layers are scaled by the {} of {} pieces: {:.4g} ({}) to {:.4g} ({}); inputs of {} layers "
                     "saturate on the text",
                     scales.size(), kRecipes[static_cast<size_t>(amax.recipe)], text.pieces(), least->second.scale, least->first,
                     most->second.scale, most->first, beyond);
}

Result<std::string> InputScales::fingerprint() const {
  QUANT_TRY_ASSIGN(std::string read, convert::fingerprint(options.text));
  return fmt::format("{} {} {} {} {} {}", read, options.experts.floor, options.experts.together, static_cast<int>(amax.recipe),
                     amax.history, amax.percentile);
}
