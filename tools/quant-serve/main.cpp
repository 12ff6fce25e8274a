//===- main.cpp - quant-serve: a compiled model over HTTP -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/lost_pages.h"
#include "tools/quant-serve/server.h"

#include <fmt/core.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>
#include <unistd.h>

using namespace quant;
using namespace quant::serve;

static int reportError(const Error &error) {
  std::cerr << "quant-serve: error: " << error.message << '\n';
  return 1;
}

/// The first line of the file.
static Result<std::string> readKey(const std::string &path) {
  if (path.empty())
    return std::string();
  std::ifstream file(path);
  std::string key;
  std::getline(file, key);
  while (!key.empty() && (key.back() == '\r' || key.back() == ' '))
    key.pop_back();
  if (key.empty())
    return fail(path + ": cannot be read, or its first line, the API key, is empty");
  return key;
}

static Result<generate::SessionHandle> createSession(const Options &options, const quant_module *module) {
  quant_session_options chosen = {};
  chosen.threads = options.threads;
  chosen.context = options.context;
  int64_t context = options.context > 0 ? options.context : quant_module_max_context(module);
  chosen.cache = options.cacheTokens > 0 ? options.cacheTokens : std::min(context * options.sequences, kMaxDefaultCache);
  chosen.cache = std::max(chosen.cache, context);
  chosen.mtp = options.mtp;
  chosen.device = options.device.c_str();
  chosen.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  return generate::openSession(module, options.weights, chosen);
}

static std::string defaultName(const std::string &weights) {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::canonical(weights, ignored);
  return folder.filename().string();
}

/// Serves until a signal of `ends` comes, which every thread blocks.
static Result<void> serveUntil(const sigset_t &ends, const Options &options, std::string apiKey, Model model, Engine &engine) {
  Server server(options, std::move(apiKey), std::move(model), engine);
  QUANT_TRY_ASSIGN(int port, server.bind());
  if (options.host != "127.0.0.1" && options.host != "localhost" && options.host != "::1" && options.apiKeyFile.empty())
    std::cerr << "quant-serve: warning: whoever reaches " << options.host
              << " can use this server; --api-key-file asks for a key\n";
  std::cerr << "quant-serve: listening at http://" << options.host << ':' << port << "/\n";
  std::thread waiter([&] {
    int signal = 0;
    sigwait(&ends, &signal);
    engine.stop();
    server.stop();
  });
  server.listen();
  // Where listening failed nobody has sent a signal; the thread may still wait for one.
  kill(getpid(), SIGTERM);
  waiter.join();
  return {};
}

static Result<void> serveModel(const Options &options) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  QUANT_TRY_ASSIGN(std::string apiKey, readKey(options.apiKeyFile));
  QUANT_TRY_ASSIGN(generate::ModuleHandle module, generate::openModule(options.module));
  Model model;
  QUANT_TRY_ASSIGN(model.files, text::TextFiles::read(options.weights));
  model.name = options.modelName.empty() ? defaultName(options.weights) : options.modelName;
  model.vocab = quant_module_vocab(module.get());
  Result<std::vector<int32_t>> modelEnds = generate::modelEndTokens(module.get());
  if (!modelEnds)
    return tl::unexpected(modelEnds.error().in(options.module));
  model.ends = std::move(*modelEnds);
  QUANT_TRY_ASSIGN(generate::SessionHandle session, createSession(options, module.get()));
  Engine engine(std::move(session), model.files.tokenizer,
                {.vocab = model.vocab,
                 .maxTokens = quant_module_max_tokens(module.get()),
                 .maxSequences = options.sequences,
                 .guesses = options.mtp});
  return serveUntil(ends, options, std::move(apiKey), std::move(model), engine);
}

int main(int argc, char **argv) {
  checkpoint::exitOnLostPages("quant-serve");
  std::variant<Options, int> parsed = parseOptions(argc, argv);
  if (const int *status = std::get_if<int>(&parsed))
    return *status;
  Result<void> served = serveModel(std::get<Options>(parsed));
  return served ? 0 : reportError(served.error());
}
