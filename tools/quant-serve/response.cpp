//===- response.cpp - answers in OpenAI's form ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/response.h"

#include "tools/text/utf8.h"

#include <fmt/core.h>

#include <ctime>
#include <random>

namespace quant::serve {

Json Usage::json() const {
  return {{"prompt_tokens", promptTokens},
          {"completion_tokens", completionTokens},
          {"total_tokens", promptTokens + completionTokens}};
}

const char *finishReason(generate::Finish finish) { return finish == generate::Finish::Stop ? "stop" : "length"; }

static std::string randomId() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}", device(), device(), device());
}

Responses::Responses(const Call &call, std::string model, const text::Tokenizer &tokenizer)
    : chat(call.chat), wantsLogprobs(call.logprobs.has_value()), model(std::move(model)),
      id((call.chat ? "chatcmpl-" : "cmpl-") + randomId()), created(std::time(nullptr)), tokenizer(tokenizer) {}

Json Responses::object(bool chunk, Json choices) const {
  const char *name = !chat ? "text_completion" : chunk ? "chat.completion.chunk" : "chat.completion";
  return {{"id", id}, {"object", name}, {"created", created}, {"model", model}, {"choices", std::move(choices)}};
}

/// The token as text, and its bytes, which may be a part of a character.
Json Responses::tokenJson(const generate::TokenLogprob &one) const {
  std::string_view bytes = tokenizer.bytes(one.token);
  Json list = Json::array();
  for (char byte : bytes)
    list.push_back(static_cast<unsigned char>(byte));
  return {{"token", text::utf8Replaced(bytes)}, {"logprob", one.logprob}, {"bytes", std::move(list)}};
}

Json Responses::logprobs(const std::vector<generate::Step> &steps) const {
  if (!wantsLogprobs)
    return nullptr;
  Json content = Json::array(), tokens = Json::array(), values = Json::array(), tops = Json::array(), offsets = Json::array();
  size_t offset = 0;
  for (const generate::Step &step : steps) {
    if (step.logprobs.empty())
      continue;
    Json token = tokenJson(step.logprobs[0]), list = Json::array(), map = Json::object();
    for (size_t i = 1; i < step.logprobs.size(); ++i) {
      list.push_back(tokenJson(step.logprobs[i]));
      map[list.back()["token"].get<std::string>()] = step.logprobs[i].logprob;
    }
    tokens.push_back(token["token"]), values.push_back(token["logprob"]), tops.push_back(std::move(map)),
        offsets.push_back(offset);
    offset += token["token"].get_ref<const std::string &>().size();
    token["top_logprobs"] = std::move(list);
    content.push_back(std::move(token));
  }
  if (chat)
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(values)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

Json Responses::choice(int64_t index, const std::vector<generate::Step> &steps, generate::Finish finish) const {
  std::string text;
  for (const generate::Step &step : steps)
    text += step.text;
  Json choice = {{"index", index}};
  if (chat)
    choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  else
    choice["text"] = text;
  choice["logprobs"] = logprobs(steps);
  choice["finish_reason"] = finishReason(finish);
  return choice;
}

Json Responses::whole(Json choices, const Usage &usage) const {
  Json json = object(false, std::move(choices));
  json["usage"] = usage.json();
  return json;
}

Json Responses::opening(int64_t index) const {
  if (!chat)
    return nullptr;
  return object(true, {{{"index", index}, {"delta", {{"role", "assistant"}, {"content", ""}}}, {"finish_reason", nullptr}}});
}

Json Responses::chunk(int64_t index, const generate::Step &step) const {
  Json choice = {{"index", index}};
  if (chat)
    choice["delta"] = {{"content", step.text}};
  else
    choice["text"] = step.text;
  choice["logprobs"] = logprobs({step});
  choice["finish_reason"] = nullptr;
  return object(true, Json::array({std::move(choice)}));
}

Json Responses::closing(int64_t index, generate::Finish finish) const {
  Json choice = {{"index", index}};
  if (chat)
    choice["delta"] = Json::object();
  else
    choice["text"] = "";
  choice["finish_reason"] = finishReason(finish);
  return object(true, Json::array({std::move(choice)}));
}

Json Responses::usageChunk(const Usage &usage) const {
  Json json = object(true, Json::array());
  json["usage"] = usage.json();
  return json;
}

} // namespace quant::serve
