//===- handles.h - the C API's handles, freed by themselves --- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_GENERATE_HANDLES_H
#define QUANT_TOOLS_GENERATE_HANDLES_H

#include "runtime/api/quant.h"
#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

namespace quant::generate {

template <auto free>
struct Free {
  template <typename T>
  void operator()(T *handle) const {
    free(handle);
  }
};
using ModuleHandle = std::unique_ptr<quant_module, Free<quant_module_free>>;
using SessionHandle = std::unique_ptr<quant_session, Free<quant_session_free>>;
using SequenceHandle = std::unique_ptr<quant_sequence, Free<quant_sequence_free>>;
using SamplerHandle = std::unique_ptr<quant_sampler, Free<quant_sampler_free>>;

/// What went wrong in this thread's last call of the API.
inline tl::unexpected<Error> apiError() { return fail(quant_last_error()); }

Result<ModuleHandle> openModule(const std::string &path);
Result<SessionHandle> openSession(const quant_module *module, const std::string &weights, const quant_session_options &options);

/// What the configuration that the module was compiled from has under `key`; null where it has nothing.
nlohmann::json modelConfigValue(const quant_module *module, const char *key);

/// The tokens that end a text by the configuration that the module was compiled from (eos_token_id). Errors: it is no integer and
/// no list of them.
Result<std::vector<int32_t>> modelEndTokens(const quant_module *module);

} // namespace quant::generate

#endif // QUANT_TOOLS_GENERATE_HANDLES_H
