//===- request.cpp - what a client asks for -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/request.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

namespace quant::serve {

Json Refusal::json() const {
  const char *type = status == 401 ? "authentication_error" : status >= 500 ? "server_error" : "invalid_request_error";
  return {{"error",
           {{"message", message},
            {"type", type},
            {"param", parameter.empty() ? Json(nullptr) : Json(parameter)},
            {"code", code.empty() ? Json(nullptr) : Json(code)}}}};
}

namespace {

/// Limits of one request.
constexpr int64_t kMostChoices = 16, kMostPrompts = 64, kMostStops = 16, kMostLogprobs = 20;

/// Reads the fields of a body; the first thing wrong is kept.
class CallReader {
public:
  CallReader(const Json &body, bool chat) : body(body) { call.chat = chat; }

  Answer<Call> read(const std::string &name) {
    model(name);
    call.chat ? chat() : text();
    common();
    for (auto it = body.begin(); it != body.end(); ++it)
      if (std::ranges::find(known, it.key()) == known.end())
        refuse(printable(it.key()), "is no field that this server knows");
    if (error)
      return tl::unexpected(*error);
    return std::move(call);
  }

private:
  void refuse(const std::string &field, const std::string &what) {
    if (!error)
      error = Refusal{400, fmt::format("{} {}", field, what), field, {}};
  }

  /// A field that is there and not null.
  const Json *find(const char *field) {
    known.emplace_back(field);
    auto found = body.find(field);
    return found == body.end() || found->is_null() ? nullptr : &*found;
  }

  static std::string shown(const Json &value) { return shortText(nlohmann::json(value)); }

  std::optional<int64_t> integer(const char *field, int64_t least, int64_t most) {
    const Json *value = find(field);
    if (!value)
      return std::nullopt;
    std::optional<int64_t> number = wholeNumber(nlohmann::json(*value));
    if (!number || *number < least || *number > most) {
      refuse(field, fmt::format("is {}, not an integer from {} to {}", shown(*value), least, most));
      return std::nullopt;
    }
    return number;
  }

  void real(const char *field, double &out, double least, double most) {
    const Json *value = find(field);
    if (!value)
      return;
    if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most))
      return refuse(field, fmt::format("is {}, not a number from {} to {}", shown(*value), least, most));
    out = value->get<double>();
  }

  void boolean(const char *field, bool &out) {
    const Json *value = find(field);
    if (value && !value->is_boolean())
      return refuse(field, fmt::format("is {}, not true or false", shown(*value)));
    if (value)
      out = value->get<bool>();
  }

  /// A field that changes nothing by its default, and is not supported otherwise.
  void only(const char *field, std::initializer_list<Json> allowed) {
    const Json *value = find(field);
    if (value && std::ranges::find(allowed, *value) == allowed.end())
      refuse(field, fmt::format("{} is not supported", shown(*value)));
  }

  void model(const std::string &name) {
    const Json *value = find("model");
    if (!value)
      return;
    if (!value->is_string())
      return refuse("model", fmt::format("is {}, not a name", shown(*value)));
    if (value->get<std::string>() != name && !error)
      error = Refusal{404, fmt::format("model {} is not here; this server has {}", quote(value->get<std::string>()), quote(name)),
                      "model", "model_not_found"};
  }

  void common() {
    call.n = integer("n", 1, kMostChoices).value_or(1);
    call.sampling.temperature = 1;
    real("temperature", call.sampling.temperature, 0, 100);
    real("top_p", call.sampling.topP, 1e-9, 1);
    real("min_p", call.sampling.minP, 0, 1);
    real("repetition_penalty", call.sampling.repetitionPenalty, 1e-3, 1e3);
    call.sampling.topK = integer("top_k", -1, 1 << 30).value_or(0);
    call.sampling.topK = std::max<int64_t>(call.sampling.topK, 0); // vLLM's -1 is all of them, too
    if (auto seed = integer("seed", INT64_MIN, INT64_MAX))
      call.seed = static_cast<uint64_t>(*seed);
    boolean("stream", call.stream);
    streamOptions();
    stops();
    for (const char *field : {"presence_penalty", "frequency_penalty"})
      only(field, {0});
    only("logit_bias", {Json::object()});
    // Said of the caller, not of the answer.
    for (const char *field : {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})
      find(field);
  }

  void streamOptions() {
    const Json *options = find("stream_options");
    if (!options)
      return;
    if (!options->is_object() || !call.stream)
      return refuse("stream_options", "is no object, or stream is not true");
    for (auto it = options->begin(); it != options->end(); ++it)
      if (it.key() == "include_usage" && it.value().is_boolean())
        call.includeUsage = it.value().get<bool>();
      else if (it.key() != "include_obfuscation" || it.value() != false)
        refuse("stream_options", fmt::format("has {}, which is not supported", quote(it.key())));
  }

  void stops() {
    const Json *value = find("stop");
    if (!value)
      return;
    for (const Json &stop : value->is_array() ? *value : Json::array({*value}))
      if (!stop.is_string() || stop.get_ref<const std::string &>().empty() || stop.get_ref<const std::string &>().size() > 1000)
        return refuse("stop", fmt::format("has {}, not a text of 1 to 1000 bytes", shown(stop)));
      else
        call.stops.push_back(stop.get<std::string>());
    if (static_cast<int64_t>(call.stops.size()) > kMostStops)
      refuse("stop", fmt::format("has more than {} texts", kMostStops));
  }

  //===--- /v1/completions ---===//

