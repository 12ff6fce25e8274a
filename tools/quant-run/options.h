//===- options.h - command line of quant-run --------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_RUN_OPTIONS_H
#define QUANT_TOOLS_QUANT_RUN_OPTIONS_H

#include "runtime/support/result.h"
#include "tools/generate/sampling.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace quant::run {

struct Options {
  std::string module, weights;
  std::string tokens;                ///< as given: "1,2,3", "-" or "@FILE"
  std::optional<std::string> prompt; ///< as given: a text, "-" or "@FILE"
  bool chat = false;
  std::string system; ///< first message of a chat; empty: none
  std::string device = "host";
  std::string isa;                     ///< empty: the best
  std::string logits;                  ///< file to write, empty: none
  std::string perplexity;              ///< text or tokens to judge by, empty: generate
  std::string against;                 ///< module to compare the judgement with, empty: none
  std::string againstWeights;          ///< its checkpoint, empty: `weights`
  std::optional<int32_t> bos;          ///< before each piece of --perplexity; nothing: the model's own
  std::optional<int64_t> maxNewTokens; ///< default: 16 after ids, 128 after a text, what the context holds in a chat
  int64_t context = 0;                 ///< 0: what prompt and new tokens need
  int64_t chunk = 0;                   ///< 0: the module's limit
  int threads = 0;                     ///< 0: all CPUs
  generate::SamplingOptions sampling;
  std::optional<size_t> logprobs;  ///< alternatives for each token
  std::vector<std::string> stops;  ///< texts that end the answer
  std::vector<int32_t> stopTokens; ///< beside the model's own end tokens
  bool ignoreEos = false;          ///< go on behind the model's own end tokens
  bool mtp = false;                ///< guess with the module's MTP layer
  bool eager = false;              ///< no CUDA graphs
  bool overlap = false;            ///< programmatic dependent launches
  bool json = false, profile = false, printProgram = false;
};

/// The options, or the exit status where nothing is left to do: 0 after --help and --version, 2 after a usage error was printed.
std::variant<Options, int> parseOptions(int argc, char **argv);

/// Token ids of a --tokens argument: decimal integers of 32 bits, separated by commas or white space. Errors name what is no
/// integer, and where one is left out between commas.
Result<std::vector<int32_t>> readTokens(const std::string &argument);

/// The text of a --prompt argument.
Result<std::string> readPrompt(const std::string &argument);

} // namespace quant::run

#endif // QUANT_TOOLS_QUANT_RUN_OPTIONS_H
