//===- Quality.cpp - what quantization costs a model ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Quality.h"

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/json_file.h"
#include "tools/common/scratch_dir.h"
#include "tools/quant-bench/ConvertDisk.h"
#include "tools/text/tokenized_text.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

namespace quant::bench {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

/// A way to quantize: options of quant-convert quantize (none: the model as it is), the format of the KV cache, and what
/// figures.json calls it.
struct Way {
  const char *name;
  std::vector<std::string> quantize;
  const char *kvCache;
  const char *figure;
};

const std::vector<Way> &ways() {
  static const std::vector<Way> list = {
      {"bf16", {}, "f32", "eval.txt"},
      {"fp8", {"--scheme=fp8-block", "--format=deepseek"}, "f32", "FP8 128x128"},
      {"int8", {"--scheme=w8a8"}, "f32", "INT8 per channel"},
      {"w4-g128", {"--scheme=w4a16", "--group-size=128", "--indivisible=smaller"}, "f32", "INT4 group 128"},
      {"w4-g32", {"--scheme=w4a16", "--group-size=32"}, "f32", "INT4 group 32"},
      {"w4-g32-zero", {"--scheme=w4a16", "--group-size=32", "--zero-points"}, "f32", ""},
      {"w4-g128-mse", {"--scheme=w4a16", "--group-size=128", "--indivisible=smaller", "--method=mse"}, "f32", ""},
      {"mxfp4", {"--scheme=mxfp4"}, "f32", ""},
      {"nvfp4", {"--scheme=nvfp4"}, "f32", ""},
      {"kv-bf16", {}, "bf16", ""},
      {"kv-int8", {}, "int8", "KV INT8 per token, rotary key kept"},
      {"kv-int4", {}, "int4", "KV INT4 group 32, rotary key kept"},
  };
  return list;
}

class Quality {
public:
  explicit Quality(const QualityOptions &options) : options(options), scratch("quant-bench-quality", options.scratch) {}

  Result<Json> run();

private:
  Result<void> prepareText();
  Result<Json> judge(const Way &way);

  const QualityOptions &options;
  ScratchDir scratch;
  fs::path text, plain;
};

} // namespace

/// The program's standard output. Error: which program failed; what it said went to stderr.
/// The first tokens of the text, as a file of their own.
Result<void> Quality::prepareText() {
  text = options.text.empty() ? options.model / "eval.tokens.json" : options.text;
  if (options.tokens == 0)
    return {};
  QUANT_TRY_ASSIGN(text::TokenizedText read, text::readTokenizedText(text));
  if (read.tokens.size() < static_cast<size_t>(options.tokens))
    return fail(fmt::format("{}: has fewer tokens than the {} of --tokens", text.string(), options.tokens));
  read.tokens.resize(static_cast<size_t>(options.tokens));
  text = scratch.path() / "text.json";
  std::ofstream(text) << nlohmann::json(read.tokens).dump();
  return {};
}

Result<Json> Quality::judge(const Way &way) {
  fs::path weights = options.model, module = scratch.path() / (std::string(way.name) + ".qmod");
  if (!way.quantize.empty()) {
    weights = scratch.path() / way.name;
    std::vector<std::string> arguments = {"quantize", options.model.string(), "-o", weights.string()};
    arguments.insert(arguments.end(), way.quantize.begin(), way.quantize.end());
    QUANT_TRY(runTool("quant-convert", arguments));
  }
  std::vector<std::string> compile = {weights.string(), "--host-isa=native", std::string("--kv-cache=") + way.kvCache, "-o",
                                      module.string()};
  QUANT_TRY(runTool("quant-compile", compile));
  std::vector<std::string> arguments = {module.string(),  "--weights",
                                        weights.string(), "--perplexity",
                                        text.string(),    "--json",
                                        "--context",      std::to_string(options.context),
                                        "--threads",      std::to_string(options.threads)};
  if (!plain.empty())
    arguments.insert(arguments.end(), {"--against", plain.string(), "--against-weights", options.model.string()});
  QUANT_TRY_ASSIGN(Finished told, runTool("quant-run", arguments));
  Json measured = Json::parse(told.output);
  if (plain.empty())
    plain = module;
  QUANT_TRY_ASSIGN(auto checkpoint, checkpoint::Checkpoint::open(weights));
  uint64_t bytes = 0;
  for (const auto &file : checkpoint.files())
    bytes += fs::file_size(file.path());
  Json row = {{"name", way.name}, {"weight_bytes", bytes}};
  row.update(measured);
  if (way.quantize.empty())
    return row;
  std::error_code ignored;
  fs::remove_all(weights, ignored);
  return row;
}

