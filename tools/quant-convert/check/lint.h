//===- lint.h - will an engine load a checkpoint, and right? ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_H
#define QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_H

#include "tools/quant-convert/schemes/dequantize.h"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace quant::convert {

/// Who is to load it, as bits of a set.
enum Engine : unsigned { kVllm = 1, kSglang = 2, kTransformers = 4, kEveryEngine = 7 };
/// "vllm, sglang".
std::string engineNames(unsigned engines);
/// Of "vllm,sglang"; the error names the one that is not known.
Result<unsigned> parseEngines(std::string_view list);

enum class Gpu : uint8_t { Sm90, Sm100 };

struct LintOptions {
  unsigned engines = kEveryEngine;
  Gpu gpu = Gpu::Sm90;
  int64_t tp = 1, ep = 1; ///< ranks that split a layer, and that share the experts
};

/// What an engine does with a checkpoint that is not as it wants it.
enum class LintLevel : uint8_t {
  Warning, ///< it loads; the values are others, or a part is not used
  Error    ///< it does not load, or computes wrong
};

/// A rule that tensors break.
struct Finding {
  std::string_view rule;
  LintLevel level;
  unsigned engines;
  std::string tensor;  ///< the first, "" for the configuration
  uint64_t count;      ///< of those of its kind: of every layer and expert
  std::string message; ///< without the tensor's name
  std::string_view source, wayOut;
};

/// Looks at config.json, headers and scales; reads no weight. @pre `source` is a folder
Result<std::vector<Finding>> lint(const TensorSource &source, const LintOptions &options, unsigned threads);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_H
