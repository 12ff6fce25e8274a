//===- run_plan.h - what the converting subcommands share -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_RUN_PLAN_H
#define QUANT_TOOLS_QUANT_CONVERT_RUN_PLAN_H

#include "tools/quant-convert/engine/engine.h"

#include <nlohmann/json.hpp>

namespace CLI {
class App;
}

namespace quant::convert {

/// --threads, --force, --verify, --dry-run and --json.
struct RunOptions {
  EngineOptions engine;
  bool dryRun = false, json = false;
};

void addRunOptions(CLI::App &app, RunOptions &options);

/// A subcommand's own part of what is told, in words and as keys of --json; asked for when the work is done.
struct Summary {
  std::string words;
  nlohmann::json json = nlohmann::json::object();
};

/// Runs the plan, or with --dry-run looks at it, and tells what was done.
Result<void> runPlan(const Plan &plan, const RunOptions &options, const std::function<Summary()> &summary);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_RUN_PLAN_H
