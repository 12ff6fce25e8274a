//===- text_run.cpp - a text through a compiled model ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/calibrate/text_run.h"

#include "runtime/abi/module_format.h"
#include "runtime/api/inference.h"
#include "runtime/checkpoint/file.h"
#include "runtime/device/host/session.h"
#include "runtime/support/text.h"
#include "tools/common/progress.h"
#include "tools/common/units.h"
#include "tools/text/tokenized_text.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>

using namespace quant;
using namespace quant::convert;

/// A text shorter than this says little about any layer.
static constexpr size_t kLeastTokens = 256;
static constexpr int64_t kDefaultContext = 2048;
/// Positions whose logits are taken at a time: 132 MB at a vocabulary of 129280.
static constexpr size_t kPassTokens = 256;
static constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;

Result<std::string> convert::fingerprint(const TextRunOptions &options) {
  QUANT_TRY_ASSIGN(std::string text, checkpoint::readFile(options.text, kMaxTextBytes));
  QUANT_TRY_ASSIGN(runtime::Module module, runtime::openModule(options.module));
  return fmt::format("{:016x} {:016x} {}", abi::fnv1a(text.data(), text.size()), module.hash, options.context);
}

static Result<int32_t> beginToken(const runtime::Module &module) {
  auto config = nlohmann::json::parse(module.modelConfig, nullptr, false);
  auto bos = config.is_object() ? config.value("bos_token_id", nlohmann::json()) : nlohmann::json();
  if (!bos.is_number_integer())
    return fail("the configuration of its model has no bos_token_id, which goes before each piece of the text");
  return bos.get<int32_t>();
}

Result<TextRun> TextRun::open(const TextRunOptions &options, const std::filesystem::path &checkpoint) {
  TextRun run;
  run.options = options;
  QUANT_TRY_ASSIGN(text::TokenizedText read, text::readText(options.text, checkpoint));
  run.text = std::move(read.tokens);
  if (run.text.size() < kLeastTokens)
    return fail(fmt::format("{}: {} tokens are too few to calibrate by; give at least {}, better some ten thousand",
                            printable(options.text.native()), run.text.size(), kLeastTokens));
  QUANT_TRY_ASSIGN(runtime::Module opened, runtime::openModule(options.module));
  run.module = std::make_shared<const runtime::Module>(std::move(opened));
  const runtime::Target *target = run.module->find("host");
  if (!target || target->isForeign)
    return fail(printable(options.module.native()) + ": has no code for the host; compile the checkpoint with --target=host");
  auto bos = beginToken(*run.module);
  if (!bos)
    return tl::unexpected(bos.error().in(printable(options.module.native())));
  run.bos = *bos;
  int64_t limit = target->program.limits.context;
  run.pieceTokens = options.context ? options.context : std::min(limit, kDefaultContext);
  if (run.pieceTokens < 2 || run.pieceTokens > limit)
    return fail(fmt::format("--context {}: the module allows 2 to {}", run.pieceTokens, limit));
  return run;
}

size_t TextRun::pieces() const {
  auto size = static_cast<size_t>(pieceTokens - 1);
  return (text.size() + size - 1) / size;
}

int64_t TextRun::sessionBytes() const {
  const runtime::Program &program = target().program;
  runtime::Dims dims = program.limits.largest();
  dims[static_cast<size_t>(abi::Dim::Context)] = pieceTokens + abi::kPageRows;
  int64_t bytes = program.workspaceBytes;
  for (const runtime::Value &value : program.values) {
    bool isWeight = value.kind == runtime::ValueKind::Weight || value.kind == runtime::ValueKind::WeightGroup;
    bool isTurned = isWeight && value.isTurned();
    if (isTurned || (!isWeight && value.kind != runtime::ValueKind::Workspace))
      bytes += runtime::byteSize(value, dims).value_or(0) * std::max<int64_t>(1, value.count);
  }
  return bytes;
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

/// Pieces through a session.
struct TextRun::Pass {
  runtime::Inference inference;
  runtime::Sequence sequence;

  /// Appends the tokens; logits of all of them where there is room for them.
  Result<void> append(std::span<const int32_t> tokens, std::span<float> logits) {
    runtime::SequenceStep step = {.sequence = &sequence, .tokens = tokens};
    if (!logits.empty()) {
      step.outputs = static_cast<int64_t>(tokens.size());
      step.logits = logits.data();
    }
    return inference.forward({&step, 1});
  }
};

Result<void>
TextRun::forPieces(const checkpoint::Checkpoint &weights, const runtime::DispatchTap &tap,
                   const std::function<Result<void>(Pass &, size_t first, std::span<const int32_t> piece)> &take) const {
  runtime::SessionOptions session{.threads = options.threads, .context = pieceTokens, .isa = {}, .tap = tap};
  QUANT_TRY_ASSIGN(auto created, runtime::HostSession::create(module, target(), session));
  // The caller's, which outlives the session.
  QUANT_TRY(created->load({std::shared_ptr<void>(), &weights}));
  auto inference = runtime::Inference::create(std::move(created), {});
  if (!inference)
    return tl::unexpected(inference.error().in(printable(options.module.native())));
  Pass pass{std::move(*inference), {}};
  auto inText = [&](const Error &error) { return tl::unexpected(error.in(printable(options.text.native()))); };
  if (auto checked = pass.inference.checkTokens(text); !checked)
    return inText(checked.error());
  QUANT_TRY(pass.inference.checkTokens({&bos, 1}));
  auto size = static_cast<size_t>(pieceTokens - 1);
  for (size_t begin = 0; begin < text.size(); begin += size) {
    pass.inference.clear(pass.sequence);
    if (auto ran = take(pass, begin, std::span(text).subspan(begin, std::min(size, text.size() - begin))); !ran)
      return inText(ran.error());
  }
  return {};
}

Result<void> TextRun::run(const checkpoint::Checkpoint &weights, const runtime::DispatchTap &tap, const std::string &label,
                          const std::function<void(size_t piece)> &begin) const {
  tools::Progress progress(label, text.size(), tools::stderrTerminal(), tools::humanCount);
  return forPieces(weights, tap, [&](Pass &pass, size_t first, std::span<const int32_t> piece) -> Result<void> {
    if (begin)
      begin(first / static_cast<size_t>(pieceTokens - 1));
    std::vector<int32_t> inputs = {bos};
    inputs.insert(inputs.end(), piece.begin(), piece.end());
    QUANT_TRY(pass.append(inputs, {}));
    progress.add(piece.size());
    return {};
  });
}

Result<void> TextRun::score(const checkpoint::Checkpoint &weights, const TakeLogits &take) const {
  std::vector<float> logits(kPassTokens * static_cast<size_t>(vocab()));
  return forPieces(weights, {}, [&](Pass &pass, size_t first, std::span<const int32_t> piece) -> Result<void> {
    std::vector<int32_t> inputs = {bos};
    inputs.insert(inputs.end(), piece.begin(), piece.end() - 1);
    for (size_t begin = 0; begin < inputs.size(); begin += kPassTokens) {
      size_t count = std::min(kPassTokens, inputs.size() - begin);
      auto rows = std::span(logits).first(count * static_cast<size_t>(vocab()));
      QUANT_TRY(pass.append(std::span(inputs).subspan(begin, count), rows));
      QUANT_TRY(take(first + begin, piece.subspan(begin, count), rows));
    }
    return {};
  });
}
