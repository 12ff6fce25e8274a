//===- command.h - a subcommand of quant-convert ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_COMMAND_H
#define QUANT_TOOLS_QUANT_CONVERT_COMMAND_H

#include "runtime/support/result.h"

#include <functional>
#include <vector>

namespace CLI {
class App;
}

namespace quant::convert {

/// A subcommand: its part of the command line, and what it does once that is parsed.
struct Command {
  CLI::App *app;
  std::function<Result<void>()> run;
};

/// Adds every subcommand to `app`, in the order in which --help lists them.
std::vector<Command> addCommands(CLI::App &app);

/// `random`: a checkpoint of random weights in the exact layout of the real one.
Command addRandomCommand(CLI::App &app);

/// `cast-fp8`: BF16, F16 or F32 to FP8 with block scales.
Command addCastFp8Command(CLI::App &app);

/// `cast-bf16`: FP8 with block scales to BF16.
Command addCastBf16Command(CLI::App &app);

/// `dequantize`: any scheme to BF16 or F32.
Command addDequantizeCommand(CLI::App &app);

/// `quantize`: BF16 or FP8 to INT8, INT4, FP8, MX or NVFP4.
Command addQuantizeCommand(CLI::App &app);

/// `sensitivity`: what quantizing each kind in each layer alone costs.
Command addSensitivityCommand(CLI::App &app);

/// `recode`: MXFP4 to FP8 and back, without loss.
Command addRecodeCommand(CLI::App &app);

/// `shard`: DeepSeek's model-parallel layout, one file a rank.
Command addShardCommand(CLI::App &app);

/// `inspect`: what is in a checkpoint, and what is wrong with it.
Command addInspectCommand(CLI::App &app);

/// `compare`: how far two checkpoints are apart, tensor by tensor.
Command addCompareCommand(CLI::App &app);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_COMMAND_H
