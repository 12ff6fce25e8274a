//===- first_stage.h - what calibrated runs write beside OUT ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A calibrated run has a stage before the conversion itself, whose files lie in a folder beside OUT until that is whole. A killed
// run finds there what it has finished (engine/run_state.h).
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_FIRST_STAGE_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_FIRST_STAGE_H

#include "tools/quant-convert/engine/engine.h"

#include <string_view>

namespace quant::convert {

/// Runs the plan into OUT's name with `suffix` (".calibration"), and returns that folder; `output` are the options of OUT.
/// Errors: an OUT that could not be written to afterwards, and those of execute().
Result<std::filesystem::path> runFirstStage(const Plan &plan, const EngineOptions &output, std::string_view suffix);

/// When OUT is whole.
Result<void> removeFirstStage(const std::filesystem::path &folder);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_FIRST_STAGE_H
