//===- ExplainKernels.cpp - the cost model's choices as tables ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/ExplainKernels.h"

#include "passes/schedule/AttentionCost.h"
#include "tools/common/table.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

using Json = nlohmann::ordered_json;

namespace quant {

/// The M that are shown: those of a decode batch, both sides of a tile's edge, and prefill.
static constexpr int64_t kShownM[] = {1, 4, 8, 16, 17, 32, 64, 100, 128, 129, 256, 300, 512, 1024, 2048, 4096, 8192};

static std::string format(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

static std::string microseconds(double seconds) { return format(1e6 * seconds, 1); }

/// The faster of tensor peak and HBM, by the data sheet, over the predicted time.
static double rooflineShare(const schedule::GemmCost &cost, const machine::Gpu &gpu) {
  double floor = std::max(cost.flops / gpu.nominalTensorFlops, cost.hbmBytes / gpu.hbmBytesPerSecond);
  return floor / cost.seconds;
}

//===----------------------------------------------------------------------===//
// One shape
//===----------------------------------------------------------------------===//

/// The choice at each shown M that --m covers, or at its ends.
static std::vector<std::pair<int64_t, schedule::RankedConfig>> choicesByM(const KernelOptions &options, const RequestedM &m,
                                                                          const machine::Gpu &gpu) {
  std::vector<int64_t> shown = {m.min, m.max};
  for (int64_t value : kShownM)
    if (value > m.min && value < m.max)
      shown.push_back(value);
  std::sort(shown.begin(), shown.end());
  shown.erase(std::unique(shown.begin(), shown.end()), shown.end());
  std::vector<std::pair<int64_t, schedule::RankedConfig>> choices;
  for (int64_t value : shown)
    for (schedule::RankedConfig &best : schedule::rankConfigs(gemmProblem(options), value, gpu))
      choices.emplace_back(value, std::move(best));
  return choices;
}

static std::string bestTable(const KernelOptions &options, const RequestedM &m, const machine::Gpu &gpu) {
  tools::Table table(
      {">M", "tile", ">us", ">TFLOPS", ">GB/s", ">% roof", ">tensor", ">shared", ">L2", ">chain", ">HBM", ">split", "why"});
  for (const auto &[value, best] : choicesByM(options, m, gpu)) {
    const schedule::GemmCost &cost = best.cost;
    table.add({std::to_string(value), tileText(best.config), microseconds(cost.seconds),
               format(1e-12 * cost.flops / cost.seconds, 0), format(1e-9 * cost.hbmBytes / cost.seconds, 0),
               format(100 * rooflineShare(cost, gpu), 0), microseconds(cost.tensor), microseconds(cost.shared),
               microseconds(cost.l2), microseconds(cost.chain), microseconds(cost.hbm), microseconds(cost.reduction),
               schedule::explainConfig(best, value, gpu)});
  }
  return table.str();
}

static std::string rangeText(const PlannedRange &range) {
  if (range.open)
    return fmt::format("{}-", range.minM);
  return range.minM == range.maxM ? std::to_string(range.minM) : std::to_string(range.minM) + "-" + std::to_string(range.maxM);
}

/// The variants of the problem; none with --tile.
static std::vector<schedule::GemmVariant> variantsOf(const KernelOptions &options, const RequestedM &m, const machine::Gpu &gpu) {
  if (!options.tile.empty())
    return {};
  return schedule::chooseVariants(gemmProblem(options), gpu,
                                  {.minM = m.min, .maxM = m.max, .maxKernels = static_cast<size_t>(options.maxKernels)});
}

static std::string rangeTable(const KernelOptions &options, const KernelPlan &plan, const RequestedM &m,
                              const machine::Gpu &gpu) {
  std::vector<schedule::GemmVariant> variants = variantsOf(options, m, gpu);
  tools::Table table({"M", "tile", ">% lost", ">at worst", "why at the largest M"});
  for (size_t index = 0; index < plan.ranges.size(); ++index) {
    const PlannedRange &range = plan.ranges[index];
    std::string mean = "", worst = "";
    if (index < variants.size()) {
      mean = format(100 * variants[index].meanLoss, 1);
      worst = format(100 * variants[index].worstLoss, 1) + " (M = " + std::to_string(variants[index].worstM) + ")";
    }
    table.add({rangeText(range), tileText(range.choice->config), mean, worst, range.reason});
  }
  return table.str();
}

Result<std::string> explainGemm(const KernelOptions &options) {
  QUANT_TRY_ASSIGN(auto plan, planKernels(options));
  RequestedM m = *parseM(options.m);
  machine::Gpu gpu = *machine::findGpu(options.gpu);
  schedule::GemmProblem problem = gemmProblem(options);
  std::string groups = options.isGrouped() ? fmt::format("{} groups with M rows each, ", options.groups) : "";
  return fmt::format("{} {}N = {}, K = {} on {}: the fastest kernel by M, predicted (us, and us at each limit "
                     "alone)\n\n{}\n{} kernel(s) for all of these M, and what they lose against the fastest\n\n{}",
                     options.kernel, groups, problem.n, problem.k, gpu.name, bestTable(options, m, gpu), plan.kernels.size(),
                     rangeTable(options, plan, m, gpu));
}

static Json costJson(const schedule::GemmCost &cost) {
  return {{"seconds", cost.seconds},
          {"launch", cost.launch},
          {"main", cost.main},
          {"tensor", cost.tensor},
          {"shared", cost.shared},
          {"l2", cost.l2},
          {"chain", cost.chain},
          {"epilogue", cost.epilogue},
          {"wave_idle", cost.waveIdle},
          {"hbm", cost.hbm},
          {"reduction", cost.reduction},
          {"waves", cost.waves},
          {"limit", schedule::costLimitName(cost.limit)}};
}

Result<Json> explainGemmJson(const KernelOptions &options) {
  QUANT_TRY_ASSIGN(auto plan, planKernels(options));
  RequestedM m = *parseM(options.m);
  machine::Gpu gpu = *machine::findGpu(options.gpu);
  schedule::GemmProblem problem = gemmProblem(options);
  Json best = Json::array(), variants = Json::array();
  for (const auto &[value, choice] : choicesByM(options, m, gpu))
    best.push_back({{"m", value},
                    {"tile", tileText(choice.config)},
                    {"cost", costJson(choice.cost)},
                    {"reason", schedule::explainConfig(choice, value, gpu)}});
  for (const PlannedRange &range : plan.ranges)
    variants.push_back({{"m", {range.minM, range.maxM}}, {"tile", tileText(range.choice->config)}, {"reason", range.reason}});
  std::vector<schedule::GemmVariant> chosen = variantsOf(options, m, gpu);
  for (size_t index = 0; index < chosen.size(); ++index) {
    variants[index]["mean_loss"] = chosen[index].meanLoss;
    variants[index]["worst_loss"] = chosen[index].worstLoss;
  }
  Json explained = {{"kernel", options.kernel}, {"n", problem.n}, {"k", problem.k},
                    {"gpu", gpu.name},          {"best", best},   {"variants", variants}};
  if (options.isGrouped())
    explained["groups"] = options.groups;
  return explained;
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

namespace {
/// So many tokens, each of a sequence with so many keys, and what is best for them.
struct AttentionCase {
  int64_t tokens, keys, splits;
  schedule::MlaDecodeCost cost;
};
} // namespace

/// Decoding at a few batches and lengths, as far as the table of pages goes.
static Result<std::vector<AttentionCase>> attentionCases(const KernelOptions &options) {
  QUANT_TRY(planKernels(options));
  machine::Gpu gpu = *machine::findGpu(options.gpu);
  std::vector<AttentionCase> cases;
  for (int64_t tokens : {1, 8, 32, 128})
    for (int64_t keys : {1024, 4096, 32768}) {
      machine::MlaDecodeConfig config = mlaDecodeConfig(options);
      if (keys > config.pages * machine::MlaDecodeConfig::kBlock)
        continue;
      config.splits = schedule::chooseKeySplits(config, tokens, keys, gpu);
      cases.push_back({tokens, keys, config.splits, schedule::predictMlaDecode(config, tokens, keys, gpu)});
    }
  return cases;
}

Result<std::string> explainMlaDecode(const KernelOptions &options) {
  QUANT_TRY_ASSIGN(auto cases, attentionCases(options));
  tools::Table table({">tokens", ">keys", ">splits", ">us", ">tensor", ">shared", ">L2", ">chain", ">HBM", ">combine", "limit"});
  for (const AttentionCase &at : cases) {
    const schedule::MlaDecodeCost &cost = at.cost;
    table.add({std::to_string(at.tokens), std::to_string(at.keys), std::to_string(at.splits), microseconds(cost.seconds),
               microseconds(cost.tensor), microseconds(cost.shared), microseconds(cost.l2), microseconds(cost.chain),
               microseconds(cost.hbm), microseconds(cost.combine), std::string(schedule::costLimitName(cost.limit))});
  }
  return fmt::format(
      "mla_decode of {} heads on {}: tokens of as many sequences with so many keys each, the best number of parts, "
      "predicted (us, and us at each limit alone)\n\n{}",
      options.heads, options.gpu, table.str());
}

Result<Json> explainMlaDecodeJson(const KernelOptions &options) {
  QUANT_TRY_ASSIGN(auto cases, attentionCases(options));
  Json best = Json::array();
  for (const AttentionCase &at : cases)
    best.push_back({{"tokens", at.tokens},
                    {"keys", at.keys},
                    {"splits", at.splits},
                    {"seconds", at.cost.seconds},
                    {"limit", schedule::costLimitName(at.cost.limit)}});
  return Json{{"kernel", options.kernel}, {"heads", options.heads}, {"gpu", options.gpu}, {"best", best}};
}

//===----------------------------------------------------------------------===//
// All kernels
//===----------------------------------------------------------------------===//

std::string listKernels() {
  std::string text;
  for (const KernelKind &kind : kernelKinds()) {
    text += fmt::format("{}{}: {}\n", text.empty() ? "" : "\n", kind.name, kind.summary);
    tools::Table table({"", "", ""});
    for (const KernelFlag &flag : kind.flags)
      table.add({flag.name, flag.values, std::string(flag.meaning) + (flag.required ? " (required)" : "")});
    std::string rows = table.str(2);
    text += rows.substr(rows.find('\n') + 1);
  }
  return text;
}

Json listKernelsJson() {
  Json kinds = Json::array();
  for (const KernelKind &kind : kernelKinds()) {
    Json flags = Json::array();
    for (const KernelFlag &flag : kind.flags)
      flags.push_back({{"flag", flag.name}, {"values", flag.values}, {"meaning", flag.meaning}, {"required", flag.required}});
    kinds.push_back({{"kernel", kind.name}, {"summary", kind.summary}, {"flags", flags}});
  }
  return kinds;
}

Result<std::string> explainDenseShapes(const KernelOptions &options) {
  constexpr std::pair<int64_t, int64_t> kDense[] = {{2112, 7168},  {576, 7168},  {24576, 1536}, {32768, 512},
                                                    {7168, 16384}, {4096, 7168}, {7168, 2048}};
  std::string text;
  for (auto [n, k] : kDense) {
    KernelOptions shape = options;
    shape.kernel = "fp8_gemm";
    shape.n = n;
    shape.k = k;
    QUANT_TRY_ASSIGN(auto explained, explainGemm(shape));
    text += (text.empty() ? "" : "\n") + explained;
  }
  return text;
}

} // namespace quant
