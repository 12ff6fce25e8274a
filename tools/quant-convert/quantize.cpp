//===- quantize.cpp - quant-convert quantize ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"
#include "tools/common/units.h"
#include "tools/quant-convert/calibrate/input_scales.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/quantize/layers.h"
#include "tools/quant-convert/quantize/speed.h"
#include "tools/quant-convert/report/quantize_report.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/weight_choice.h"
#include "tools/quant-convert/sensitivity/measure.h"
#include "tools/quant-convert/sensitivity/mixture.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <iostream>
#include <thread>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

namespace {

struct QuantizeOptions {
  std::string input, policy, budget, sensitivity, layout = "compressed-tensors", method = "rtn", indivisible = "error";
  SchemeChoice choice;
  std::vector<std::string> ignore;
  double percentile = 99.9;
  std::filesystem::path writePolicy, report, heldOut;
  CalibratedOptions calibrated;
  AmaxOptions inputScales;
  RunOptions run;

  bool isCalibrated() const { return method == "gptq" || method == "awq" || method == "smoothquant"; }

  Clip clip() const {
    ClipMethod how = method == "mse" ? ClipMethod::Mse : method == "percentile" ? ClipMethod::Percentile : ClipMethod::None;
    return {how, percentile};
  }
};

/// A checkpoint on its way to a quantized one.
struct Quantize {
  const QuantizeOptions &options;
  Conversion conversion;
  Weights weights;
  FileLayout layout;
  Decisions decisions = {};
  std::optional<Sensitivities> sensitivities = {};
  std::optional<Mixture> mixture = {}; ///< of --budget
  std::vector<TargetGroup> groups = {};
  std::map<std::string, size_t, std::less<>> groupOf = {}; ///< of a module
  std::unique_ptr<Calibration> calibration = {};
  std::unique_ptr<InputScales> inputScales = {};
  std::vector<std::string> notes = {};
  ModuleSet kept = {}; ///< all other matrices
  size_t copied = 0, dequantized = 0, scaled = 0;
  int64_t parameters = 0, memory = 0;

  size_t quantized() const { return groupOf.size(); }
};

} // namespace

//===----------------------------------------------------------------------===//
// Which weights become what
//===----------------------------------------------------------------------===//

/// --policy, --scheme and --ignore together.
static Result<Policy> policyOf(const QuantizeOptions &options) {
  Policy policy{"--scheme", {}, {}};
  if (!options.policy.empty()) {
    QUANT_TRY_ASSIGN(policy, readPolicy(options.policy));
  }
  if (!options.ignore.empty())
    policy.rules.insert(policy.rules.begin(), {options.ignore, {}, {}});
  if (options.choice.name.empty())
    return policy;
  if (policy.otherwise)
    return fail(fmt::format("{}: has a default, {}; leave --scheme out", printable(policy.name), policy.otherwise->name));
  policy.otherwise = options.choice;
  return policy;
}

/// The group of layers that are written as `choice`; a new one if there is none.
static Result<size_t> groupFor(Quantize &quantize, const SchemeChoice &choice) {
  QUANT_TRY_ASSIGN(Target target, chooseTarget(choice, quantize.layout));
  for (size_t i = 0; i < quantize.groups.size(); ++i)
    if (quantize.groups[i].target == target)
      return i;
  quantize.groups.push_back({std::move(target), {}});
  return quantize.groups.size() - 1;
}

/// --budget's mixture as a policy, which --write-policy takes.
static Result<Policy> mix(Quantize &quantize, const QuantizableLayers &layers) {
  const QuantizeOptions &options = quantize.options;
  QUANT_TRY_ASSIGN(Budget budget, parseBudget(options.budget));
  QUANT_TRY_ASSIGN(quantize.mixture, chooseMixture(budget, *quantize.sensitivities, layers, quantize.weights, quantize.layout));
  json policy = quantize.mixture->policy();
  if (!options.writePolicy.empty())
    QUANT_TRY(checkpoint::writeFileAtomically(options.writePolicy, quantize.mixture->policy().dump(1) + "\n"));
  return parsePolicy(policy, "--budget");
}

