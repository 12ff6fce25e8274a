//===- inspect.cpp - quant-convert inspect --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/inspect.h"

#include "runtime/abi/module_format.h"
#include "runtime/module/module.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/check/lint.h"
#include "tools/quant-convert/command.h"
#include "tools/quant-convert/report/inspect_report.h"
#include "tools/quant-convert/report/lint_report.h"
#include "tools/quant-convert/report/module_report.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <tuple>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;
using tools::TensorSource;

namespace {

struct InspectOptions {
  std::string path;
  bool json = false, tensors = false, values = false;
  unsigned threads = 0;
  std::string engines, gpu = "sm90";
  LintOptions lint;
};

} // namespace

static void print(const json &result) { std::cout << result.dump(2, ' ', false, json::error_handler_t::replace) << "\n"; }

static bool isModule(const std::filesystem::path &path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    return false;
  char magic[sizeof abi::kMagic] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return path.extension() == ".qmod" || std::ranges::equal(magic, abi::kMagic);
}

static Result<void> inspectModule(const InspectOptions &options) {
  QUANT_TRY_ASSIGN(runtime::Module module, runtime::openModule(options.path));
  if (options.json)
    print(moduleJson(module));
  else
    std::cout << moduleText(module);
  std::cout.flush();
  return {};
}

/// --for: what engines make of it.
static Result<void> runLint(const InspectOptions &options) {
  LintOptions lint = options.lint;
  QUANT_TRY_ASSIGN(lint.engines, parseEngines(options.engines));
  lint.gpu = options.gpu == "sm100" ? Gpu::Sm100 : Gpu::Sm90;
  QUANT_TRY_ASSIGN(auto source, TensorSource::open(options.path));
  if (source.isSingleFile())
    return fail(printable(options.path) + ": is one file; --for looks at a folder with its config.json");
  QUANT_TRY_ASSIGN(auto findings, convert::lint(source, lint, options.threads));
  QUANT_TRY(source.verifyUnchanged());
  if (options.json)
    print(lintJson(findings, lint));
  else
    std::cout << lintText(findings, lint);
  std::cout.flush();
  auto first = std::ranges::find(findings, LintLevel::Error, &Finding::level);
  if (first == findings.end())
    return {};
  return fail(fmt::format("{}: {} would not load it, or compute wrong: {} {} (rule {})", printable(options.path),
                          engineNames(first->engines), first->tensor.empty() ? "config.json:" : "tensor " + quote(first->tensor),
                          first->message, first->rule));
}

static Result<void> runInspect(const InspectOptions &options) {
  if (!options.engines.empty())
    return runLint(options);
  if (isModule(options.path))
    return inspectModule(options);
  QUANT_TRY_ASSIGN(auto source, TensorSource::open(options.path));
  Inspection inspection = inspectSource(source, options.threads);
  if (options.values)
    checkValues(source, inspection, options.threads);
  QUANT_TRY(source.verifyUnchanged());
  if (options.json)
    print(inspectionJson(inspection, source, options.tensors));
  else
    std::cout << inspectionText(inspection, source, options.tensors);
  std::cout.flush();
  uint64_t errors = inspection.errors();
  if (errors == 0)
    return {};
  const Problem &first = *std::ranges::find_if(inspection.problems, &Problem::error);
  return fail(fmt::format("{}: the checkpoint is broken: {}{}{}{}", printable(options.path),
                          first.tensor.empty() ? "" : "tensor ", first.tensor.empty() ? "" : quote(first.tensor) + " ",
                          first.message, errors > 1 ? fmt::format("; and {} more", errors - 1) : ""));
}

Command convert::addInspectCommand(CLI::App &parent) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App *app =
      parent.add_subcommand("inspect", "Shows what is in a checkpoint, and what is wrong with it; or what a compiled model is.");
  app->add_option("path", options->path,
                  "Folder of a checkpoint (config.json need not be there), one .safetensors file, or a .qmod")
      ->required()
      ->type_name("DIR|FILE");
  app->add_flag("--tensors", options->tensors, "List every tensor, too");
  app->add_flag("--check-values", options->values,
                "Read every byte: NaN codes and all-zero blocks in FP8 weights, NaN and Inf in the others");
  app->add_option("--threads", options->threads, "Workers; 0 is one per core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--for", options->engines, "Say what these engines would not load or compute wrong, instead")
      ->check(CLI::Validator([](const std::string &list) { return parseEngines(list) ? "" : parseEngines(list).error().message; },
                             ""))
      ->type_name("vllm,sglang,transformers");
  app->add_option("--gpu", options->gpu, "With --for: the GPU")
      ->check(CLI::IsMember({"sm90", "sm100"}).description(""))
      ->type_name("sm90|sm100")
      ->capture_default_str();
  for (auto [flag, value, help] : {std::tuple("--tp", &options->lint.tp, "With --for: ranks that split a layer"),
                                   std::tuple("--ep", &options->lint.ep, "With --for: ranks that share the experts")})
    app->add_option(flag, *value, help)->check(CLI::Range(1, 1 << 16).description(""))->type_name("N")->capture_default_str();
  app->add_flag("--json", options->json, "Say it as JSON");
  app->footer(
      "Without --check-values only headers and scales are read: seconds for 671B. Checked are: scales that are missing, orphan,\n"
      "of a wrong shape, NaN, Inf, zero or negative; and, where config.json is DeepSeek-V3's or V2's, tensors that are missing,\n"
      "unknown, or of another shape or dtype than it says. Of a .qmod: its structure and the hash of every section. Exit code: 0 "
      "sound (warnings may be printed), 1 broken, 2 wrong "
      "call.\n\n"
      "Examples:\n"
      "  quant-convert inspect /models/DeepSeek-V3\n"
      "  quant-convert inspect /models/DeepSeek-V3 --check-values --json > report.json\n"
      "  quant-convert inspect model-00001-of-00163.safetensors --tensors\n"
      "  quant-convert inspect /models/V3-int4 --for=vllm,sglang --gpu=sm90 --tp=8");
  return {app, [options] { return runInspect(*options); }};
}
