//===- text_files.h - a checkpoint's tokenizer and chat template  -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_TEXT_FILES_H
#define QUANT_TOOLS_TEXT_TEXT_FILES_H

#include "tools/text/chat_template.h"
#include "tools/text/tokenizer.h"

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace quant::text {

/// What tokenizer_config.json says, as far as it matters here.
struct TokenizerConfig {
  std::string bosToken, eosToken; ///< empty: none
  bool addBos = false, addEos = false;
  std::optional<std::string> chatTemplate;

  /// `json` is an object. chat_template may be a text, or a list of named ones, of which "default" is taken.
  static Result<TokenizerConfig> parse(const nlohmann::json &json);
};

/// A checkpoint's tokenizer.json and tokenizer_config.json (or chat_template.jinja, which goes before it).
struct TextFiles {
  std::shared_ptr<const Tokenizer> tokenizer;
  TokenizerConfig config;
  std::optional<ChatTemplate> chat;
  std::vector<int32_t> prefix,
      suffix; ///< around each text that is no chat: of the post-processor, or of add_bos_token and add_eos_token

  /// Reads `folder`. Without a tokenizer_config.json there is no chat template, and tokenizer.json alone says what stands around
  /// a text. Errors name the file.
  static Result<TextFiles> read(const std::filesystem::path &folder);

  /// The tokens of a text to go on with. BOS is not put before a text that begins with it.
  Result<std::vector<int32_t>> encodeText(Encoder &encoder, std::string_view text) const;

  /// The text of a conversation, up to where the assistant goes on. `messages` is an array of objects with role and content;
  /// `more` has further variables of the template (tools, thinking). Errors: there is no template; it fails.
  Result<std::string> renderChat(const nlohmann::ordered_json &messages, const nlohmann::ordered_json &more) const;
};

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_TEXT_FILES_H
