//===- quantize.cpp - quant-convert quantize ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/read.h"
#include "models/tensors.h"
#include "runtime/support/text.h"
#include "tools/common/units.h"
#include "tools/quant-convert/calibrate/calibration.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/quantize/policy.h"
#include "tools/quant-convert/quantize/quantize_weight.h"
#include "tools/quant-convert/quantize/quantized_config.h"
#include "tools/quant-convert/quantize/speed.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/weight_choice.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <iostream>
#include <thread>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

namespace {

struct QuantizeOptions {
  std::string input, policy, layout = "compressed-tensors", method = "rtn", indivisible = "error";
  SchemeChoice choice;
  std::vector<std::string> ignore;
  double percentile = 99.9;
  CalibratedOptions calibrated;
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
  int64_t layers = 0; ///< without those of MTP
  Decisions decisions = {};
  std::vector<TargetGroup> groups = {};
  std::map<std::string, size_t, std::less<>> groupOf = {}; ///< of a module
  std::unique_ptr<Calibration> calibration = {};
  std::vector<std::string> notes = {};
  ModuleSet kept = {}; ///< all other matrices
  size_t copied = 0, dequantized = 0, scaled = 0;
  int64_t parameters = 0, memory = 0;

  size_t quantized() const { return groupOf.size(); }
};

std::string moduleOf(std::string_view weight) {
  constexpr std::string_view kSuffix = ".weight";
  return std::string(weight.ends_with(kSuffix) ? weight.substr(0, weight.size() - kSuffix.size()) : weight);
}

} // namespace

//===----------------------------------------------------------------------===//
// Which weights become what
//===----------------------------------------------------------------------===//

/// The linear layers that DeepSeek-V3 itself quantizes, and that the checkpoint has.
static Result<ModuleSet> quantizableModules(Quantize &quantize) {
  auto config = models::loadConfig(quantize.conversion.input.dir());
  if (!config)
    return fail(config.error().message + "; it says which layers there are to quantize");
  config->quantization = {everyLinear(deepSeekFp8()), {}};
  quantize.layers = config->nLayers;
  ModuleSet modules;
  for (const models::TensorSpec &tensor : models::checkpointTensors(*config))
    if (tensor.dtype == DType::F8E4M3FN && quantize.weights.find(tensor.name))
      modules.insert(moduleOf(tensor.name));
  if (modules.empty())
    return fail(printable(quantize.conversion.input.dir().native()) +
                ": holds none of the weights that its config.json promises");
  return modules;
}

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

/// What --indivisible makes of a decision for a layer of so many columns.
static Result<Decision> divide(Quantize &quantize, const Decision &decision, const Weight &weight) {
  QUANT_TRY_ASSIGN(Target target, chooseTarget(*decision, quantize.layout));
  QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weight));
  auto fits = checkFits(rows, target.scheme);
  if (fits)
    return decision;
  int64_t group = target.scheme.block[1];
  bool isDivision = target.scheme.block[0] == 1 && group > 0 && rows.columns() % group != 0;
  if (isDivision && quantize.options.indivisible == "keep")
    return Decision();
  SchemeChoice smaller = *decision;
  for (smaller.groupSize = group / 2; smaller.groupSize >= 16 && rows.columns() % smaller.groupSize != 0;)
    smaller.groupSize /= 2;
  if (isDivision && quantize.options.indivisible == "smaller" && smaller.groupSize >= 16 &&
      chooseTarget(smaller, quantize.layout))
    return Decision(smaller);
  return fail(fits.error().message + (isDivision ? "; --indivisible=smaller or keep does either for all such layers" : ""));
}

