//===- input_scales.h - static scales of inputs -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What an engine divides the inputs of a layer by before it rounds them to E4M3, for schemes in which that is in the checkpoint:
// "X.input_scale" (compressed-tensors, input_activations with strategy tensor and dynamic false). A first stage runs the text and
// writes the largest magnitudes of each input in each piece of it into a folder beside the output, a file for each decoder layer;
// the text is run as often as memory asks for. Scales are made of them (calibrate/amax.h).
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_INPUT_SCALES_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_INPUT_SCALES_H

#include "tools/quant-convert/calibrate/amax.h"
#include "tools/quant-convert/calibrate/calibration.h"

namespace quant::convert {

/// --input-scales, --amax-history, --input-percentile.
void addInputScaleOptions(CLI::App &app, AmaxOptions &options);

class InputScales {
public:
  /// Opens text and module, and plans the first stage for `layers`, weights of `weights`; of `options` text, experts and memory
  /// count. Refers to the checkpoint. Errors: those of TextRun::open(); a layer that the module does not compute.
  static Result<std::unique_ptr<InputScales>> create(const CalibratedOptions &options, const AmaxOptions &amax, unsigned threads,
                                                     const checkpoint::Checkpoint &checkpoint, const Weights &weights,
                                                     const std::vector<std::string> &layers);

  /// `sums` are the magnitudes' bytes.
  CalibrationForecast forecast() const;
  /// The first stage, in a folder beside `output`. Errors: less memory than it can do with, those of execute() and of
  /// staticScales().
  Result<void> run(const EngineOptions &output);
  /// Removes the first stage's folder: when all is written.
  Result<void> end() const;

  /// Writes "LAYER.input_scale", F32 [1]. @pre to be run: run()
  Job job(const std::string &layer) const;

  /// Experts that took the scale of others, and what a percentile gives up, in words.
  std::vector<std::string> notes() const;
  /// The recipe, scales by layer, and those of notes() by name.
  nlohmann::json report() const;
  /// In words: how many, and between what they lie.
  std::string summary() const;
  /// A number that differs when another text, module or recipe is taken, for Plan::options.
  Result<std::string> fingerprint() const;

private:
  /// A file of the first stage: inputs of one decoder layer.
  struct Cell {
    int64_t decoderLayer = -1;
    std::set<size_t> inputs;
    OutputShard shard;
  };

  InputScales(const CalibratedOptions &options, const AmaxOptions &amax, TextRun run, const checkpoint::Checkpoint &checkpoint)
      : options(options), amax(amax), text(std::move(run)), checkpoint(checkpoint) {}

  Result<void> plan(const LayerColumns &columns);
  Job rangeJob(const HessianCollector::Input &input) const;
  int64_t rangeBytes(const Cell &cell) const;
  int64_t workBytes() const;
  size_t endOfPass(size_t first) const;
  Result<void> prepare(size_t cell);
  Result<void> read();

  CalibratedOptions options;
  AmaxOptions amax;
  TextRun text;
  const checkpoint::Checkpoint &checkpoint;
  std::optional<HessianCollector> collector;
  std::vector<Cell> cells;
  InputRanges held;                ///< of the pass
  size_t heldFrom = 0, heldTo = 0; ///< its cells
  std::filesystem::path folder;
  StaticScales scales;
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_INPUT_SCALES_H
