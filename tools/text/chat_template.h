//===- chat_template.h - messages to the text that a model was trained on  -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_CHAT_TEMPLATE_H
#define QUANT_TOOLS_TEXT_CHAT_TEMPLATE_H

#include "runtime/support/result.h"

#include <nlohmann/json_fwd.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace quant::text {

/// A `chat_template` of tokenizer_config.json: Jinja2 as transformers sets it up (trim_blocks, lstrip_blocks, break and continue,
/// raise_exception, tojson without ASCII escapes), as far as the templates of DeepSeek-V2, V3, V3.1, R1 and Kimi-K2 use it. What
/// it does not know is refused by name, with its line: tags and syntax when the template is parsed, filters, tests and methods
/// when they are reached. Immutable; several threads may render at once.
class ChatTemplate {
public:
  static Result<ChatTemplate> parse(std::string_view source);

  /// The text for `variables`, an object: mostly messages (each with role and content), tools, add_generation_prompt, bos_token
  /// and eos_token. Errors begin with a line of the template; among them are what raise_exception says, and a template that runs,
  /// recurses or writes without end.
  Result<std::string> render(const nlohmann::ordered_json &variables) const;

private:
  struct Parsed;
  std::shared_ptr<const Parsed> parsed;
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_CHAT_TEMPLATE_H
