//===- sensitivity.cpp - quant-convert sensitivity ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"
#include "tools/common/progress.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/sensitivity/measure.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <cmath>
#include <iostream>

using namespace quant;
using namespace quant::convert;
namespace fs = std::filesystem;

namespace {

struct SensitivityOptions {
  std::string input;
  fs::path output;
  std::vector<std::string> schemes = {"w8a16", "w4a16", "w4a16:32"};
  std::string indivisible = "smaller";
  TextRunOptions text;
  bool force = false, json = false;
};

} // namespace

/// What an earlier run has measured of the same, else nothing yet. Errors: the file is of something else.
static Result<Sensitivities> begin(const SensitivityOptions &options, const std::string &fingerprint) {
  std::error_code ignored;
  Sensitivities fresh;
  if (!options.force && fs::exists(options.output, ignored)) {
    QUANT_TRY_ASSIGN(fresh, Sensitivities::read(options.output));
    if (fresh.fingerprint != fingerprint)
      return fail(fmt::format("{}: was measured of another model, module, text or with other options; choose another -o, or "
                              "replace it with --force",
                              printable(options.output.native())));
  }
  fresh.fingerprint = fingerprint;
  fresh.indivisible = options.indivisible;
  return fresh;
}

static Result<std::vector<SchemeChoice>> choicesOf(const SensitivityOptions &options) {
  std::vector<SchemeChoice> choices;
  for (const std::string &scheme : options.schemes) {
    QUANT_TRY_ASSIGN(SchemeChoice choice, parseChoice(scheme));
    choices.push_back(choice);
  }
  return choices;
}

/// Units of the layers that the module computes: without MTP's. Errors: a weight that is quantized already.
static Result<std::vector<LayerUnit>> measurableUnits(const QuantizableLayers &layers, const Weights &weights) {
  std::vector<LayerUnit> units = unitsOf(layers.modules);
  std::erase_if(units, [&](const LayerUnit &unit) { return unit.layer >= layers.decoderLayers; });
  for (const LayerUnit &unit : units)
    for (const std::string &module : unit.modules)
      QUANT_TRY(SensitivityMeter::checkPlain(*weights.find(module + ".weight")));
  return units;
}

static Result<void> measureAll(const SensitivityOptions &options, Conversion &conversion, const Weights &weights,
                               const TextRun &run, Sensitivities &measured) {
  QUANT_TRY_ASSIGN(std::vector<SchemeChoice> choices, choicesOf(options));
  QUANT_TRY_ASSIGN(QuantizableLayers layers, quantizableLayers(conversion.input, weights));
  std::vector<std::pair<LayerUnit, SchemeChoice>> missing;
  QUANT_TRY_ASSIGN(std::vector<LayerUnit> units, measurableUnits(layers, weights));
  for (const LayerUnit &unit : units) {
    QUANT_TRY_ASSIGN(int64_t parameters, parametersOf(unit, weights));
    for (const SchemeChoice &choice : choices)
      if (!measured.of(unit, parameters).costs.contains(choice))
        missing.emplace_back(unit, choice);
  }
  if (missing.empty())
    return {};
  fs::path scratch = options.output;
  scratch += ".scratch";
  QUANT_TRY_ASSIGN(SensitivityMeter meter, SensitivityMeter::create(run, conversion.input, weights, scratch,
                                                                    static_cast<unsigned>(options.text.threads)));
  tools::Progress progress("measuring", missing.size() + 1, tools::stderrTerminal(), tools::humanCount);
  QUANT_TRY_ASSIGN(measured.loss, meter.measureBase());
  progress.add(1);
  for (const auto &[unit, choice] : missing) {
    QUANT_TRY_ASSIGN(UnitCost cost, meter.measure(unit, choice, parseIndivisible(options.indivisible)));
    measured.of(unit, 0).costs[choice] = cost;
    QUANT_TRY(conversion.input.verifyUnchanged());
    QUANT_TRY(measured.write(options.output));
    progress.add(1);
  }
  return {};
}

static Result<void> runSensitivity(const SensitivityOptions &options) {
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("sensitivity", options.input));
  QUANT_TRY_ASSIGN(auto weights, conversion.readWeights(static_cast<unsigned>(options.text.threads)));
  QUANT_TRY_ASSIGN(TextRun run, TextRun::open(options.text, conversion.input.dir()));
  Plan plan;
  plan.command = "sensitivity";
  plan.inputs = {&conversion.input};
  QUANT_TRY_ASSIGN(plan.options, fingerprint(options.text));
  plan.options += " " + options.indivisible;
  QUANT_TRY_ASSIGN(std::string print, convert::fingerprint(plan));
  QUANT_TRY_ASSIGN(Sensitivities measured, begin(options, print));
  measured.tokens = static_cast<int64_t>(run.tokens().size());
  measured.context = run.context();
  QUANT_TRY(measureAll(options, conversion, weights, run, measured));
  if (options.json)
    std::cout << measured.json().dump(1) << "\n";
  else
    std::cout << fmt::format("perplexity {:.4f} unquantized, of {} tokens, context {}; with one part quantized alone, KL in nats "
                             "and perplexity:\n",
                             std::exp(measured.loss), measured.tokens, measured.context)
              << measured.describe();
  return {};
}

Command convert::addSensitivityCommand(CLI::App &parent) {
  auto options = std::make_shared<SensitivityOptions>();
  CLI::App *app = parent.add_subcommand("sensitivity", "Measures what quantizing each kind in each layer alone costs.");
  app->add_option("input", options->input, "Folder of the checkpoint, in BF16 or F32")->required()->type_name("IN");
  app->add_option("-o,--output", options->output, "File to write; with what is in it of the same, it goes on")
      ->required()
      ->type_name("FILE.json");
  app->add_option("--module", options->text.module, "IN compiled for the host by quant-compile: runs the text")
      ->required()
      ->type_name("FILE.qmod");
  app->add_option("--text", options->text.text,
                  "Held-out text: a text, or token ids as JSON, {\"tokens\": [ids]} or the ids alone")
      ->required()
      ->type_name("FILE.txt|FILE.json");
  app->add_option("--schemes", options->schemes,
                  "What to try: as quantize --scheme, with group size and zero-points after colons")
      ->delimiter(',')
      ->type_name("NAME[:GROUP][:zero-points],...")
      ->capture_default_str();
  app->add_option("--context", options->text.context,
                  "Tokens of a piece of the text with its BOS; 0: the module's limit, 2048 at most")
      ->check(CLI::Range(0, 1 << 20).description(""))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--indivisible", options->indivisible,
                  "Layers whose columns groups do not divide: an error, kept, or smaller groups")
      ->check(CLI::IsMember({"error", "keep", "smaller"}).description(""))
      ->type_name("error|keep|smaller")
      ->capture_default_str();
  app->add_option("--threads", options->text.threads, "Workers; 0 is one per core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  app->add_flag("--force", options->force, "Replace a file of something else, or start over");
  app->add_flag("--json", options->json, "Say it as JSON");
  app->footer(
      "Kinds are attention, dense feed-forward layers, routed experts and shared experts. Weights are rounded to the nearest, "
      "inputs are\nnot quantized. What is measured is written at once: stopped and started again, it goes on. MTP layers are "
      "not measured.\n\nExample:\n"
      "  quant-convert sensitivity tuned --module tuned.qmod --text held-out.txt --schemes=w8a16,w4a16:32,mxfp4 -o tuned.json\n"
      "  quant-convert quantize tuned --budget=4.5bits --sensitivity tuned.json -o tuned-4.5");
  return {app, [options] { return runSensitivity(*options); }};
}
