//===- measure.h - quantizes a part, and looks what it costs ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_MEASURE_H
#define QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_MEASURE_H

#include "tools/quant-convert/calibrate/text_run.h"
#include "tools/quant-convert/sensitivity/sensitivities.h"

namespace quant::convert {

/// Runs a text through a compiled model while the weights of one unit are what quantizing leaves of them, the others as they are.
/// The module reads them in the checkpoint's own type, so that in BF16 they are rounded to that once more.
class SensitivityMeter {
public:
  /// Makes `scratch`, a folder for logits and for weights, which goes with the object. Refers to all three.
  static Result<SensitivityMeter> create(const TextRun &run, const checkpoint::Checkpoint &checkpoint, const Weights &weights,
                                         const std::filesystem::path &scratch, unsigned threads);

  /// Errors: a weight that is quantized already, or in F16, so that the model could not read it with other values.
  static Result<void> checkPlain(const Weight &weight);

  /// Mean loss of the unquantized model; keeps its logits for measure(). Errors: logits that are not finite.
  Result<double> measureBase();
  /// Errors: a weight that the choice does not fit; a full disk. @pre checkPlain() of the unit's weights, measureBase()
  Result<UnitCost> measure(const LayerUnit &unit, const SchemeChoice &choice, Indivisible how);
  /// Of a whole quantized checkpoint: its weights and whatever else is not as it was. Errors: it cannot be read, or weights are
  /// quantized in the checkpoint already. @pre measureBase()
  Result<UnitCost> measureFolder(const std::filesystem::path &quantized);

private:
  SensitivityMeter() = default;
  Result<void> writeWeights(const std::vector<Job> &jobs);
  Result<UnitCost> score(const std::vector<Job> &jobs, const std::string &what);

  /// A folder that is gone with its last owner.
  struct Scratch;

  const TextRun *run = nullptr;
  const checkpoint::Checkpoint *checkpoint = nullptr;
  const Weights *weights = nullptr;
  std::shared_ptr<const Scratch> scratch;
  unsigned threads = 0;
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SENSITIVITY_MEASURE_H
