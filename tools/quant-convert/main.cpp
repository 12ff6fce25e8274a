//===- main.cpp - quant-convert: makes and converts checkpoints -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/lost_pages.h"
#include "tools/quant-convert/command.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <new>

using namespace quant;

/// Exit codes: it worked, it failed, it was called wrongly.
enum ExitCode { kOk = 0, kFailed = 1, kUsage = 2 };

static int report(const std::string &message, ExitCode code) {
  std::fprintf(stderr, "quant-convert: error: %s\n", message.c_str());
  return code;
}

int main(int argc, char **argv) {
  checkpoint::exitOnLostPages("quant-convert");
  CLI::App app("Makes and converts checkpoints of block-scaled FP8 models. Shard by shard: memory does not grow with the model.",
               "quant-convert");
  app.set_version_flag("--version", "quant-convert " QUANT_VERSION);
  app.require_subcommand(1);
  app.footer("Example:\n  quant-convert random --config models/configs/toy_v3.json --output /tmp/toy\n"
             "`quant-convert SUBCOMMAND --help` explains a subcommand.");
  auto commands = convert::addCommands(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &asked) { // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError &error) {
    return report(std::string(error.what()) + "; see quant-convert --help", kUsage);
  }
  try {
    for (const convert::Command &command : commands)
      if (command.app->parsed())
        if (auto done = command.run(); !done)
          return report(done.error().message, kFailed);
  } catch (const std::bad_alloc &) {
    return report("out of memory; fewer --threads take less, and a calibrated run less by a smaller --memory", kFailed);
  }
  return kOk;
}
