//===- generate.h - what quant-run does with a session -------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_RUN_GENERATE_H
#define QUANT_TOOLS_QUANT_RUN_GENERATE_H

#include "tools/generate/completion.h"
#include "tools/quant-run/options.h"
#include "tools/text/text_files.h"

namespace quant::run {

/// A session with `rows` of context, or --context. Errors: as quant_session_create.
Result<generate::SessionHandle> createSession(const quant_module *module, const Options &options, int64_t rows);

/// Rows for the prompt and the new tokens. Errors: they overflow --context or the module's limit.
Result<int64_t> rowsFor(const quant_module *module, const Options &options, size_t promptTokens, int64_t newTokens);

/// The tokens that end the text: --stop-token and, unless --ignore-eos, those of the configuration that the module was compiled
/// from.
Result<std::vector<int32_t>> endTokens(const quant_module *module, const Options &options);

/// Talks over stdin and stdout until the input ends or /exit.
Result<void> chat(const Options &options, const quant_module *module, const text::TextFiles &files);

/// To stderr: how fast, and how much memory. The KV cache's line is left out where there is none.
void printTimes(const generate::Completion &completion, const quant_session *session);
void printMemory(const quant_module *module);

} // namespace quant::run

#endif // QUANT_TOOLS_QUANT_RUN_GENERATE_H