/// What the model's README says of it: perplexity on the whole text.
static void addFigure(Json &row, const Way &way, const nlohmann::json &figures) {
  auto found = figures.is_object() && *way.figure ? figures.find(way.figure) : figures.end();
  if (found != figures.end() && found->is_object() && found->contains("perplexity"))
    row["reference"] = (*found)["perplexity"];
}

Result<Json> Quality::run() {
  QUANT_TRY(prepareText());
  nlohmann::json figures;
  std::error_code ignored;
  bool isWhole = options.tokens == 0 && options.text.empty() && options.context == 256;
  if (isWhole && fs::exists(options.model / "figures.json", ignored)) {
    QUANT_TRY_ASSIGN(figures, checkpoint::readJsonFile(options.model / "figures.json", 1 << 24));
  }
  Json rows = Json::array();
  for (const Way &way : ways()) {
    bool isAsked = options.schemes.empty() || std::ranges::find(options.schemes, way.name) != options.schemes.end();
    if (!isAsked && !rows.empty()) // the first is what all are compared with
      continue;
    QUANT_TRY_ASSIGN(Json row, judge(way));
    addFigure(row, way, figures);
    rows.push_back(std::move(row));
    if (!options.json)
      std::fprintf(stderr, "%s done\n", way.name);
  }
  return rows;
}

CLI::App *addQualityCommand(CLI::App &app, QualityOptions &options) {
  CLI::App *command = app.add_subcommand("quality", "what quantizing a model costs in perplexity on held-out text, way by way");
  std::vector<std::string> names;
  for (const Way &way : ways())
    names.emplace_back(way.name);
  command->add_option("--model", options.model, "folder of a bf16 checkpoint")->capture_default_str();
  command->add_option("--text", options.text,
                      "tokens as quant-run --perplexity takes them (default: eval.tokens.json of the model)");
  command->add_option("--ways", options.schemes, "some of the rows; bf16 is always there")
      ->delimiter(',')
      ->check(CLI::IsMember(names));
  command->add_option("--context", options.context, "tokens of a piece of text, with BOS")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--tokens", options.tokens, "only so many from the text's beginning")->check(CLI::Range(1, 1 << 30));
  command->add_option("--scratch", options.scratch, "where to write for the time (default: the system's folder)");
  command->add_option("--threads", options.threads, "threads (default: all CPUs)")->check(CLI::Range(1, 1024));
  command->add_flag("--json", options.json, "print JSON");
  return command;
}

Result<Json> runQuality(const QualityOptions &options) { return Quality(options).run(); }

void printQuality(const Json &rows) {
  std::printf("%-12s %8s | %10s %8s %9s %9s | %8s %10s | %9s\n", "weights", "MB", "perplexity", "change %", "+- %", "bits/byte",
              "KL", "same first", "reference");
  for (const Json &row : rows) {
    std::printf("%-12s %8.2f | %10.4f", row["name"].get<std::string>().c_str(), row["weight_bytes"].get<double>() / 1e6,
                row["perplexity"].get<double>());
    const Json against = row.value("against", Json::object());
    double loss = against.value("loss_difference", 0.0), error = against.value("loss_difference_standard_error", 0.0);
    std::printf(" %8.3f %9.3f %9.4f | %8.5f %10.4f |", 100 * std::expm1(loss), 100 * error, row.value("bits_per_byte", 0.0),
                against.value("kl_mean", 0.0), against.value("same_first_choice", 1.0));
    if (row.contains("reference"))
      std::printf(" %9.4f", row["reference"].get<double>());
    std::printf("\n");
  }
}

} // namespace quant::bench
