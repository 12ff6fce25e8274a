//===- calibration.h - --calibration of quantize ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_CALIBRATION_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_CALIBRATION_H

#include "tools/quant-convert/calibrate/input_scaling.h"

#include <nlohmann/json.hpp>

namespace CLI {
class App;
}

namespace quant::convert {

/// What the command line says of a calibrated run.
struct CalibratedOptions {
  std::string method = "gptq"; ///< "gptq", "awq", "smoothquant"
  double alpha = 0.5;          ///< of SmoothQuant
  CalibrationOptions text;
  GptqOptions gptq;
  int64_t memoryGigabytes = 8;
  std::filesystem::path report; ///< JSON; empty: none
};
void addCalibrationOptions(CLI::App &app, CalibratedOptions &options);

/// A calibrated run: the encoders of its layers, and what is told of them.
class Calibration {
public:
  /// Runs the text, on so many threads; `targets` are the layers that are to be quantized, weights of `weights`.
  static Result<std::unique_ptr<Calibration>> create(const CalibratedOptions &options, int threads,
                                                     const checkpoint::Checkpoint &checkpoint, const Weights &weights,
                                                     const InputScaling::Targets &targets, const Clip &clip);

  /// The method's where the text reached the layer, else round to nearest.
  Encoder encoder(const std::string &layer, const Scheme &scheme, bool zeroPoints);
  /// Factors of a tensor that is not quantized; null: it stays as it is.
  const std::vector<float> *factors(const std::string &module) const { return scaling ? scaling->factors(module) : nullptr; }
  /// Layers that the text did not reach, and experts that borrowed, in words.
  std::vector<std::string> notes() const;
  /// A number that differs when another text, module or option is taken, for Plan::options. Error: a file that cannot be read.
  static Result<std::string> fingerprint(const CalibratedOptions &options);
  /// Layers encoded in this run, with their errors; and those of notes() by name.
  nlohmann::json report() const;
  /// Mean over the layers of the method's squared output error as a share of round-to-nearest's, in words.
  std::string summary() const;

private:
  Calibration(const CalibratedOptions &options, Hessians hessians, const Clip &clip)
      : options(options), clip(clip), gptq(std::move(hessians), options.gptq, clip) {}

  CalibratedOptions options;
  Clip clip;
  std::map<std::string, LayerReport> layerReports() const { return scaling ? scaling->reports() : gptq.reports(); }

  Gptq gptq;
  std::optional<InputScaling> scaling;
  std::vector<std::string> unreached, unhit, borrowing; ///< layers
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_CALIBRATION_H