static Result<void> decide(Quantize &quantize) {
  QUANT_TRY_ASSIGN(QuantizableLayers layers, quantizableLayers(quantize.conversion.input, quantize.weights));
  QUANT_TRY_ASSIGN(Policy policy, quantize.options.budget.empty() ? policyOf(quantize.options) : mix(quantize, layers));
  QUANT_TRY_ASSIGN(quantize.decisions, applyPolicy(policy, layers.modules, layers.decoderLayers));
  Indivisible how = parseIndivisible(quantize.mixture ? quantize.mixture->indivisible : quantize.options.indivisible);
  std::map<SchemeChoice, std::pair<std::string, size_t>> divided;
  for (auto &[module, decision] : quantize.decisions) {
    if (!decision)
      continue;
    SchemeChoice asked = *decision;
    QUANT_TRY_ASSIGN(decision, fitChoice(asked, *quantize.weights.find(module + ".weight"), quantize.layout, how));
    if (decision != Decision(asked)) {
      auto &[first, count] = divided[asked];
      first = count++ == 0 ? module : first;
    }
  }
  for (const auto &[asked, layers] : divided)
    quantize.notes.push_back(fmt::format("{} layers, {} first, have columns that the groups of {} do not divide: {}",
                                         layers.second, layers.first, asked.name,
                                         how == Indivisible::Keep ? "kept as they are" : "smaller groups"));
  QUANT_TRY(checkFusions(quantize.decisions));
  for (const auto &[module, decision] : quantize.decisions) {
    if (!decision)
      continue;
    QUANT_TRY_ASSIGN(size_t group, groupFor(quantize, *decision));
    quantize.groups[group].modules.insert(module);
    quantize.groupOf[module] = group;
  }
  if (quantize.groups.empty())
    return fail("nothing is to be quantized: no layer has a scheme by --scheme and --policy");
  auto notes = engineNotes(quantize.decisions);
  quantize.notes.insert(quantize.notes.end(), notes.begin(), notes.end());
  return {};
}

/// Runs the calibration text for the scales of inputs, but not for a plan alone.
static Result<void> scaleInputs(Quantize &quantize) {
  const QuantizeOptions &options = quantize.options;
  std::vector<std::string> layers;
  for (const auto &[module, group] : quantize.groupOf)
    if (quantize.groups[group].target.hasInputScale())
      layers.push_back(module);
  bool hasText = !options.calibrated.text.text.empty();
  if (layers.empty())
    return hasText && !options.isCalibrated() ? fail(fmt::format("--calibration: no layer becomes fp8-tensor-static, and "
                                                                 "--method={} does not look at inputs; leave it out",
                                                                 options.method))
                                              : Result<void>();
  if (!hasText || options.calibrated.text.module.empty())
    return fail(fmt::format("{} layers, {} first, become fp8-tensor-static, whose scales of inputs a text shows: give "
                            "--calibration and --module",
                            layers.size(), layers.front()));
  QUANT_TRY_ASSIGN(quantize.inputScales, InputScales::create(options.calibrated, options.inputScales, options.run.engine.threads,
                                                             quantize.conversion.input, quantize.weights, layers));
  if (!options.run.dryRun)
    QUANT_TRY(quantize.inputScales->run(options.run.engine));
  std::vector<std::string> notes = quantize.inputScales->notes();
  quantize.notes.insert(quantize.notes.end(), notes.begin(), notes.end());
  return {};
}

/// The same for the method.
static Result<void> calibrate(Quantize &quantize) {
  const QuantizeOptions &options = quantize.options;
  if (!options.isCalibrated())
    return {};
  InputScaling::Targets targets;
  for (const auto &[module, group] : quantize.groupOf)
    targets.emplace(module, quantize.groups[group].target);
  CalibratedOptions calibrated = options.calibrated;
  calibrated.method = options.method;
  QUANT_TRY_ASSIGN(quantize.calibration, Calibration::create(calibrated, options.run.engine.threads, quantize.conversion.input,
                                                             quantize.weights, targets, options.clip()));
  if (!options.run.dryRun)
    QUANT_TRY(quantize.calibration->run(options.run.engine));
  std::vector<std::string> notes = quantize.calibration->notes();
  quantize.notes.insert(quantize.notes.end(), notes.begin(), notes.end());
  return {};
}

//===----------------------------------------------------------------------===//
// The plan
//===----------------------------------------------------------------------===//

