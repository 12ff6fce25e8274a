//===- first_stage.cpp - what calibrated runs write beside OUT ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/first_stage.h"

#include "runtime/support/text.h"
#include "tools/common/output_dir.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;
namespace fs = std::filesystem;

Result<fs::path> convert::runFirstStage(const Plan &plan, const EngineOptions &output, std::string_view suffix) {
  std::error_code ignored;
  if (!fs::exists(output.output / tools::kRunStateFileName, ignored))
    QUANT_TRY(tools::checkOutputDir(output.output, output.force, output.outputFlag));
  fs::path folder = output.output.has_filename() ? output.output : output.output.parent_path();
  folder += suffix;
  EngineOptions engine = output;
  engine.output = folder;
  engine.verify = false; // it is read back when it is copied
  engine.keepState = true;
  if (auto ran = execute(plan, engine); !ran) {
    fs::remove(folder, ignored); // where nothing is in it
    return tl::unexpected(ran.error());
  }
  return folder;
}

Result<void> convert::removeFirstStage(const fs::path &folder) {
  std::error_code code;
  fs::remove_all(folder, code);
  return code ? Result<void>(fail(fmt::format("{}: cannot remove it: {}", printable(folder.native()), code.message())))
              : Result<void>();
}