static Result<void> decide(Quantize &quantize) {
  QUANT_TRY_ASSIGN(ModuleSet modules, quantizableModules(quantize));
  QUANT_TRY_ASSIGN(Policy policy, policyOf(quantize.options));
  QUANT_TRY_ASSIGN(quantize.decisions, applyPolicy(policy, modules, quantize.layers));
  std::map<SchemeChoice, std::pair<std::string, size_t>> divided;
  for (auto &[module, decision] : quantize.decisions) {
    if (!decision)
      continue;
    SchemeChoice asked = *decision;
    QUANT_TRY_ASSIGN(decision, divide(quantize, decision, *quantize.weights.find(module + ".weight")));
    if (decision != Decision(asked)) {
      auto &[first, count] = divided[asked];
      first = count++ == 0 ? module : first;
    }
  }
  for (const auto &[asked, layers] : divided)
    quantize.notes.push_back(fmt::format("{} layers, {} first, have columns that the groups of {} do not divide: {}",
                                         layers.second, layers.first, asked.name,
                                         quantize.options.indivisible == "keep" ? "kept as they are" : "smaller groups"));
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

/// Runs the calibration text, but not for a plan alone.
static Result<void> calibrate(Quantize &quantize) {
  const QuantizeOptions &options = quantize.options;
  if (!options.isCalibrated() || options.run.dryRun)
    return {};
  InputScaling::Targets targets;
  for (const auto &[module, group] : quantize.groupOf)
    targets.emplace(module, quantize.groups[group].target);
  CalibratedOptions calibrated = options.calibrated;
  calibrated.method = options.method;
  QUANT_TRY_ASSIGN(quantize.calibration, Calibration::create(calibrated, options.run.engine.threads, quantize.conversion.input,
                                                             quantize.weights, targets, options.clip()));
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
  Encoder encode = quantize.calibration ? quantize.calibration->encoder(module, target.scheme, target.zeroPoints)
                                        : roundToNearest(target.scheme, target.zeroPoints, quantize.options.clip());
  jobs.push_back(quantizeWeightJob(rows, module, target.scheme, encode));
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
  // The speed of a calibrated run is not that of rounding to the nearest.
  if (quantize.options.run.dryRun && !quantize.options.isCalibrated())
    addForecast(quantize, summary);
  return summary;
}

static Result<void> runQuantize(const QuantizeOptions &options) {
  if (options.choice.name.empty() && options.policy.empty())
    return fail("say what to do: --scheme=w4a16, or --policy with a file or a preset:\n" + describePresets());
  QUANT_TRY_ASSIGN(FileLayout layout, parseFileLayout(options.layout));
  QUANT_TRY_ASSIGN(auto conversion, Conversion::open("quantize", options.input));
  QUANT_TRY_ASSIGN(auto weights, conversion.readWeights(options.run.engine.threads));
  Quantize quantize{options, std::move(conversion), std::move(weights), layout};
  QUANT_TRY(decide(quantize));
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
  plan.options =
      fmt::format("{} {} {} {} {}", options.layout, options.method, options.percentile, calibrated, plan.sideFiles.front().text);
  QUANT_TRY(addCompanions(quantize.conversion.input.dir(), Companions::All, plan.sideFiles));
  QUANT_TRY(quantize.conversion.run({}, options.run, [&] { return summarize(quantize); }));
  if (quantize.calibration && !options.calibrated.report.empty())
    return checkpoint::writeFileAtomically(options.calibrated.report, quantize.calibration->report().dump(1) + "\n");
  return {};
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
  app->final_callback([options] {
    bool isSaid = !options->calibrated.text.text.empty() && !options->calibrated.text.module.empty();
    if (options->isCalibrated() != isSaid)
      throw CLI::ValidationError("--method=gptq, awq or smoothquant, --calibration and --module go together");
  });
  addRunOptions(*app, options->run);
  app->footer(
      "Quantized are the linear layers that DeepSeek-V3 itself quantizes: attention, feed-forward, experts, MTP layers "
      "included.\n"
      "A policy is {\"default\": CHOICE, \"rules\": [{\"match\": PATTERN, \"layers\": [0, -1], CHOICE}]}, where CHOICE "
      "is \"scheme\"\n"
      "(or \"keep\"), \"group_size\", \"zero_points\"; the first rule that names a layer counts. Presets:\n" +
      describePresets() +
      "Streams: memory does not grow with the model, but with a calibrated method. Started again after it was stopped, it goes "
      "on.\n\nExamples:\n"
      "  quant-convert quantize DeepSeek-V3 --scheme=w8a8 -o v3-int8\n"
      "  quant-convert quantize tuned --scheme=w4a16 --method=gptq --calibration text.json --module tuned.qmod -o tuned-int4\n"
      "  quant-convert quantize tuned-bf16 --policy=int8-int4 --dry-run -o tuned-mixed");
  return {app, [options] { return runQuantize(*options); }};
}
