//===- compare.cpp - quant-convert compare --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/compare.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/checkpoint/writer.h"
#include "runtime/support/text.h"
#include "tools/common/parallel.h"
#include "tools/common/progress.h"
#include "tools/common/tensor_name.h"
#include "tools/quant-convert/command.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <optional>
#include <regex>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

//===----------------------------------------------------------------------===//
// Pairing
//===----------------------------------------------------------------------===//

namespace {

/// Both sides of a tensor.
struct Pair {
  TensorValues a, b;
};

/// A part of a pair that one thread takes at a time.
struct Slab {
  size_t pair;
  uint64_t begin, end;
  Metrics metrics;
};

/// std::regex recurses over the text; no tensor's name is that long but for mischief.
constexpr size_t kLongestMatched = 4096;

/// Values of a slab.
constexpr uint64_t kSlab = 4 << 20;

} // namespace

static Result<std::array<int64_t, 2>> readBlock(const TensorSource &source) {
  std::error_code ignored;
  if (std::filesystem::symlink_status(source.configPath(), ignored).type() == std::filesystem::file_type::not_found)
    return std::array<int64_t, 2>{128, 128};
  auto config = checkpoint::readJsonFile(source.configPath(), 16u << 20);
  if (!config)
    return tl::unexpected(config.error());
  return tools::weightBlock(*config);
}

/// The tensors to compare: all but scales of weights that are there, and only those that the pattern names.
static std::vector<const TensorSource::Tensor *> selectTensors(const TensorSource &source,
                                                               const std::optional<std::regex> &pattern) {
  std::vector<const TensorSource::Tensor *> selected;
  for (const auto &tensor : source.tensors()) {
    const std::string &name = tensor.info->name;
    std::string weightName = weightOfScale(name, source);
    const auto *weight = weightName.empty() ? nullptr : source.find(weightName);
    bool used = weight && findScale(source, *weight) == &tensor;
    bool named = !pattern || (name.size() <= kLongestMatched && std::regex_search(name, *pattern));
    if (!used && named)
      selected.push_back(&tensor);
  }
  return selected;
}

