//===- chat.cpp - a conversation in a terminal ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-run/generate.h"

#include <nlohmann/json.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <unistd.h>

namespace quant::run {

static std::atomic<bool> interrupted = false;

/// Ctrl-C sets a flag for as long as this lives, and interrupts reading.
class CatchInterrupts {
public:
  CatchInterrupts() {
    struct sigaction action = {};
    action.sa_handler = [](int) { interrupted = true; };
    sigaction(SIGINT, &action, &before);
  }
  CatchInterrupts(const CatchInterrupts &) = delete;
  ~CatchInterrupts() { sigaction(SIGINT, &before, nullptr); }

private:
  struct sigaction before = {};
};

/// The next line of stdin; nothing at its end. Read by hand, since a stream cannot tell an interruption from the end.
class Lines {
public:
  std::optional<std::string> next() {
    while (true) {
      if (size_t newline = pending.find('\n'); newline != std::string::npos) {
        std::string line = pending.substr(0, newline);
        pending.erase(0, newline + 1);
        return line;
      }
      char buffer[4096];
      ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) {
        interrupted = false;
        return std::string();
      }
      if (got <= 0)
        return pending.empty() ? std::nullopt : std::optional(std::exchange(pending, {}));
      pending.append(buffer, static_cast<size_t>(got));
    }
  }

private:
  std::string pending;
};

namespace {

class Chat {
public:
  Chat(const Options &options, const quant_module *module, const text::TextFiles &files, generate::Generator &generator)
      : options(options), module(module), files(files), encoder(files.tokenizer), generator(generator) {
    reset();
  }

  Result<void> run() {
    QUANT_TRY_ASSIGN(ends, endTokens(module, options));
    CatchInterrupts guard;
    bool terminal = isatty(STDIN_FILENO);
    if (terminal)
      std::cerr << "Ctrl-C stops an answer, /reset forgets all, /exit leaves\n";
    for (Lines lines;;) {
      if (terminal)
        std::cerr << "> " << std::flush;
      std::optional<std::string> line = lines.next();
      if (!line || *line == "/exit")
        return {};
      if (*line == "/reset")
        reset();
      else if (line->starts_with("/"))
        std::cerr << "known are /reset and /exit\n";
      else if (!line->empty())
        QUANT_TRY(answer(*line));
      else if (terminal)
        std::cerr << '\n';
    }
  }

private:
  void reset() {
    generator.reset();
    messages = nlohmann::ordered_json::array();
    if (!options.system.empty())
      add("system", options.system);
  }

  void add(const char *role, const std::string &content) { messages.push_back({{"role", role}, {"content", content}}); }

  Result<void> answer(const std::string &line) {
    add("user", line);
    QUANT_TRY_ASSIGN(std::string rendered, files.renderChat(messages, nlohmann::ordered_json::object()));
    generate::Request request;
    QUANT_TRY_ASSIGN(request.prompt, encoder.encode(rendered));
    int64_t room = quant_session_context(generator.api()) - static_cast<int64_t>(request.prompt.size()) + 1;
    if (room < 1) {
      std::cerr << "the conversation of " << request.prompt.size() << " tokens overflows the context of "
                << quant_session_context(generator.api()) << " rows; /reset begins a new one\n";
      messages.erase(messages.size() - 1);
      return {};
    }
    request.maxNewTokens = std::min(room, options.maxNewTokens.value_or(room));
    request.sampling = options.sampling;
    request.ends = ends;
    request.stops = options.stops;
    interrupted = false;
    std::string said;
    Result<generate::Completion> completion = generator.complete(request, [&](const generate::Step &step) {
      said += step.text;
      std::cout << step.text << std::flush;
      return !interrupted;
    });
    std::cout << std::endl;
    if (!completion)
      return tl::unexpected(completion.error());
    add("assistant", said);
    if (completion->finish == generate::Finish::Length && !options.maxNewTokens)
      std::cerr << "the context is full; /reset begins a new conversation\n";
    printTimes(*completion, generator.api());
    return {};
  }

  const Options &options;
  const quant_module *module;
  const text::TextFiles &files;
  text::Encoder encoder;
  generate::Generator &generator;
  std::vector<int32_t> ends;
  nlohmann::ordered_json messages;
};

} // namespace

Result<void> chat(const Options &options, const quant_module *module, const text::TextFiles &files) {
  if (!files.chat)
    return fail(options.weights + ": has no chat template, in tokenizer_config.json or chat_template.jinja; use --prompt");
  QUANT_TRY_ASSIGN(generate::SessionHandle session, createSession(module, options, quant_module_max_context(module)));
  generate::Generator generator(std::move(session), quant_module_vocab(module), files.tokenizer, options.mtp);
  QUANT_TRY(Chat(options, module, files, generator).run());
  printMemory(module);
  if (options.profile)
    std::cerr << quant_session_profile(generator.api());
  return {};
}

} // namespace quant::run
