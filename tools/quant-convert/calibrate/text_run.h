//===- text_run.h - a text through a compiled model -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What calibration and sensitivities run: a text in pieces of context - 1 tokens with BOS before each, through a module compiled
// for the host, with whatever weights.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_TEXT_RUN_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_TEXT_RUN_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/device/common/session.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace quant::convert {

struct TextRunOptions {
  std::filesystem::path text;   ///< as text::readText() takes it
  std::filesystem::path module; ///< compiled from the checkpoint for the host
  int64_t context = 0;          ///< tokens of a piece with its BOS; 0: the module's limit, 2048 at most
  int threads = 0;
};

/// A number that differs when text, module or context do, as text. Errors: a file that cannot be read.
Result<std::string> fingerprint(const TextRunOptions &options);

class TextRun {
public:
  /// Opens both; `checkpoint` is the folder whose tokenizer encodes a text. Errors: too few tokens, ids beyond the vocabulary, a
  /// module without code for the host or without bos_token_id, a context that it does not allow.
  static Result<TextRun> open(const TextRunOptions &options, const std::filesystem::path &checkpoint);

  const runtime::Target &target() const { return *module->find("host"); }
  std::span<const int32_t> tokens() const { return text; }
  int64_t vocab() const { return target().program.limits.vocab; }
  int64_t context() const { return pieceTokens; }
  int threads() const { return options.threads; }
  /// The text is run in so many, each with its BOS: of context() - 1 tokens, the last of what is left.
  size_t pieces() const;
  /// Memory of a session beside the mapped weights.
  int64_t sessionBytes() const;

  /// Runs all tokens; `tap` sees the operands of every dispatch. `label` is what the progress is called. `begin`, if not empty,
  /// is called with the number of each piece before it runs.
  Result<void> run(const checkpoint::Checkpoint &weights, const runtime::DispatchTap &tap, const std::string &label,
                   const std::function<void(size_t piece)> &begin = {}) const;

  /// Logits [targets.size(), vocab] of the positions before `targets`, which begin at token `first` of the text.
  using TakeLogits = std::function<Result<void>(size_t first, std::span<const int32_t> targets, std::span<const float> logits)>;
  /// Runs all tokens but the last of each piece, and hands out logits in the order of the text.
  Result<void> score(const checkpoint::Checkpoint &weights, const TakeLogits &take) const;

private:
  struct Pass;
  Result<void> forPieces(const checkpoint::Checkpoint &weights, const runtime::DispatchTap &tap,
                         const std::function<Result<void>(Pass &, size_t first, std::span<const int32_t> piece)> &take) const;

  TextRunOptions options;
  std::shared_ptr<const runtime::Module> module;
  std::vector<int32_t> text;
  int64_t pieceTokens = 0;
  int32_t bos = 0;
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_TEXT_RUN_H
