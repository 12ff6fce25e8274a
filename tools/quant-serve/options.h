//===- options.h - command line of quant-serve ---------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_OPTIONS_H
#define QUANT_TOOLS_QUANT_SERVE_OPTIONS_H

#include <cstdint>
#include <string>
#include <variant>

namespace quant::serve {

/// Tokens of the KV cache where nobody says.
inline constexpr int64_t kMaxDefaultCache = int64_t{1} << 18;

struct Options {
  std::string module, weights;
  std::string host = "127.0.0.1";
  int port = 8080;        ///< 0: any free one
  std::string modelName;  ///< empty: the name of the weights' folder
  std::string apiKeyFile; ///< empty: no key is asked for
  std::string device = "host", isa;
  bool mtp = false; ///< guess with the module's MTP layer
  int threads = 0;  ///< 0: the CPUs
  int sequences = 16;
  int64_t context = 0;     ///< tokens of a sequence; 0: the module's limit
  int64_t cacheTokens = 0; ///< of all sequences; 0: what kMaxDefaultCache allows of `sequences` times `context`
  int64_t maxTokens = 0;   ///< new tokens of an answer at most; 0: what the context holds
  int64_t maxBody = 8;     ///< of a request, MiB
  int maxClients = 64;     ///< requests at work or waiting
  int timeout = 600;       ///< seconds of a request, waiting included
};

/// The options, or the exit status where nothing is left to do: 0 after --help and --version, 2 after a usage error was printed.
std::variant<Options, int> parseOptions(int argc, char **argv);

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_OPTIONS_H
