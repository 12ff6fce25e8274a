//===- paged_program.cpp - a program, called with tokens and pages --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/paged_program.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::runtime {

std::vector<std::vector<CallPiece>> planCalls(std::span<const int64_t> jobs, int64_t maxChunk) {
  std::vector<std::vector<CallPiece>> calls, shared;
  int64_t room = 0;
  for (size_t job = 0; job < jobs.size(); ++job)
    for (int64_t first = 0; first < jobs[job]; first += maxChunk) {
      CallPiece piece = {job, first, std::min(maxChunk, jobs[job] - first)};
      bool isShort = piece.count <= abi::kShortStep && first + piece.count == jobs[job];
      if (!isShort) {
        calls.push_back({piece});
        continue;
      }
      if (piece.count > room) {
        shared.emplace_back();
        room = maxChunk;
      }
      shared.back().push_back(piece);
      room -= piece.count;
    }
  std::ranges::move(shared, std::back_inserter(calls));
  return calls;
}

//===----------------------------------------------------------------------===//
// The program's inputs and outputs
//===----------------------------------------------------------------------===//

static Extent extentOf(abi::Dim dim) { return {.size = 0, .dim = dim}; }
static Extent extentOf(int64_t size) { return {.size = size, .dim = {}}; }

/// The value of that name and kind, or null.
static const Value *findValue(const Program &program, std::string_view name, ValueKind kind) {
  auto found = std::ranges::find_if(program.values, [&](const Value &value) { return value.kind == kind && value.name == name; });
  return found == program.values.end() ? nullptr : &*found;
}

static Result<void> checkValue(const Program &program, std::string_view name, ValueKind kind, DType dtype, const Shape &shape) {
  const Value *value = findValue(program, name, kind);
  if (value && value->dtype == dtype && value->shape == shape)
    return {};
  return fail(fmt::format("the program has no {} '{}' of type {}", kindName(kind), name, typeText(shape, dtype)));
}

Result<void> PagedProgram::bind(States states) {
  const Program &program = session->program();
  tableColumns = (limits().context + abi::kPageRows - 1) / abi::kPageRows;
  Shape perToken = {extentOf(abi::Dim::Tokens)}, perOutput = {extentOf(abi::Dim::Outputs)};
  auto input = [&](const char *name, int32_t *&memory, const Shape &shape) {
    memory = reinterpret_cast<int32_t *>(session->buffer(name));
    return checkValue(program, name, ValueKind::Input, DType::I32, shape);
  };
  QUANT_TRY(input("tokens", tokens, perToken));
  QUANT_TRY(input("positions", positions, perToken));
  QUANT_TRY(input("sequences", sequences, perToken));
  QUANT_TRY(input("pages", pages, {extentOf(abi::Dim::Sequences), extentOf(tableColumns)}));
  QUANT_TRY(input("selected", selected, perOutput));
  perOutput.push_back(extentOf(limits().vocab));
  QUANT_TRY(checkValue(program, "logits", ValueKind::Output, DType::F32, perOutput));
  logits = reinterpret_cast<const float *>(session->buffer("logits"));
  if (states == States::None)
    return {};
  ValueKind kind = states == States::Read ? ValueKind::Input : ValueKind::Output;
  const Value *value = findValue(program, "states", kind);
  width = value && value->shape.size() == 2 ? value->shape[1].size : 0;
  perToken.push_back(extentOf(width));
  QUANT_TRY(checkValue(program, "states", kind, DType::F32, perToken));
  auto *memory = reinterpret_cast<float *>(session->buffer("states"));
  if (states == States::Read)
    statesRead = memory;
  else
    statesWritten = memory;
  return {};
}

Result<PagedProgram> PagedProgram::create(std::unique_ptr<Session> session, States states) {
  PagedProgram program(std::move(session));
  QUANT_TRY(program.bind(states));
  return program;
}

//===----------------------------------------------------------------------===//
// Calls
//===----------------------------------------------------------------------===//

void PagedProgram::enter(std::span<const CallPart> parts) {
  int64_t token = 0, output = 0, number = 0;
  for (const CallPart &part : parts) {
    auto count = static_cast<int64_t>(part.tokens.size());
    std::ranges::copy(part.tokens, tokens + token);
    for (int64_t i = 0; i < count; ++i) {
      positions[token + i] = static_cast<int32_t>(part.position + i);
      sequences[token + i] = static_cast<int32_t>(number);
    }
    std::ranges::copy(part.pages, pages + number * tableColumns);
    if (statesRead)
      std::copy_n(part.statesRead, count * width, statesRead + token * width);
    token += count;
    for (int64_t i = part.outputs; i > 0; --i)
      selected[output++] = static_cast<int32_t>(token - i);
    ++number;
  }
}

Result<void> PagedProgram::run(std::span<const CallPart> parts) {
  int64_t count = 0, outputs = 0, vocab = limits().vocab;
  for (const CallPart &part : parts) {
    count += static_cast<int64_t>(part.tokens.size());
    outputs += part.outputs;
  }
  enter(parts);
  QUANT_TRY(session->run({count, static_cast<int64_t>(parts.size()), outputs, session->cacheRows()}));
  const float *row = logits, *state = statesWritten;
  for (const CallPart &part : parts) {
    std::copy_n(row, part.outputs * vocab, part.logits);
    row += part.outputs * vocab;
    if (!statesWritten)
      continue;
    auto numbers = static_cast<int64_t>(part.tokens.size()) * width;
    std::copy_n(state, numbers, part.statesWritten);
    state += numbers;
  }
  return {};
}

} // namespace quant::runtime
