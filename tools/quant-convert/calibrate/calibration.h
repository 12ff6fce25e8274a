//===- calibration.h - --calibration of quantize ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A calibrated run has two stages. The first runs the text as often as memory asks for, each time summing the inputs of as many
// layers as fit, and writes what comes of these layers into files of a folder beside the output: their codes and scales (GPTQ),
// or the scales of their inputs (AWQ, SmoothQuant), and what is told of them. What is in a file does not depend on the memory;
// files that a killed run has finished are kept (engine/run_state.h). The second is a conversion like any other, which copies
// from there or encodes by it.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_CALIBRATION_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_CALIBRATION_H

#include "tools/quant-convert/calibrate/input_scaling.h"
#include "tools/quant-convert/engine/engine.h"

#include <nlohmann/json.hpp>

namespace CLI {
class App;
}

namespace quant::convert {

/// What the command line says of a calibrated run.
struct CalibratedOptions {
  std::string method = "gptq"; ///< "gptq", "awq", "smoothquant"
  double alpha = 0.5;          ///< of SmoothQuant
  TextRunOptions text;
  ExpertInputs experts;
  uint64_t memory = 8ull * 1000 * 1000 * 1000; ///< bytes that it may take beside the mapped checkpoint
  GptqOptions gptq;
};
void addCalibrationOptions(CLI::App &app, CalibratedOptions &options);

/// What a calibrated run will take.
struct CalibrationForecast {
  size_t files = 0, passes = 0;  ///< of the first stage; runs over the text
  int64_t sums = 0;              ///< bytes of the sums of all inputs
  int64_t memory = 0, least = 0; ///< bytes at most, and the least that it can do with
  uint64_t disk = 0;             ///< bytes of the first stage's files
  int64_t tokens = 0;

  /// A line for people; `sums` is what is kept of the inputs.
  std::string describe(const std::string &sums) const;
  nlohmann::json json() const;
};

class Calibration {
public:
  /// Opens text and module, and plans the first stage; `targets` are the layers that are to be quantized, weights of `weights`.
  /// Refers to checkpoint and weights. Errors: those of TextRun::open(); a module that computes none of the layers; a method that
  /// a scheme is not for.
  static Result<std::unique_ptr<Calibration>> create(const CalibratedOptions &options, unsigned threads,
                                                     const checkpoint::Checkpoint &checkpoint, const Weights &weights,
                                                     const InputScaling::Targets &targets, const Clip &clip);

  CalibrationForecast forecast() const;

  /// The first stage, in a folder beside `output`. Errors: less memory than it can do with, and those of execute().
  Result<void> run(const EngineOptions &output);
  /// Removes the first stage's folder: when all is written.
  Result<void> end() const;

  //===--- Afterwards ---===//

  /// What the first stage has made for the layer: finished tensors, which are to be copied; null: none.
  const Tensor *finished(const std::string &tensor) const { return done ? done->find(tensor) : nullptr; }
  /// For layers of which there is nothing finished: by the scales of their inputs, else round to nearest.
  Encoder encoder(const std::string &layer, const Scheme &scheme, bool zeroPoints) const;
  /// Factors of a tensor that is not quantized; null: it stays as it is.
  const std::vector<float> *factors(const std::string &module) const { return scaling.factors(module); }

  /// Whether a tensor's values are scaled, so that they are not to be compared with the checkpoint's.
  bool isScaled(const std::string &module) const { return scaling.changes(module); }

  /// Layers that the text did not reach, and experts that borrowed, in words.
  std::vector<std::string> notes() const;
  /// A number that differs when another text, module or option is taken, for Plan::options. Error: a file that cannot be read.
  static Result<std::string> fingerprint(const CalibratedOptions &options);
  /// Layers with their errors; and those of notes() by name.
  nlohmann::json report() const;
  /// Mean over the layers of the method's squared output error as a share of round-to-nearest's, in words.
  std::string summary() const;

private:
  /// A file of the first stage: inputs whose sums it needs, and what is made of them.
  struct Cell {
    std::set<size_t> inputs;
    std::vector<std::string> layers; ///< whose Hessians are dropped when it is written
    OutputShard shard;
  };

  Calibration(const CalibratedOptions &options, unsigned threads, TextRun run, const checkpoint::Checkpoint &checkpoint,
              const Weights &weights, const InputScaling::Targets &targets, const Clip &clip)
      : options(options), threads(threads), text(std::move(run)), checkpoint(checkpoint), weights(weights), targets(targets),
        clip(clip), gptq(options.gptq, clip) {}

  bool scales() const { return options.method != "gptq"; }
  Result<void> plan();
  Result<void> planLayers();
  Result<void> planScales();
  void addCell(Cell cell);
  int64_t bytesOf(const std::set<size_t> &inputs) const;
  int64_t workBytes(const Cell &cell) const;
  int64_t passBytes(size_t first, size_t end) const;
  size_t endOfPass(size_t first) const;
  Result<void> prepare(size_t cell);
  Result<void> read();
  Result<Job> layerJob(const std::string &layer);
  Job scalesJob(const ScaledInput &input);

  CalibratedOptions options;
  unsigned threads;
  TextRun text;
  const checkpoint::Checkpoint &checkpoint;
  const Weights &weights;
  InputScaling::Targets targets;
  Clip clip;
  Gptq gptq;
  Hessians hessians; ///< of the pass, where inputs are scaled
  std::optional<HessianCollector> collector;
  std::vector<ScaledInput> inputs; ///< that are scaled
  std::vector<Cell> cells;
  size_t heldFrom = 0, heldTo = 0; ///< cells whose sums are in memory
  std::filesystem::path folder;
  std::optional<checkpoint::Checkpoint> done;
  InputScaling scaling;
  std::map<std::string, LayerReport> reports;
  std::vector<std::string> unreached, unhit, borrowing; ///< layers
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_CALIBRATION_H
