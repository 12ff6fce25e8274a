//===- calibration.cpp - --calibration of quantize ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/calibration.h"

#include "runtime/abi/module_format.h"
#include "runtime/checkpoint/file.h"
#include "runtime/module/module.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

static constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

void convert::addCalibrationOptions(CLI::App &app, CalibratedOptions &options) {
  app.add_option("--calibration", options.text.text,
                 "Text for --method=gptq, awq and smoothquant: JSON, {\"tokens\": [ids]} or the ids alone")
      ->type_name("FILE.json");
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
  app.add_option("--expert-floor", options.text.expertFloor, "Tokens up to which an expert borrows from its layer's others")
      ->check(CLI::Range(0, 1 << 30).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_option("--calibration-memory", options.memoryGigabytes, "GB that the inputs' sums may take")
      ->check(CLI::Range(1, 1 << 20).description(""))
      ->type_name("GB")
      ->capture_default_str();
  app.add_option("--report", options.report,
                 "What became of each layer: output errors of the method and of rounding to the nearest")
      ->type_name("FILE.json");
}

Result<std::unique_ptr<Calibration>> Calibration::create(const CalibratedOptions &options, int threads,
                                                         const checkpoint::Checkpoint &checkpoint, const Weights &weights,
                                                         const InputScaling::Targets &targets, const Clip &clip) {
  CalibrationOptions text = options.text;
  text.memory = options.memoryGigabytes * 1000 * 1000 * 1000;
  text.threads = threads;
  std::map<std::string, int64_t, std::less<>> columns;
  for (const auto &[layer, target] : targets) {
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(*weights.find(layer + ".weight")));
    columns[layer] = rows.columns();
  }
  bool scales = options.method != "gptq";
  if (scales)
    QUANT_TRY(InputScaling::checkSchemes(targets));
  QUANT_TRY_ASSIGN(Hessians hessians, collectHessians(text, checkpoint, columns));
  std::unique_ptr<Calibration> calibration(new Calibration(options, hessians, clip));
  for (const auto &[layer, count] : columns) {
    const Hessian *hessian = calibration->gptq.find(layer);
    if (!calibration->gptq.knows(layer))
      calibration->unreached.push_back(layer);
    else if (hessian->tokens == 0)
      calibration->unhit.push_back(layer);
    else if (hessian->borrowed > 0)
      calibration->borrowing.push_back(layer);
  }
  if (calibration->unreached.size() == columns.size())
    return fail("the module reads none of the layers that are to be quantized; was it compiled from this checkpoint?");
  if (scales) {
    std::optional<double> alpha = options.method == "smoothquant" ? std::optional(options.alpha) : std::nullopt;
    QUANT_TRY_ASSIGN(calibration->scaling, InputScaling::create(hessians, weights, targets, alpha, threads));
  }
  return calibration;
}

Encoder Calibration::encoder(const std::string &layer, const Scheme &scheme, bool zeroPoints) {
  if (scaling)
    return scaling->encoder(layer, scheme, zeroPoints);
  return gptq.knows(layer) ? gptq.encoder(layer, scheme, zeroPoints) : roundToNearest(scheme, zeroPoints, clip);
}

static void addNote(const std::vector<std::string> &layers, const std::string &what, std::vector<std::string> &notes) {
  if (!layers.empty())
    notes.push_back(fmt::format("{} layers, {} first, {}", layers.size(), layers.front(), what));
}

std::vector<std::string> Calibration::notes() const {
  std::vector<std::string> notes;
  addNote(unreached, "are not computed by the module (MTP is not compiled): rounded to the nearest", notes);
  addNote(unhit, "belong to experts that no token of the text chose: they go by the inputs of their layer's other experts",
          notes);
  addNote(
      borrowing,
      fmt::format("belong to experts with fewer than {} tokens: they borrow from their layer's others", options.text.expertFloor),
      notes);
  return notes;
}

Result<std::string> Calibration::fingerprint(const CalibratedOptions &options) {
  QUANT_TRY_ASSIGN(std::string text, checkpoint::readFile(options.text.text, kMaxFileBytes));
  QUANT_TRY_ASSIGN(runtime::Module module, runtime::openModule(options.text.module));
  return fmt::format("{:016x} {:016x} {} {} {} {} {}", abi::fnv1a(text.data(), text.size()), module.hash, options.text.context,
                     options.gptq.damp, options.gptq.actOrder, options.text.expertFloor, options.alpha);
}

json Calibration::report() const {
  json layers = json::object();
  for (const auto &[layer, report] : layerReports())
    layers[layer] = {{"tokens", report.tokens},
                     {"borrowed_tokens", report.borrowed},
                     {"damp", report.damp},
                     {"relative_output_error", report.signal > 0 ? report.carried / report.signal : 0},
                     {"relative_output_error_nearest", report.signal > 0 ? report.nearest / report.signal : 0},
                     {"of_nearest", report.nearest > 0 ? report.carried / report.nearest : 1}};
  return {{"layers", layers},
          {"rounded_to_nearest", scaling ? scaling->unscaled() : unreached},
          {"experts_never_chosen", unhit},
          {"experts_that_borrow", borrowing}};
}

std::string Calibration::summary() const {
  double sum = 0, worst = 0;
  auto reports = layerReports();
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
