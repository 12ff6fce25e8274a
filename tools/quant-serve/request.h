//===- request.h - what a client asks for --------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_REQUEST_H
#define QUANT_TOOLS_QUANT_SERVE_REQUEST_H

#include "tools/generate/completion.h"

#include <nlohmann/json.hpp>

#include <variant>

namespace quant::serve {

using Json = nlohmann::ordered_json;

/// What is wrong with a request: an HTTP status and OpenAI's error object.
struct Refusal {
  int status = 400;
  std::string message;
  std::string parameter; ///< empty: none in particular
  std::string code;      ///< "model_not_found"; empty: none

  Json json() const;
};
template <typename T>
using Answer = tl::expected<T, Refusal>;

/// A prompt of /v1/completions: a text, or token ids.
using Prompt = std::variant<std::string, std::vector<int32_t>>;

/// A request to /v1/completions or /v1/chat/completions, all its fields checked.
struct Call {
  bool chat = false;
  Json messages, templateVariables; ///< of a chat; contents are texts
  std::vector<Prompt> prompts;      ///< otherwise
  int64_t n = 1;
  std::optional<int64_t> maxTokens;
  std::optional<uint64_t> seed;
  generate::SamplingOptions sampling;
  std::vector<std::string> stops;
  std::optional<size_t> logprobs;
  bool stream = false, includeUsage = false;
};

/// Reads the body of a request for the model `name`. Errors name the field: broken JSON, wrong types, values out of range, fields
/// that are not known, or known and not supported.
Answer<Call> parseCall(std::string_view body, bool chat, const std::string &name);

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_REQUEST_H
