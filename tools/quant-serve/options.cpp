//===- options.cpp - command line of quant-serve --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-serve/options.h"

#include "runtime/api/quant.h"

#include <CLI/CLI.hpp>

#include <iostream>

namespace quant::serve {

static constexpr char kExample[] = R"(
Example: serve a model to this computer, and ask it:
  quant-serve model.qmod --weights ~/DeepSeek-V2-Lite-FP8
  curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64}'

OpenAI's API: /v1/models, /v1/completions, /v1/chat/completions (stream, n, stop, seed, logprobs, usage); beside it /health, /metrics for
Prometheus, and a page to chat at /. Up to --sequences requests are computed side by side (continuous batching): a pass reads each
weight once for all of them. Others wait, in the order in which they came, also for room in the KV cache: a request begins when its
prompt and the tokens that it may get fit. Prompts that begin alike share what is computed of them, in pages of 64 tokens.

SIGTERM and Ctrl-C end it: running answers are cut short. Exit status: 0 ended so, 1 error, 2 wrong usage.)";

static void addLimits(CLI::App &app, Options &options) {
  app.add_option("--max-tokens", options.maxTokens, "New tokens of an answer at most; 0: what the context holds")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--max-body", options.maxBody, "Size of a request at most, MiB")
      ->check(CLI::Range(int64_t{1}, int64_t{1024}))
      ->capture_default_str();
  app.add_option("--max-clients", options.maxClients, "Requests at work or waiting at most; more get status 503")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--timeout", options.timeout, "Seconds of a request at most, waiting included; an answer ends there")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
}

static void addOptions(CLI::App &app, Options &options) {
  app.add_option("module", options.module, "Compiled model, written by quant-compile")->required()->type_name("FILE.qmod");
  app.add_option("--weights", options.weights, "Folder of the checkpoint, with tokenizer.json and tokenizer_config.json")
      ->required()
      ->type_name("DIR");
  app.add_option("--host", options.host, "Address to listen at; the default is reached from this computer alone")
      ->capture_default_str();
  app.add_option("--port", options.port, "Port; 0: any free one, which is printed")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--api-key-file", options.apiKeyFile, "File with the key that requests to /v1 and /metrics must bring (Bearer)")
      ->type_name("FILE");
  app.add_option("--model-name", options.modelName, "What requests call the model; default: the name of the weights' folder");
  app.add_option("--sequences", options.sequences, "Sequences that are computed side by side at most")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "CPU threads; 0: as many as CPUs that the process may run on")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--context", options.context, "Tokens of a sequence at most, prompt and answer; 0: the module's limit")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  app.add_option(
         "--cache-tokens", options.cacheTokens,
         "Tokens that the KV cache holds of all sequences together; 0: --sequences times --context, at most 262144, or one "
         "context. The host takes the memory as it is used, a GPU at once")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24))
      ->capture_default_str();
  app.add_flag("--mtp", options.mtp, "Speculative decoding with the module's MTP layer (quant-compile --mtp), as for quant-run");
  app.add_option("--device", options.device, "host or cuda, as for quant-run")
      ->check(CLI::IsMember({"host", "cuda"}))
      ->capture_default_str();
  app.add_option("--isa", options.isa, "Run this code of the module (avx2, ptx), not the best for the device")->type_name("NAME");
}

std::variant<Options, int> parseOptions(int argc, char **argv) {
  Options options;
  CLI::App app("Serves a compiled model over HTTP, with OpenAI's API and a page to chat.", "quant-serve");
  app.footer(kExample);
  app.set_version_flag("--version", std::string("quant-serve ") + quant_version());
  addOptions(app, options);
  addLimits(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    std::cerr << "quant-serve: error: " << error.what() << "\nquant-serve --help lists the options\n";
    return 2;
  }
  return options;
}

} // namespace quant::serve
