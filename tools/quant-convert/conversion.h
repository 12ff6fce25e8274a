//===- conversion.h - from one checkpoint to another ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CONVERSION_H
#define QUANT_TOOLS_QUANT_CONVERT_CONVERSION_H

#include "tools/quant-convert/run_plan.h"
#include "tools/quant-convert/schemes/scales.h"
#include "tools/quant-convert/schemes/side_files.h"
#include "tools/quant-convert/schemes/weights.h"

#include <optional>
#include <utility>
#include <vector>

namespace quant::convert {

/// What the converting subcommands have in common: they open a checkpoint, say of each tensor what becomes of it, name the
/// files that go along, and run. Move-only.
struct Conversion {
  /// Opens the folder and reads its config.json. `command` is the subcommand's name.
  static Result<Conversion> open(std::string command, const std::string &folder);

  checkpoint::Checkpoint input;
  /// config.json; nothing if there is none.
  std::optional<nlohmann::json> config;
  Plan plan;
  /// FP8 weights and their scales, in the order in which scaleOf() found them.
  std::vector<std::pair<const Tensor *, const Tensor *>> scaled;

  /// How the input's weights are stored, as config.json says; DeepSeek's FP8 where it says nothing.
  Result<Scheme> inputScheme() const;
  /// The weights of any scheme. Every one can be decoded, with scales and indices that are sound, and has its name for itself.
  Result<Weights> readWeights(unsigned threads) const;
  /// What config.json says of quantization, for Plan::options.
  std::string quantizationText() const;
  /// "FOLDER/config.json", for errors.
  std::string configPath() const;

  /// Calls `take` with every tensor, in the order of the files; a copy that the index does not count is none.
  Result<void> forTensors(const std::function<Result<void>(const Tensor &)> &take) const;
  /// Plans files of the input's names: `take` appends what becomes of a tensor. A file of which nothing is left is left out.
  Result<void> keepFiles(const std::function<Result<void>(const Tensor &, std::vector<Job> &)> &take);
  /// The scale of a weight, null where it has none. Fails for an FP8 weight that is not E4M3.
  Result<const Tensor *> scaleOf(const Tensor &weight);

  /// Checks the values of the scales in `scaled`, which are in blocks of `block`, and runs the plan.
  Result<void> run(const Block &block, const RunOptions &options, const std::function<Summary()> &summary);
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CONVERSION_H
