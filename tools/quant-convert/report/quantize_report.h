//===- quantize_report.h - what quantizing did to a model -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_REPORT_QUANTIZE_REPORT_H
#define QUANT_TOOLS_QUANT_CONVERT_REPORT_QUANTIZE_REPORT_H

#include "tools/quant-convert/calibrate/input_scales.h"
#include "tools/quant-convert/check/compare.h"
#include "tools/quant-convert/sensitivity/mixture.h"

namespace quant::convert {

/// What a report is of. All pointers may be null.
struct QuantizedModel {
  std::filesystem::path input, output;
  std::string method;
  nlohmann::json groups;                                   ///< schemes, and how many layers have them
  std::map<std::string, std::string, std::less<>> schemes; ///< of the quantized layers
  int64_t parameters = 0, layerBytes = 0;                  ///< of these
  std::vector<std::string> notes;
  const Calibration *calibration = nullptr;
  const InputScales *inputScales = nullptr;
  const Sensitivities *sensitivities = nullptr;
  const Mixture *mixture = nullptr;
  /// Held-out text: tokens, loss before, and how far it is.
  struct Judged {
    int64_t tokens = 0;
    double loss = 0;
    UnitCost cost;
  };
  std::optional<Judged> judged;
};

/// Compares what was written with the input, tensor by tensor. Errors: those of compareCheckpoints().
Result<nlohmann::ordered_json> describeQuantized(const QuantizedModel &model, unsigned threads);

/// The same as a page; draws itself, needs nothing else.
std::string quantizedPage(const nlohmann::ordered_json &description);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_REPORT_QUANTIZE_REPORT_H
