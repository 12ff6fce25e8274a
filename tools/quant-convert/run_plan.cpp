//===- run_plan.cpp - what the converting subcommands share ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/run_plan.h"

#include "tools/common/output_dir.h"
#include "tools/common/units.h"
#include "tools/quant-convert/check/written.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include <iostream>

using namespace quant;
using namespace quant::convert;
using namespace quant::tools;
using nlohmann::json;

void convert::addRunOptions(CLI::App &app, RunOptions &options) {
  app.add_option("--threads", options.engine.threads, "Workers; 0 is one per core")
      ->check(CLI::Range(0, 1024).description(""))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--force", options.engine.force, "Replace the checkpoint in a folder that is not empty, or start over");
  app.add_flag("--verify", options.engine.verify, "Read everything back from the disk and compare");
  app.add_flag("--dry-run", options.dryRun, "Say what would be written, and write nothing");
  app.add_flag("--json", options.json, "Say it as JSON");
}

static json describe(const Plan &plan, const RunOptions &options, const RunReport &report, const Summary &summary) {
  json shards = json::array();
  for (const OutputShard &shard : plan.shards)
    shards.push_back({{"file", shard.file}, {"tensors", shard.tensors().size()}, {"bytes", shard.bytes()}});
  json files = json::array();
  for (const SideFile &file : plan.sideFiles)
    files.push_back(file.name);
  json result = {{"command", plan.command},
                 {"output", options.engine.output.string()},
                 {"dry_run", options.dryRun},
                 {"tensors", plan.tensorCount()},
                 {"bytes", plan.bytes()},
                 {"shards", shards},
                 {"files", files},
                 {"shards_written", report.written},
                 {"shards_kept", report.kept},
                 {"bytes_written", report.bytesWritten},
                 {"seconds", report.seconds},
                 {"verified", options.engine.verify && !options.dryRun},
                 {"verify_seconds", report.verifySeconds}};
  if (auto room = freeBytes(options.engine.output))
    result["free_bytes"] = *room;
  result.update(summary.json);
  return result;
}

static std::string count(size_t number, const std::string &what) {
  return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

static void tell(const Plan &plan, const RunOptions &options, const RunReport &report, const Summary &summary) {
  std::cout << (options.dryRun ? "would write " : "wrote ") << count(plan.tensorCount(), "tensor") << ", "
            << humanBytes(plan.bytes()) << ", in " << count(plan.shards.size(), "shard") << " to "
            << options.engine.output.string();
  if (!options.dryRun && report.seconds > 0 && report.written > 0)
    std::cout << " at " << humanBytes(static_cast<uint64_t>(static_cast<double>(report.bytesWritten) / report.seconds)) << "/s";
  std::cout << "\n  " << summary.words << "\n";
  if (report.kept > 0)
    std::cout << "  " << count(report.kept, "shard") << " of a run that was stopped kept\n";
  if (options.engine.verify && !options.dryRun)
    std::cout << "  every byte was read back and is right\n";
  if (!options.dryRun)
    return;
  for (const OutputShard &shard : plan.shards)
    std::cout << "  " << shard.file << "  " << count(shard.tensors().size(), "tensor") << "  " << humanBytes(shard.bytes())
              << "\n";
  for (const SideFile &file : plan.sideFiles)
    std::cout << "  " << file.name << "\n";
  if (auto room = freeBytes(options.engine.output))
    std::cout << humanBytes(*room) << " are free there" << (*room < plan.bytes() ? ": too little" : "") << "\n";
}

/// What was written reads as a checkpoint, and as a sound one where the input is.
static Result<void> readBack(const Plan &plan, const EngineOptions &options) {
  std::vector<std::filesystem::path> inputs, paths;
  for (const checkpoint::Checkpoint *input : plan.inputs)
    inputs.push_back(input->dir());
  if (plan.hasIndex)
    paths.push_back(options.output);
  else
    for (const OutputShard &shard : plan.shards)
      paths.push_back(options.output / shard.file);
  return checkWritten(paths, inputs, options.threads);
}

Result<void> convert::runPlan(const Plan &plan, const RunOptions &options, const std::function<Summary()> &summary) {
  RunReport report;
  if (options.dryRun) {
    QUANT_TRY(checkPlan(plan, options.engine));
    QUANT_TRY(verifyInputs(plan));
  } else {
    EngineOptions engine = options.engine;
    engine.check = [&] { return readBack(plan, engine); };
    QUANT_TRY_ASSIGN(report, execute(plan, engine));
  }
  if (options.json)
    std::cout << describe(plan, options, report, summary()).dump(2, ' ', false, json::error_handler_t::replace) << "\n";
  else
    tell(plan, options, report, summary());
  return {};
}
