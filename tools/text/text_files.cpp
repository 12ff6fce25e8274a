//===- text_files.cpp - a checkpoint's tokenizer and chat template --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/text_files.h"

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace quant::text {

using nlohmann::json;

/// A token by its text, or by an object with its text as content.
static Result<std::string> tokenText(ObjectReader &reader, const char *key) {
  const json *token = reader.find(key);
  if (!token)
    return std::string();
  const json *text = token->is_object() && token->contains("content") ? &(*token)["content"] : token;
  if (!text->is_string())
    return fail(fmt::format("{}: {} is no token", key, shortText(*token)));
  return text->get<std::string>();
}

Result<TokenizerConfig> TokenizerConfig::parse(const json &file) {
  if (!file.is_object())
    return fail("is no JSON object");
  ObjectReader reader(file);
  TokenizerConfig config;
  QUANT_TRY_ASSIGN(config.bosToken, tokenText(reader, "bos_token"));
  QUANT_TRY_ASSIGN(config.eosToken, tokenText(reader, "eos_token"));
  reader.read("add_bos_token", config.addBos);
  reader.read("add_eos_token", config.addEos);
  QUANT_TRY(reader.result());
  const json *chat = reader.find("chat_template");
  if (chat && chat->is_string())
    config.chatTemplate = chat->get<std::string>();
  if (!chat || chat->is_string())
    return config;
  for (const json &named : chat->is_array() ? *chat : json::array())
    if (named.is_object() && named.value("name", json()) == "default" && named.value("template", json()).is_string())
      config.chatTemplate = named["template"].get<std::string>();
  if (!config.chatTemplate)
    return fail("chat_template is no text, and no list with one of name 'default'");
  return config;
}

/// Gives `around` the token, unless it is there already.
static Result<void> addToken(const Tokenizer &tokenizer, const std::string &token, const char *key,
                             std::vector<int32_t> &around) {
  std::optional<int32_t> id = tokenizer.find(token);
  if (!id)
    return fail(fmt::format("{}: token {} is not in the tokenizer", key, quote(token)));
  if (around != std::vector<int32_t>{*id})
    around.push_back(*id);
  return {};
}

static Result<std::optional<std::string>> readTemplate(const std::filesystem::path &file) {
  constexpr size_t kMostBytes = 1 << 20;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(file, ignored))
    return std::nullopt;
  QUANT_TRY_ASSIGN(std::string text, checkpoint::readFile(file, kMostBytes));
  return text;
}

Result<TextFiles> TextFiles::read(const std::filesystem::path &folder) {
  constexpr uint64_t kMostBytes = 16 << 20;
  TextFiles files;
  QUANT_TRY_ASSIGN(files.tokenizer, Tokenizer::read(folder));
  files.prefix = files.tokenizer->prefix, files.suffix = files.tokenizer->suffix;
  std::filesystem::path file = folder / "tokenizer_config.json";
  std::error_code ignored;
  auto here = [&](const Error &error) { return tl::unexpected(error.in(file.string())); };
  if (std::filesystem::exists(file, ignored)) {
    QUANT_TRY_ASSIGN(json parsed, checkpoint::readJsonFile(file, kMostBytes));
    Result<TokenizerConfig> config = TokenizerConfig::parse(parsed);
    if (!config)
      return here(config.error());
    files.config = *config;
    if (config->addBos)
      if (auto added = addToken(*files.tokenizer, config->bosToken, "bos_token", files.prefix); !added)
        return here(added.error());
    if (config->addEos)
      if (auto added = addToken(*files.tokenizer, config->eosToken, "eos_token", files.suffix); !added)
        return here(added.error());
  }
  QUANT_TRY_ASSIGN(std::optional<std::string> own, readTemplate(folder / "chat_template.jinja"));
  if (own)
    file = folder / "chat_template.jinja";
  if (const std::optional<std::string> &source = own ? own : files.config.chatTemplate) {
    Result<ChatTemplate> chat = ChatTemplate::parse(*source);
    if (!chat)
      return here(chat.error().in("chat_template"));
    files.chat = *chat;
  }
  return files;
}

Result<std::vector<int32_t>> TextFiles::encodeText(Encoder &encoder, std::string_view text) const {
  QUANT_TRY_ASSIGN(std::vector<int32_t> tokens, encoder.encode(text));
  if (tokens.empty() || prefix.empty() || tokens.front() != prefix.front())
    tokens.insert(tokens.begin(), prefix.begin(), prefix.end());
  tokens.insert(tokens.end(), suffix.begin(), suffix.end());
  return tokens;
}

Result<std::string> TextFiles::renderChat(const nlohmann::ordered_json &messages, const nlohmann::ordered_json &more) const {
  if (!chat)
    return fail("the checkpoint has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja)");
  nlohmann::ordered_json variables = more;
  variables["messages"] = messages;
  variables["add_generation_prompt"] = true;
  variables["bos_token"] = config.bosToken;
  variables["eos_token"] = config.eosToken;
  Result<std::string> text = chat->render(variables);
  if (!text)
    return tl::unexpected(text.error().in("chat template"));
  return text;
}

} // namespace quant::text