static Result<void> addQuantized(Quantize &quantize, const Weight &weight, const std::string &module, std::vector<Job> &jobs) {
  const Target &target = quantize.groups[quantize.groupOf.at(module)].target;
  QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weight));
  const Calibration *calibration = quantize.calibration.get();
  Encoder encode = calibration ? calibration->encoder(module, target.scheme, target.zeroPoints)
                               : roundToNearest(target.scheme, target.zeroPoints, quantize.options.clip());
  Job job = quantizeWeightJob(rows, module, target.scheme, encode);
  if (calibration && calibration->finished(job.outputs.front().name))
    for (const checkpoint::TensorSpec &output : job.outputs)
      jobs.push_back(copyJob(*calibration->finished(output.name), output.name));
  else
    jobs.push_back(std::move(job));
  if (target.hasInputScale())
    jobs.push_back(quantize.inputScales->job(module));
  quantize.parameters += rows.rows() * rows.columns();
  quantize.memory = std::max(quantize.memory, stepBytes(rows.rows(), rows.columns(), target.scheme));
  return {};
}

static Result<void> addTensor(Quantize &quantize, const Tensor &tensor, std::vector<Job> &jobs) {
  if (quantize.weights.isPart(tensor))
    return {};
  const Weight &weight = quantize.weights.of(tensor);
  std::string module = moduleOf(weight.name);
  if (quantize.groupOf.contains(module))
    return addQuantized(quantize, weight, module, jobs);
  bool isMatrix = weight.linear || (tensor.info->shape.size() >= 2 && isCastable(tensor.info->dtype));
  if (isMatrix)
    quantize.kept.insert(module);
  if (const auto *factors = quantize.calibration ? quantize.calibration->factors(module) : nullptr) {
    jobs.push_back(scaledTensorJob(tensor, weight.name, *factors));
    ++quantize.scaled;
    return {};
  }
  quantize.dequantized += weight.linear.has_value();
  quantize.copied += !weight.linear;
  jobs.push_back(weight.linear ? decodeJob(*weight.linear, weight.name, DType::BF16) : copyJob(tensor, weight.name));
  return {};
}

//===----------------------------------------------------------------------===//
// The command
//===----------------------------------------------------------------------===//

static json describeGroups(const Quantize &quantize) {
  json list = json::array();
  for (const TargetGroup &group : quantize.groups)
    list.push_back({{"scheme", group.target.describe()}, {"layers", group.modules.size()}});
  return list;
}

/// What a run would take, from the speed of the encoder here and now.
static void addForecast(const Quantize &quantize, Summary &summary) {
  unsigned threads = quantize.options.run.engine.threads ? quantize.options.run.engine.threads
                                                         : std::max(1u, std::thread::hardware_concurrency());
  const Target &target = quantize.groups.front().target;
  double speed = encodeSpeed(target.scheme, target.zeroPoints, quantize.options.clip());
  double seconds = static_cast<double>(quantize.parameters) / speed / threads;
  auto memory = static_cast<uint64_t>(quantize.memory) * threads;
  summary.words +=
      fmt::format("\n  about {} on {} threads at {}/s each, measured now on a sample, and the disk's time; {} of memory",
                  tools::humanTime(seconds), threads, tools::humanCount(static_cast<uint64_t>(speed)), tools::humanBytes(memory));
  summary.json["forecast"] = {{"seconds", seconds}, {"weights_per_second_and_thread", speed}, {"memory_bytes", memory}};
}

/// What a calibrated run would take. Its speed is that of the model, and not measured. `sums`: what it keeps of the inputs.
static void addCalibratedForecast(const CalibrationForecast &forecast, const char *sums, const char *key, Summary &summary) {
  summary.words += forecast.describe(sums);
  summary.json[key] = forecast.json();
}

static Summary summarize(const Quantize &quantize) {
  Summary summary;
  std::string groups;
  for (const TargetGroup &group : quantize.groups)
    groups += fmt::format("{}{} layers to {}", groups.empty() ? "" : ", ", group.modules.size(), group.target.describe());
  summary.words = fmt::format("{}; {} tensors copied", groups, quantize.copied);
  if (quantize.dequantized)
    summary.words += fmt::format(", {} dequantized to BF16", quantize.dequantized);
  if (quantize.scaled)
    summary.words += fmt::format(", {} norms and routers scaled", quantize.scaled);
  summary.json = {{"input", quantize.options.input},     {"method", quantize.options.method}, {"format", quantize.options.layout},
                  {"groups", describeGroups(quantize)},  {"quantized", quantize.quantized()}, {"copied", quantize.copied},
                  {"dequantized", quantize.dequantized}, {"parameters", quantize.parameters}, {"notes", quantize.notes}};
  if (quantize.calibration)
    summary.words += quantize.calibration->summary();
  if (quantize.inputScales)
    summary.words += quantize.inputScales->summary();
  if (quantize.mixture) {
    summary.words += "\n  --budget " + quantize.options.budget + ": " + quantize.mixture->describe();
    summary.words.pop_back(); // the last line's end
    summary.json["budget"] = quantize.mixture->json();
  }
  if (!quantize.options.run.dryRun)
    return summary;
  if (quantize.calibration)
    addCalibratedForecast(quantize.calibration->forecast(), "sums over the inputs", "forecast", summary);
  else
    addForecast(quantize, summary);
  if (quantize.inputScales)
    addCalibratedForecast(quantize.inputScales->forecast(), "largest inputs", "input_scales_forecast", summary);
  return summary;
}

