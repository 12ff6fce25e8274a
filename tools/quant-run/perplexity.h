//===- perplexity.h - how well a model knows a text -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Protocol, that of models/tiny/README.md: the text's tokens are cut into pieces of context - 1, BOS is put before each, and
// every token but BOS counts. Logarithms are natural; softmax and sums are in f64.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_RUN_PERPLEXITY_H
#define QUANT_TOOLS_QUANT_RUN_PERPLEXITY_H

#include "tools/quant-run/options.h"

#include <nlohmann/json.hpp>

namespace quant::run {

/// Runs --perplexity: the text through the module and, with --against, through the other one. The result's keys are those of
/// --json. Errors: a context that is none, tokens beyond the vocabulary, vocabularies that differ, logits that are not finite.
Result<nlohmann::ordered_json> measurePerplexity(const Options &options);

/// What measurePerplexity() found, for people.
std::string describePerplexity(const nlohmann::ordered_json &measured);

} // namespace quant::run

#endif // QUANT_TOOLS_QUANT_RUN_PERPLEXITY_H
