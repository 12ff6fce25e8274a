//===- generate.h - a prompt and what the model says to it ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_RUN_GENERATE_H
#define QUANT_TOOLS_QUANT_RUN_GENERATE_H

#include "runtime/api/quant.h"
#include "tools/quant-run/options.h"

#include <functional>
#include <memory>

namespace quant::run {

template <auto free>
struct Free {
  template <typename T>
  void operator()(T *handle) const {
    free(handle);
  }
};
using ModuleHandle = std::unique_ptr<quant_module, Free<quant_module_free>>;
using SessionHandle = std::unique_ptr<quant_session, Free<quant_session_free>>;
using SamplerHandle = std::unique_ptr<quant_sampler, Free<quant_sampler_free>>;

Result<ModuleHandle> openModule(const std::string &path);

/// A session with room for the prompt and the new tokens. Errors: they do not fit, or as quant_session_create.
Result<SessionHandle> createSession(const quant_module *module, const Options &options, size_t promptTokens);

/// The tokens that end the text: --stop-token and, unless --ignore-eos, those of the configuration that the module was compiled
/// from.
Result<std::vector<int32_t>> endTokens(const quant_module *module, const Options &options);

struct Generation {
  std::vector<int32_t> tokens;
  std::vector<float> promptLogits; ///< [prompt, vocab] where Options::logits asks for them, else of the last position
  double prefillSeconds = 0;
  double decodeSeconds = 0; ///< of all tokens but the first, which the prompt's pass gives
};

/// Runs the prompt, then generates up to one of `ends`, which is the last; calls `onToken` with each new token as it comes.
Result<Generation> generate(quant_session *session, int64_t vocab, const std::vector<int32_t> &prompt,
                            const std::vector<int32_t> &ends, const Options &options,
                            const std::function<void(int32_t)> &onToken);

} // namespace quant::run

#endif // QUANT_TOOLS_QUANT_RUN_GENERATE_H
