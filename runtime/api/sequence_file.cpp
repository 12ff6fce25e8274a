//===- sequence_file.cpp - sequences in files -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/inference.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/writer.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::runtime {

using checkpoint::SafetensorsFile, checkpoint::SafetensorsWriter, checkpoint::TensorInfo;

static constexpr const char *kFormat = "quant-sequence", *kTokens = "tokens", *kStates = "states";

/// Runs `body` on each piece of a sequence's rows that lies in one page: the first row of the cache, and where the piece is in
/// the sequence.
template <typename Body>
static Result<void> forPages(const std::vector<int32_t> &pages, int64_t tokens, Body body) {
  for (int64_t first = 0; first < tokens; first += abi::kPageRows) {
    int64_t page = pages[static_cast<size_t>(first / abi::kPageRows)];
    QUANT_TRY(body(page * abi::kPageRows, first, std::min(abi::kPageRows, tokens - first)));
  }
  return {};
}

Result<void> Inference::save(const Sequence &sequence, const std::filesystem::path &path) const {
  int64_t count = sequence.position();
  std::vector<checkpoint::TensorSpec> tensors = {{kTokens, DType::I32, {count}}};
  for (const Cache &cache : caches)
    tensors.push_back({cache.name(), DType::U8, {count, cache.rowBytes()}});
  if (draft)
    tensors.push_back({kStates, DType::F32, {waitingStates(sequence), draft->stateWidth()}});
  QUANT_TRY_ASSIGN(SafetensorsWriter writer,
                   SafetensorsWriter::create(path, tensors, {{"format", kFormat}, {"identity", identity}}));
  QUANT_TRY(writer.append(kTokens, std::as_bytes(std::span(sequence.tokens))));
  for (const Cache &cache : caches)
    QUANT_TRY(forPages(sequence.pages, count, [&](int64_t row, int64_t, int64_t rows) -> Result<void> {
      std::vector<std::byte> bytes(static_cast<size_t>(rows * cache.rowBytes()));
      QUANT_TRY(cache.session->readRows(cache.value, row, bytes));
      return writer.append(cache.name(), bytes);
    }));
  if (draft)
    QUANT_TRY(writer.append(kStates, std::as_bytes(std::span(sequence.states))));
  return writer.finish();
}

/// The tensor of that name, dtype and shape. Errors: there is none.
static Result<std::span<const std::byte>> tensorOf(const SafetensorsFile &file, const std::string &name, DType dtype,
                                                   const std::vector<int64_t> &shape) {
  const TensorInfo *tensor = file.find(name);
  if (!tensor || tensor->dtype != dtype || tensor->shape != shape)
    return fail(fmt::format("tensor {} is {}, not {} of {}", quote(name), tensor ? shapeText(tensor->shape) : "not there",
                            mlirName(dtype), shapeText(shape)));
  return file.data(*tensor);
}

/// As many as wait for a token: at least the last token's.
Result<void> Inference::readStates(const SafetensorsFile &file, Sequence &sequence) const {
  const TensorInfo *states = file.find(kStates);
  int64_t width = draft->stateWidth(), waiting = states && states->shape.size() == 2 ? states->shape[0] : 0;
  QUANT_TRY_ASSIGN(std::span<const std::byte> bytes, tensorOf(file, kStates, DType::F32, {waiting, width}));
  if (waiting > sequence.position() || (waiting == 0) != (sequence.position() == 0))
    return fail(fmt::format("tensor {} has {} rows for {} tokens", quote(kStates), waiting, sequence.position()));
  sequence.states.resize(static_cast<size_t>(waiting * width));
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(sequence.states)).begin());
  return {};
}

Result<void> Inference::readCaches(const SafetensorsFile &file, Sequence &sequence) {
  auto said = [&](const char *key) {
    auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  if (said("format") != kFormat)
    return fail("is no file of a saved sequence");
  if (said("identity") != identity)
    return fail("was saved by another module, or with another checkpoint");
  const TensorInfo *ids = file.find(kTokens);
  int64_t count = ids && ids->shape.size() == 1 ? ids->shape[0] : 0;
  QUANT_TRY_ASSIGN(std::span<const std::byte> bytes, tensorOf(file, kTokens, DType::I32, {count}));
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(tokens)).begin());
  QUANT_TRY(checkTokens(tokens));
  QUANT_TRY(checkRoom(sequence, count));
  QUANT_TRY(makeRoom(sequence, count));
  for (const Cache &cache : caches) {
    int64_t width = cache.rowBytes();
    QUANT_TRY_ASSIGN(std::span<const std::byte> rows, tensorOf(file, cache.name(), DType::U8, {count, width}));
    QUANT_TRY(forPages(sequence.pages, count, [&](int64_t row, int64_t first, int64_t piece) {
      return cache.session->writeRows(cache.value, row,
                                      rows.subspan(static_cast<size_t>(first * width), static_cast<size_t>(piece * width)));
    }));
  }
  sequence.tokens = std::move(tokens);
  if (draft)
    QUANT_TRY(readStates(file, sequence));
  publish(sequence);
  return {};
}

Result<Sequence> Inference::restore(const std::filesystem::path &path) {
  QUANT_TRY_ASSIGN(SafetensorsFile file, SafetensorsFile::open(path));
  Sequence sequence;
  Result<void> done = readCaches(file, sequence);
  if (done)
    return sequence;
  clear(sequence);
  return tl::unexpected(done.error().in(printable(path.native())));
}

} // namespace quant::runtime