//===----------------------------------------------------------------------===//
// The report
//===----------------------------------------------------------------------===//

/// The held-out text through the input's module, with the weights as they were and as they are.
static Result<QuantizedModel::Judged> judge(const Quantize &quantize) {
  const QuantizeOptions &options = quantize.options;
  TextRunOptions text = options.calibrated.text;
  text.text = options.heldOut;
  text.threads = static_cast<int>(options.run.engine.threads);
  QUANT_TRY_ASSIGN(TextRun run, TextRun::open(text, quantize.conversion.input.dir()));
  std::filesystem::path scratch = options.report;
  scratch += ".scratch";
  QUANT_TRY_ASSIGN(SensitivityMeter meter, SensitivityMeter::create(run, quantize.conversion.input, quantize.weights, scratch,
                                                                    options.run.engine.threads));
  QuantizedModel::Judged judged;
  judged.tokens = static_cast<int64_t>(run.tokens().size());
  QUANT_TRY_ASSIGN(judged.loss, meter.measureBase());
  QUANT_TRY_ASSIGN(judged.cost, meter.measureFolder(options.run.engine.output));
  return judged;
}

static Result<void> writeReport(const Quantize &quantize) {
  const QuantizeOptions &options = quantize.options;
  QuantizedModel model;
  model.input = quantize.conversion.input.dir();
  model.output = options.run.engine.output;
  model.method = options.method;
  model.groups = describeGroups(quantize);
  for (const auto &[module, group] : quantize.groupOf) {
    model.schemes[module] = quantize.groups[group].target.describe();
    QUANT_TRY_ASSIGN(int64_t bytes, storedBytes(quantize.groups[group].target.choice, *quantize.weights.find(module + ".weight"),
                                                quantize.layout));
    model.layerBytes += bytes;
  }
  model.parameters = quantize.parameters;
  model.notes = quantize.notes;
  model.calibration = quantize.calibration.get();
  model.inputScales = quantize.inputScales.get();
  model.sensitivities = quantize.sensitivities ? &*quantize.sensitivities : nullptr;
  model.mixture = quantize.mixture ? &*quantize.mixture : nullptr;
  if (!options.heldOut.empty()) {
    QUANT_TRY_ASSIGN(model.judged, judge(quantize));
  }
  QUANT_TRY_ASSIGN(auto described, describeQuantized(model, options.run.engine.threads));
  bool isPage = options.report.extension() == ".html";
  return checkpoint::writeFileAtomically(options.report, isPage ? quantizedPage(described) : described.dump(1) + "\n");
}

