//===- response.h - answers in OpenAI's form ------------------ -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_RESPONSE_H
#define QUANT_TOOLS_QUANT_SERVE_RESPONSE_H

#include "tools/quant-serve/request.h"
#include "tools/text/tokenizer.h"

namespace quant::serve {

struct Usage {
  int64_t promptTokens = 0, completionTokens = 0;
  Json json() const;
};

/// Makes the objects of one answer: they share id, time and model.
class Responses {
public:
  Responses(const Call &call, std::string model, const text::Tokenizer &tokenizer);

  /// A choice of an answer that comes as a whole; `steps` are all of its steps.
  Json choice(int64_t index, const std::vector<generate::Step> &steps, generate::Finish finish) const;
  Json whole(Json choices, const Usage &usage) const;

  /// What begins a choice of a stream; null where nothing does.
  Json opening(int64_t index) const;
  Json chunk(int64_t index, const generate::Step &step) const;
  Json closing(int64_t index, generate::Finish finish) const;
  Json usageChunk(const Usage &usage) const;

private:
  Json object(bool chunk, Json choices) const;
  Json logprobs(const std::vector<generate::Step> &steps) const;
  Json tokenJson(const generate::TokenLogprob &one) const;

  bool chat, wantsLogprobs;
  std::string model, id;
  int64_t created;
  const text::Tokenizer &tokenizer;
};

/// "stop" or "length".
const char *finishReason(generate::Finish finish);

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_RESPONSE_H