static Result<Pair> makePair(const TensorSource &sourceA, const TensorSource::Tensor &a, std::array<int64_t, 2> blockA,
                             const TensorSource &sourceB, const TensorSource::Tensor &b, std::array<int64_t, 2> blockB) {
  if (a.info->shape != b.info->shape)
    return fail("has shape " + shapeText(a.info->shape) + " in A and " + shapeText(b.info->shape) + " in B");
  auto valuesA = TensorValues::create(a, findScale(sourceA, a), blockA);
  if (!valuesA)
    return fail(valuesA.error().message + ", in A");
  auto valuesB = TensorValues::create(b, findScale(sourceB, b), blockB);
  if (!valuesB)
    return fail(valuesB.error().message + ", in B");
  return Pair{*valuesA, *valuesB};
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

/// Measures all pairs. The slabs of a tensor are added in their order: the sums do not depend on who is done first.
static void measurePairs(const std::vector<Pair> &pairs, unsigned threads, Comparison &comparison) {
  std::vector<Slab> slabs;
  for (size_t i = 0; i < pairs.size(); ++i) {
    uint64_t elements = pairs[i].a.elements();
    comparison.bytes += pairs[i].a.bytes(0, elements).size() + pairs[i].b.bytes(0, elements).size();
    for (uint64_t begin = 0; begin < elements; begin += kSlab)
      slabs.push_back({i, begin, std::min(begin + kSlab, elements), {}});
  }
  tools::Progress progress("comparing", comparison.bytes);
  tools::parallelFor(slabs.size(), threads, [&](size_t i) {
    Slab &slab = slabs[i];
    const Pair &pair = pairs[slab.pair];
    auto bytesA = pair.a.bytes(slab.begin, slab.end - slab.begin), bytesB = pair.b.bytes(slab.begin, slab.end - slab.begin);
    tools::willRead(bytesA);
    tools::willRead(bytesB);
    slab.metrics = measure(pair.a, pair.b, slab.begin, slab.end);
    tools::doneReading(bytesA);
    tools::doneReading(bytesB);
    progress.add(bytesA.size() + bytesB.size());
  });
  for (const Slab &slab : slabs)
    append(comparison.tensors[slab.pair].metrics, slab.metrics);
  comparison.seconds = progress.seconds();
}

Result<Comparison> convert::compareCheckpoints(const CompareOptions &options) {
  std::optional<std::regex> pattern;
  if (!options.tensorPattern.empty())
    pattern.emplace(options.tensorPattern);
  auto a = TensorSource::open(options.a), b = TensorSource::open(options.b);
  if (!a || !b)
    return tl::unexpected(a ? b.error() : a.error());
  auto blockA = readBlock(*a), blockB = readBlock(*b);
  if (!blockA || !blockB)
    return tl::unexpected(blockA ? blockB.error() : blockA.error());

  Comparison comparison{options.a, options.b, {}, {}, {}, {}, 0, 0};
  std::vector<Pair> pairs;
  auto tensorsA = selectTensors(*a, pattern), tensorsB = selectTensors(*b, pattern);
  for (const auto *tensor : tensorsA) {
    const checkpoint::TensorInfo &info = *tensor->info;
    const auto *other = b->find(info.name);
    if (!other) {
      comparison.onlyInA.push_back(info.name);
      continue;
    }
    if (auto pair = makePair(*a, *tensor, *blockA, *b, *other, *blockB)) {
      comparison.tensors.push_back({info.name,
                                    tools::moduleKind(info.name),
                                    tools::numberAfter(info.name, "layers"),
                                    info.shape,
                                    info.dtype,
                                    other->info->dtype,
                                    {}});
      pairs.push_back(*pair);
    } else {
      comparison.notCompared.push_back({info.name, pair.error().message});
    }
  }
  for (const auto *tensor : tensorsB)
    if (!a->find(tensor->info->name))
      comparison.onlyInB.push_back(tensor->info->name);
  measurePairs(pairs, options.threads, comparison);
  if (auto same = a->verifyUnchanged(); !same)
    return tl::unexpected(same.error());
  if (auto same = b->verifyUnchanged(); !same)
    return tl::unexpected(same.error());
  return comparison;
}

//===----------------------------------------------------------------------===//
// Command line
//===----------------------------------------------------------------------===//

namespace {

struct CommandOptions : CompareOptions {
  std::string html;
  size_t worst = 10;
  std::optional<double> failBelow;
  bool json = false;
};

} // namespace

/// Why the command fails although it compared, or nothing.
static Result<void> judge(const Comparison &comparison, const CommandOptions &options) {
  std::string context = printable(options.a) + " and " + printable(options.b);
  if (comparison.tensors.empty() && comparison.notCompared.empty())
    return fail(context + ": have no tensor in common" +
                (options.tensorPattern.empty() ? "" : " whose name " + quote(options.tensorPattern) + " matches"));
  if (!comparison.notCompared.empty())
    return fail(context + ": " + std::to_string(comparison.notCompared.size()) + " tensors could not be compared; the first, " +
                quote(comparison.notCompared[0].name) + ", " + comparison.notCompared[0].reason);
  if (!options.failBelow)
    return {};
  auto worst = comparison.worstFirst();
  const Metrics &metrics = worst[0]->metrics;
  if (metrics.mismatched)
    return fail(context + ": tensor " + quote(worst[0]->name) + " has " + std::to_string(metrics.mismatched) +
                " values that are NaN or Inf on one side only");
  if (metrics.sqnr() < *options.failBelow)
    return fail(context + ": tensor " + quote(worst[0]->name) + " has an SQNR of " + sqnrText(metrics) + ", below the " +
                errorText(*options.failBelow) + " dB of --fail-below");
  if (size_t alone = comparison.onlyInA.size() + comparison.onlyInB.size())
    return fail(context + ": " + std::to_string(alone) + " tensors are on one side only; the first is " +
                quote((comparison.onlyInA.empty() ? comparison.onlyInB : comparison.onlyInA)[0]));
  return {};
}

static Result<void> runCompare(const CommandOptions &options) {
  auto comparison = compareCheckpoints(options);
  if (!comparison)
    return tl::unexpected(comparison.error());
  if (!options.html.empty())
    if (auto written = checkpoint::writeFileAtomically(options.html, comparisonHtml(*comparison, options.worst)); !written)
      return written;
  if (options.json)
    std::cout << comparisonJson(*comparison, options.worst).dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  else
    std::cout << comparisonText(*comparison, options.worst);
  if (!options.json && !options.html.empty())
    std::cout << "\nthe report is in " << printable(options.html) << "\n";
  std::cout.flush();
  return judge(*comparison, options);
}

/// A wrong pattern is a wrong call.
static std::string checkPattern(const std::string &pattern) {
  try {
    std::regex compiled(pattern);
    return "";
  } catch (const std::regex_error &error) {
    return quote(pattern) + " is no regular expression: " + error.what();
  }
}

Command convert::addCompareCommand(CLI::App &parent) {
  auto options = std::make_shared<CommandOptions>();
  CLI::App *app = parent.add_subcommand("compare", "Tells how far two checkpoints are apart, tensor by tensor.");
  app->add_option("a", options->a, "The reference: a folder, or one .safetensors file")->required()->type_name("A");
  app->add_option("b", options->b, "The other one; either may be quantized")->required()->type_name("B");
  app->add_option("--tensor", options->tensorPattern, "Only tensors in whose name this is found")
      ->check(CLI::Validator(checkPattern, ""))
      ->type_name("REGEX");
  app->add_option("--worst", options->worst, "How many of the worst tensors to show")
      ->check(CLI::NonNegativeNumber.description(""))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--fail-below", options->failBelow,
                  "Exit with 1 if a tensor has a lower SQNR, NaN or Inf on one side only, or is on one side only")
      ->type_name("DB");
  app->add_option("--html", options->html, "Also write a page with plots")->type_name("FILE");
  app->add_option("--threads", options->threads, "Workers; 0 is one per core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  app->add_flag("--json", options->json, "Say it as JSON, with every tensor");
  app->footer(
      "FP8 and INT8 weights are dequantized with their scales (weight_scale_inv or weight_scale; f32, bf16 or ue8m0).\n"
      "SQNR is 10 log10(sum a^2 / sum (a-b)^2): every 6 dB is one bit. FP8 (e4m3) with block scales gives about 31 dB on\n"
      "normal weights, INT8 per channel about 40, bf16 against f32 about 55. The relative error is |a-b| / |a|.\n"
      "NaN and Inf are counted and left out of the sums. Exit code: 0, 1 if a tensor could not be compared or for\n"
      "--fail-below, 2 wrong call.\n\n"
      "Examples:\n"
      "  quant-convert compare /models/V3-bf16 /models/V3-fp8 --html report.html\n"
      "  quant-convert compare original converted --tensor 'layers\\.3\\.mlp' --fail-below 30");
  return {app, [options] { return runCompare(*options); }};
}