static Result<void> runQuantize(const QuantizeOptions &options) {
  if (options.choice.name.empty() && options.policy.empty() && options.budget.empty())
    return fail("say what to do: --scheme=w4a16, --budget with sensitivities, or --policy with a file or a preset:\n" +
                describePresets());
  QUANT_TRY_ASSIGN(FileLayout layout, parseFileLayout(options.layout));
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("quantize", options.input));
  QUANT_TRY_ASSIGN(auto weights, conversion.readWeights(options.run.engine.threads));
  Quantize quantize{options, std::move(conversion), std::move(weights), layout};
  if (!options.sensitivity.empty()) {
    QUANT_TRY_ASSIGN(quantize.sensitivities, Sensitivities::read(options.sensitivity));
  }
  QUANT_TRY(decide(quantize));
  QUANT_TRY(scaleInputs(quantize));
  QUANT_TRY(calibrate(quantize));
  for (const std::string &note : quantize.notes)
    std::cerr << "note: " << note << "\n";
  if (options.method == "percentile")
    std::cerr << "note: clipping by percentile gives up the greatest weights, which models often need; compare perplexities\n";
  QUANT_TRY(quantize.conversion.keepFiles(
      [&](const Tensor &tensor, std::vector<Job> &jobs) { return addTensor(quantize, tensor, jobs); }));
  Plan &plan = quantize.conversion.plan;
  QUANT_TRY_ASSIGN(plan.sideFiles, quantizedConfigFiles(*quantize.conversion.config, layout, quantize.groups, quantize.kept));
  std::string calibrated;
  if (options.isCalibrated()) {
    QUANT_TRY_ASSIGN(calibrated, Calibration::fingerprint(options.calibrated));
  }
  if (quantize.inputScales) {
    QUANT_TRY_ASSIGN(std::string scales, quantize.inputScales->fingerprint());
    calibrated += " " + scales;
  }
  plan.options =
      fmt::format("{} {} {} {} {}", options.layout, options.method, options.percentile, calibrated, plan.sideFiles.front().text);
  QUANT_TRY(addCompanions(quantize.conversion.input.dir(), Companions::All, plan.sideFiles));
  QUANT_TRY(quantize.conversion.run({}, options.run, [&] { return summarize(quantize); }));
  if (options.run.dryRun)
    return {};
  if (!options.report.empty())
    QUANT_TRY(writeReport(quantize));
  if (quantize.inputScales)
    QUANT_TRY(quantize.inputScales->end());
  return quantize.calibration ? quantize.calibration->end() : Result<void>();
}

static void addSchemeOptions(CLI::App &app, QuantizeOptions &options) {
  app.add_option("--scheme", options.choice.name, "What linear layers become that no rule of --policy names: " + schemeNames())
      ->type_name("NAME");
  app.add_option("--group-size", options.choice.groupSize,
                 "Columns that share a scale, with w4a16, w4a8, w4afp8 (128 by default) and w8a16 (whole rows by default); -1: "
                 "whole rows")
      ->type_name("N");
  app.add_flag("--zero-points", options.choice.zeroPoints, "Zero points, with w4a16 and w8a16");
  app.add_option("--policy", options.policy, "A preset, or a file of rules, see below")->type_name("PRESET|FILE.json");
  app.add_option("--ignore", options.ignore,
                 "Layers to leave as they are: a part of the name, or re: and an expression from its beginning")
      ->type_name("PATTERN");
  auto *budget = app.add_option("--budget", options.budget,
                                "The mix of --sensitivity's schemes that loses least within so many bits a weight of these "
                                "layers, scales included, or such a size of all tensors, as in 350GB")
                     ->type_name("Nbits|SIZE");
  for (const char *other : {"--scheme", "--group-size", "--zero-points", "--policy", "--ignore"})
    budget->excludes(app.get_option(other));
  auto *sensitivity = app.add_option("--sensitivity", options.sensitivity,
                                     "What quant-convert sensitivity measured of IN, for --budget, and for --report to show")
                          ->type_name("FILE.json");
  budget->needs(sensitivity);
  app.add_option("--write-policy", options.writePolicy, "Write what --budget chose, as --policy reads it")
      ->needs(budget)
      ->type_name("FILE.json");
  app.add_option("--format", options.layout, "Whose layout: " + layoutNames() + ". gptq holds w4a16, deepseek fp8-block")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option(
         "--method", options.method,
         "How scales are chosen: rtn by the greatest magnitude, mse by the least squared error of the weights, percentile "
         "by --percentile of the magnitudes. By what --calibration shows of the inputs: gptq, as rtn, and each column's error "
         "is carried on to the next ones; awq, as rtn of columns that are scaled by their inputs, which norms and up_proj are "
         "divided by; smoothquant, as awq, by inputs and weights so that inputs are easier to quantize, by --alpha")
      ->check(CLI::IsMember({"rtn", "mse", "percentile", "gptq", "awq", "smoothquant"}).description(""))
      ->type_name("rtn|mse|percentile|gptq|awq|smoothquant")
      ->capture_default_str();
  app.add_option("--percentile", options.percentile, "In percent, with --method=percentile")
      ->check(CLI::Range(50.0, 100.0).description(""))
      ->type_name("P")
      ->capture_default_str();
  app.add_option("--indivisible", options.indivisible,
                 "Layers whose columns groups do not divide: an error, kept, or smaller groups")
      ->check(CLI::IsMember({"error", "keep", "smaller"}).description(""))
      ->type_name("error|keep|smaller")
      ->capture_default_str();
}

