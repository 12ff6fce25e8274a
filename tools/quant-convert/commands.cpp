//===- commands.cpp - the list of subcommands -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/command.h"

using namespace quant;

std::vector<convert::Command> convert::addCommands(CLI::App &app) {
  return {addRandomCommand(app),   addCastFp8Command(app),     addCastBf16Command(app), addDequantizeCommand(app),
          addQuantizeCommand(app), addSensitivityCommand(app), addRecodeCommand(app),   addShardCommand(app),
          addInspectCommand(app),  addCompareCommand(app)};
}