  void text() {
    constexpr int64_t kDefaultTokens = 16; // OpenAI's
    call.maxTokens = integer("max_tokens", 0, 1 << 30).value_or(kDefaultTokens);
    if (auto logprobs = integer("logprobs", 0, kMostLogprobs))
      call.logprobs = static_cast<size_t>(*logprobs);
    only("echo", {false});
    only("suffix", {""});
    only("best_of", {1});
    const Json *prompt = find("prompt");
    if (!prompt)
      return refuse("prompt", "is missing");
    bool several = prompt->is_array() && !prompt->empty() && !(*prompt)[0].is_number();
    for (const Json &one : several ? *prompt : Json::array({*prompt}))
      addPrompt(one);
    if (call.prompts.size() > kMostPrompts)
      refuse("prompt", fmt::format("has more than {} prompts", kMostPrompts));
  }

  void addPrompt(const Json &one) {
    if (one.is_string())
      return static_cast<void>(call.prompts.emplace_back(one.get<std::string>()));
    std::vector<int32_t> ids;
    for (const Json &id : one.is_array() ? one : Json::array())
      if (id.is_number_integer() && id >= 0 && id <= INT32_MAX)
        ids.push_back(id.get<int32_t>());
    if (!one.is_array() || ids.size() != one.size() || ids.empty())
      return refuse("prompt", fmt::format("is {}, not a text, a list of token ids, or a list of those", shown(one)));
    call.prompts.emplace_back(std::move(ids));
  }

  //===--- /v1/chat/completions ---===//

  void chat() {
    call.maxTokens = integer("max_tokens", 1, 1 << 30);
    if (auto tokens = integer("max_completion_tokens", 1, 1 << 30))
      call.maxTokens = tokens;
    bool logprobs = false;
    boolean("logprobs", logprobs);
    std::optional<int64_t> top = integer("top_logprobs", 0, kMostLogprobs);
    if (top && !logprobs)
      refuse("top_logprobs", "needs logprobs to be true");
    if (logprobs)
      call.logprobs = static_cast<size_t>(top.value_or(0));
    only("response_format", {Json{{"type", "text"}}});
    only("tool_choice", {"auto", "none"});
    only("modalities", {Json::array({"text"})});
    only("parallel_tool_calls", {true, false});
    templateVariables();
    const Json *messages = find("messages");
    if (!messages || !messages->is_array() || messages->empty())
      return refuse("messages", messages ? "is no list with at least one message" : "is missing");
    call.messages = Json::array();
    for (const Json &message : *messages)
      addMessage(message);
  }

  /// tools and chat_template_kwargs are the template's to read.
  void templateVariables() {
    call.templateVariables = Json::object();
    if (const Json *more = find("chat_template_kwargs")) {
      if (!more->is_object())
        return refuse("chat_template_kwargs", "is no object");
      call.templateVariables = *more;
    }
    if (const Json *tools = find("tools")) {
      if (!tools->is_array())
        return refuse("tools", "is no list");
      call.templateVariables["tools"] = *tools;
    }
  }

  void addMessage(const Json &message) {
    constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
    std::string field = fmt::format("messages[{}]", call.messages.size());
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      return refuse(field, "is no object with a role");
    if (std::ranges::find(kRoles, message["role"].get<std::string>()) == kRoles.end())
      return refuse(field,
                    fmt::format("has role {}; known are system, developer, user, assistant and tool", shown(message["role"])));
    Json own = message;
    if (own["role"] == "developer")
      own["role"] = "system";
    Json content = message.value("content", Json());
    bool mayLack = own["role"] == "assistant" && message.contains("tool_calls");
    if (content.is_array())
      content = joined(content, field);
    if (!content.is_string() && !(content.is_null() && mayLack))
      return refuse(field, fmt::format("has content {}, not a text or a list of texts", shown(content)));
    own["content"] = std::move(content);
    call.messages.push_back(std::move(own));
  }

  /// A content in parts, each {"type": "text", "text": ...}.
  Json joined(const Json &parts, const std::string &field) {
    std::string text;
    for (const Json &part : parts)
      if (part.is_object() && part.value("type", Json()) == "text" && part.value("text", Json()).is_string())
        text += part["text"].get<std::string>();
      else
        refuse(field, fmt::format("has a part {}; only texts are supported", shown(part)));
    return text;
  }

  const Json &body;
  Call call;
  std::vector<std::string> known;
  std::optional<Refusal> error;
};

} // namespace

/// Keys of the object that has the most, of all in `value`.
static size_t mostKeys(const nlohmann::json &value) {
  size_t most = value.is_object() ? value.size() : 0;
  if (value.is_structured())
    for (const nlohmann::json &member : value)
      most = std::max(most, mostKeys(member));
  return most;
}

Answer<Call> parseCall(std::string_view body, bool chat, const std::string &name) {
  // The strict parser finds what is wrong; the other one keeps the order of keys, which templates show to the model.
  auto strict = checkpoint::parseJsonStrict(body);
  if (!strict)
    return tl::unexpected(Refusal{400, "the body is no JSON: " + strict.error().message, {}, {}});
  // It looks for a key by going through all.
  constexpr size_t kMostKeys = 1000;
  if (size_t keys = mostKeys(*strict); keys > kMostKeys)
    return tl::unexpected(Refusal{400, fmt::format("an object has {} keys, more than {}", keys, kMostKeys), {}, {}});
  Json json = Json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return tl::unexpected(Refusal{400, "the body is no JSON object", {}, {}});
  return CallReader(json, chat).read(name);
}

} // namespace quant::serve