Command convert::addQuantizeCommand(CLI::App &parent) {
  auto options = std::make_shared<QuantizeOptions>();
  CLI::App *app = parent.add_subcommand("quantize", "Quantizes a BF16 or FP8 checkpoint to INT8, INT4, FP8, MX or NVFP4.");
  app->add_option("input", options->input, "Folder of the checkpoint")->required()->type_name("IN");
  app->add_option("-o,--output", options->run.engine.output, "Folder to write to")->required()->type_name("OUT");
  options->run.engine.outputFlag = "-o";
  addSchemeOptions(*app, *options);
  addCalibrationOptions(*app, options->calibrated);
  addInputScaleOptions(*app, options->inputScales);
  auto *report =
      app->add_option("--report", options->report,
                      "What became of each weight, as a page or as JSON: SQNR and cosine, output errors of the method and "
                      "of rounding to the nearest, static scales of inputs, --sensitivity as plots, experts that no token chose")
          ->type_name("FILE.html|FILE.json");
  app->add_option("--held-out", options->heldOut,
                  "With --report and --module: a text, or token ids as JSON, by which the model is judged before and after")
      ->needs(report)
      ->type_name("FILE.txt|FILE.json");
  app->final_callback([options, app] {
    bool hasText = !options->calibrated.text.text.empty(), hasModule = !options->calibrated.text.module.empty();
    bool isStatic = options->choice.name == "fp8-tensor-static", mayBeStatic = isStatic || options->choice.name.empty();
    if ((options->isCalibrated() || isStatic) ? !hasText || !hasModule : hasText && (!mayBeStatic || !hasModule))
      throw CLI::ValidationError(
          "--method=gptq, awq or smoothquant, or --scheme=fp8-tensor-static, and --calibration and --module go together");
    for (const char *flag : {"--input-scales", "--amax-history", "--input-percentile"})
      if (!mayBeStatic && app->count(flag) > 0)
        throw CLI::ValidationError(std::string(flag) + " goes with fp8-tensor-static, in --scheme or a --policy");
    auto needs = [&](const char *flag, AmaxRecipe recipe, const char *name) {
      if (app->count(flag) > 0 && options->inputScales.recipe != recipe)
        throw CLI::ValidationError(std::string(flag) + " goes with --input-scales=" + name);
    };
    needs("--amax-history", AmaxRecipe::Delayed, "delayed");
    needs("--input-percentile", AmaxRecipe::Percentile, "percentile");
    if (!options->heldOut.empty() && !hasModule)
      throw CLI::ValidationError("--held-out runs the text through --module");
    if (!options->sensitivity.empty() && options->budget.empty() && options->report.empty())
      throw CLI::ValidationError("--sensitivity goes with --budget or --report");
  });
  addRunOptions(*app, options->run);
  app->footer(
      "Quantized are the linear layers that DeepSeek-V3 itself quantizes: attention, feed-forward, experts, MTP layers "
      "included.\n"
      "A policy is {\"default\": CHOICE, \"rules\": [{\"match\": PATTERN, \"layers\": [0, -1], CHOICE}]}, where CHOICE "
      "is \"scheme\"\n"
      "(or \"keep\"), \"group_size\", \"zero_points\"; the first rule that names a layer counts. Presets:\n" +
      describePresets() +
      "Streams: memory does not grow with the model. Started again after it was stopped, it goes on; a calibrated run keeps what "
      "it has\nin OUT.calibration, fp8-tensor-static in OUT.input-scales, meanwhile.\n\nExamples:\n"
      "  quant-convert quantize DeepSeek-V3 --scheme=w8a8 -o v3-int8\n"
      "  quant-convert quantize tuned --scheme=w4a16 --method=gptq --calibration text.json --module tuned.qmod -o tuned-int4\n"
      "  quant-convert quantize tuned --scheme=fp8-tensor-static --calibration text.txt --module tuned.qmod --ignore=layers.61 "
      "-o tuned-fp8\n"
      "  quant-convert quantize tuned-bf16 --policy=int8-int4 --dry-run -o tuned-mixed\n"
      "  quant-convert quantize tuned --budget=4.25bits --sensitivity tuned.json --write-policy mix.json -o tuned-mix");
  return {app, [options] { return runQuantize(*options); }};
}
