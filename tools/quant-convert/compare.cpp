//===- compare.cpp - quant-convert compare --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/compare.h"

#include "runtime/checkpoint/writer.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/report/compare_report.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <regex>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

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
    return fail(fmt::format("{}: have no tensor in common{}", context,
                            options.tensorPattern.empty() ? "" : " whose name " + quote(options.tensorPattern) + " matches"));
  if (!comparison.notCompared.empty())
    return fail(fmt::format("{}: {} tensors could not be compared; the first, {}, {}", context, comparison.notCompared.size(),
                            quote(comparison.notCompared[0].name), comparison.notCompared[0].reason));
  if (!options.failBelow)
    return {};
  auto worst = comparison.worstFirst();
  const Metrics &metrics = worst[0]->metrics;
  if (metrics.mismatched)
    return fail(fmt::format("{}: tensor {} has {} values that are NaN or Inf on one side only", context, quote(worst[0]->name),
                            metrics.mismatched));
  if (metrics.sqnr() < *options.failBelow)
    return fail(fmt::format("{}: tensor {} has an SQNR of {}, below the {} dB of --fail-below", context, quote(worst[0]->name),
                            sqnrText(metrics), errorText(*options.failBelow)));
  if (size_t alone = comparison.onlyInA.size() + comparison.onlyInB.size())
    return fail(fmt::format("{}: {} tensors are on one side only; the first is {}", context, alone,
                            quote((comparison.onlyInA.empty() ? comparison.onlyInB : comparison.onlyInA)[0])));
  return {};
}

static Result<void> runCompare(const CommandOptions &options) {
  QUANT_TRY_ASSIGN(auto comparison, compareCheckpoints(options));
  if (!options.html.empty())
    QUANT_TRY(checkpoint::writeFileAtomically(options.html, comparisonHtml(comparison, options.worst)));
  if (options.json)
    std::cout << comparisonJson(comparison, options.worst).dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  else
    std::cout << comparisonText(comparison, options.worst);
  if (!options.json && !options.html.empty())
    std::cout << "\nthe report is in " << printable(options.html) << "\n";
  std::cout.flush();
  return judge(comparison, options);
}

/// A wrong pattern is a wrong call.
static std::string checkPattern(const std::string &pattern) {
  try {
    std::regex compiled(pattern);
    return "";
  } catch (const std::regex_error &error) {
    return fmt::format("{} is no regular expression: {}", quote(pattern), error.what());
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
      "Weights of every scheme are dequantized: FP8, INT8, INT4, MXFP4, NVFP4, GPTQ, AWQ; X.weight_packed and X.qweight are\n"
      "X.weight. The worst block is the one with the lowest SQNR of those that share a scale in B, or else in A.\n"
      "SQNR is 10 log10(sum a^2 / sum (a-b)^2): every 6 dB is one bit. FP8 (e4m3) with block scales gives about 31 dB on\n"
      "normal weights, INT8 per channel about 40, INT4 in groups of 128 about 19, bf16 against f32 about 55. The relative\n"
      "error is |a-b| / |a|. NaN and Inf are counted and left out of the sums. Exit code: 0, 1 if a tensor could not be compared "
      "or for\n"
      "--fail-below, 2 wrong call.\n\n"
      "Examples:\n"
      "  quant-convert compare /models/V3-bf16 /models/V3-fp8 --html report.html\n"
      "  quant-convert compare original converted --tensor 'layers\\.3\\.mlp' --fail-below 30");
  return {app, [options] { return runCompare(*options); }};
}
