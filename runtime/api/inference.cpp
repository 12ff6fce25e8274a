//===- inference.cpp - tokens in, logits out ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/inference.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::runtime {

static bool hasValue(const Program &program, std::string_view name, ValueKind kind, DType dtype, const Shape &shape) {
  return std::ranges::any_of(program.values, [&](const Value &value) {
    return value.kind == kind && value.name == name && value.dtype == dtype && value.shape == shape;
  });
}

Result<Inference> Inference::create(std::unique_ptr<Session> session, int64_t maxChunk) {
  const Program &program = session->program();
  Extent tokens = {.size = 0, .dim = abi::Dim::Tokens}, outputs = {.size = 0, .dim = abi::Dim::Outputs};
  Extent vocab = {.size = program.limits.vocab, .dim = {}};
  if (!hasValue(program, "tokens", ValueKind::Input, DType::I32, {tokens}))
    return fail("the program has no input 'tokens' of type tokensxi32");
  if (!hasValue(program, "logits", ValueKind::Output, DType::F32, {outputs, vocab}))
    return fail(fmt::format("the program has no output 'logits' of type outputsx{}xf32", vocab.size));
  Inference inference;
  inference.maxChunk = maxChunk == 0 ? program.limits.tokens : maxChunk;
  inference.tokenInput = reinterpret_cast<int32_t *>(session->buffer("tokens"));
  inference.logitsOutput = reinterpret_cast<const float *>(session->buffer("logits"));
  inference.session = std::move(session);
  return inference;
}

Result<void> Inference::checkTokens(std::span<const int32_t> tokens) const {
  int64_t vocab = session->program().limits.vocab;
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] < 0 || tokens[i] >= vocab)
      return fail(fmt::format("token {} is id {}, the vocabulary has 0 to {}", i, tokens[i], vocab - 1));
  return {};
}

Result<void> Inference::checkRoom(int64_t count) const {
  int64_t rows = session->context();
  if (count <= rows - nextPosition)
    return {};
  return fail(fmt::format("{} tokens at position {} overflow the context of {} rows", count, nextPosition, rows));
}

Result<void> Inference::forward(std::span<const int32_t> tokens, int64_t outputs, float *logits) {
  auto count = static_cast<int64_t>(tokens.size());
  int64_t vocab = session->program().limits.vocab, position = nextPosition;
  for (int64_t begin = 0; begin < count; begin += maxChunk) {
    int64_t chunk = std::min(maxChunk, count - begin);
    int64_t chunkOutputs = std::clamp<int64_t>(begin + chunk - (count - outputs), 0, chunk);
    std::copy_n(tokens.begin() + begin, chunk, tokenInput);
    QUANT_TRY(session->run({chunk, position, chunkOutputs, session->context()}));
    logits = std::copy_n(logitsOutput, chunkOutputs * vocab, logits);
    position += chunk;
  }
  nextPosition = position; // all of them or, where a chunk fails, none
  return {};
}

} // namespace quant::runtime
