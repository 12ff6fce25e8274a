//===- main.cpp - quant-run: a compiled model, from token ids to token ids -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Also an example of how to use the C API (runtime/api/quant.h): everything it does goes through it, but for writing logits and
// for the simulator, a device that libquant_runtime leaves out.
//
//===----------------------------------------------------------------------===//

#include "runtime/api/devices.h"
#include "runtime/checkpoint/lost_pages.h"
#include "runtime/checkpoint/writer.h"
#include "tools/quant-run/generate.h"
#include "tools/quant-run/perplexity.h"
#include "tools/quant-sim/device/sim_device.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>

using namespace quant;
using namespace quant::run;

static int reportError(const Error &error) {
  std::cerr << "quant-run: error: " << error.message << '\n';
  return 1;
}

/// Refuses a --logits that would replace what the run reads.
static Result<void> checkLogits(const Options &options) {
  std::filesystem::path path = options.logits, folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code ignored;
  if (options.logits.empty() || !std::filesystem::exists(std::filesystem::symlink_status(path, ignored)))
    return {};
  if (std::filesystem::equivalent(path, options.module, ignored))
    return fail(path.string() + ": --logits would replace the module; choose another name");
  if (std::filesystem::equivalent(folder, options.weights, ignored))
    return fail(path.string() + ": --logits would replace a file of the checkpoint; choose another name");
  return {};
}

/// Where --logits go. Opened before the model runs, so that a full disk or a wrong name shows at once.
static Result<checkpoint::SafetensorsWriter> openLogits(const std::string &path, size_t positions, int64_t vocab) {
  return checkpoint::SafetensorsWriter::create(path, {{"logits", DType::F32, {static_cast<int64_t>(positions), vocab}}});
}

static Result<void> writeLogits(checkpoint::SafetensorsWriter &writer, const std::vector<float> &logits) {
  QUANT_TRY(writer.append("logits", std::as_bytes(std::span(logits))));
  return writer.finish();
}

/// Mean of the tokens that took a pass of their own; 0 where none did.
static double secondsPerToken(const Generation &generation) {
  return generation.tokens.size() > 1 ? generation.decodeSeconds / static_cast<double>(generation.tokens.size() - 1) : 0;
}

static void printJson(const std::vector<int32_t> &prompt, const Generation &generation, const quant_module *module,
                      const quant_session *session) {
  nlohmann::ordered_json json = {
      {"prompt", prompt},
      {"tokens", generation.tokens},
      {"prefill_seconds", generation.prefillSeconds},
      {"decode_seconds_per_token", secondsPerToken(generation)},
      {"threads", quant_session_threads(session)},
      {"isa", quant_session_isa(session)},
      {"kv_cache",
       {{"bytes_per_token", quant_module_cache_bytes_per_token(module)}, {"layers", quant_module_cache_layers(module)}}}};
  std::cout << json.dump() << '\n';
}

static void printTimes(size_t promptTokens, const Generation &generation, const quant_session *session) {
  std::fprintf(stderr, "prompt: %zu tokens in %.3f s, %.1f tokens/s", promptTokens, generation.prefillSeconds,
               static_cast<double>(promptTokens) / generation.prefillSeconds);
  if (double seconds = secondsPerToken(generation); seconds > 0)
    std::fprintf(stderr, "; generation: %.2f ms per token, %.2f tokens/s", seconds * 1e3, 1 / seconds);
  std::fprintf(stderr, " (%s, %d threads)\n", quant_session_isa(session), quant_session_threads(session));
}

static void printCache(const quant_module *module) {
  if (quant_module_cache_layers(module) == 0)
    return;
  std::fprintf(stderr, "KV cache: %lld bytes a token in each of %lld layers\n",
               static_cast<long long>(quant_module_cache_bytes_per_token(module)),
               static_cast<long long>(quant_module_cache_layers(module)));
}

static void report(const Options &options, const std::vector<int32_t> &prompt, const Generation &generation,
                   const quant_module *module, quant_session *session) {
  if (options.json) {
    printJson(prompt, generation, module, session);
  } else {
    printTimes(prompt.size(), generation, session);
    printCache(module);
  }
  if (options.profile)
    std::cerr << quant_session_profile(session);
}

static Result<void> runPrompt(const Options &options, const std::vector<int32_t> &prompt, const quant_module *module) {
  QUANT_TRY(checkLogits(options));
  QUANT_TRY_ASSIGN(std::vector<int32_t> ends, endTokens(module, options));
  QUANT_TRY_ASSIGN(SessionHandle session, createSession(module, options, prompt.size()));
  int64_t vocab = quant_module_vocab(module);
  std::optional<checkpoint::SafetensorsWriter> logits;
  if (!options.logits.empty()) {
    QUANT_TRY_ASSIGN(checkpoint::SafetensorsWriter writer, openLogits(options.logits, prompt.size(), vocab));
    logits.emplace(std::move(writer));
  }
  const char *separator = "";
  Result<Generation> generation = generate(session.get(), vocab, prompt, ends, options, [&](int32_t token) {
    if (!options.json)
      std::cout << std::exchange(separator, " ") << token << std::flush;
  });
  if (!options.json && (generation || *separator))
    std::cout << std::endl;
  if (!generation)
    return tl::unexpected(generation.error());
  if (logits)
    QUANT_TRY(writeLogits(*logits, generation->promptLogits));
  report(options, prompt, *generation, module, session.get());
  return {};
}

static Result<void> run(const Options &options, const std::vector<int32_t> &prompt) {
  QUANT_TRY_ASSIGN(ModuleHandle module, openModule(options.module));
  if (!options.printProgram)
    return runPrompt(options, prompt, module.get());
  std::cout << quant_module_program(module.get());
  return {};
}

static Result<void> judge(const Options &options) {
  QUANT_TRY_ASSIGN(nlohmann::ordered_json measured, measurePerplexity(options));
  std::cout << (options.json ? measured.dump() + "\n" : describePerplexity(measured));
  return {};
}

int main(int argc, char **argv) {
  checkpoint::exitOnLostPages("quant-run");
  std::variant<Options, int> parsed = parseOptions(argc, argv);
  if (const int *status = std::get_if<int>(&parsed))
    return *status;
  const Options &options = std::get<Options>(parsed);
  runtime::registerSimDevice();
  std::vector<int32_t> prompt;
  if (!options.printProgram && options.perplexity.empty()) {
    Result<std::vector<int32_t>> tokens = readTokens(options.tokens);
    if (!tokens) {
      reportError(tokens.error());
      return 2;
    }
    prompt = std::move(*tokens);
  }
  bool judges = !options.perplexity.empty() && !options.printProgram;
  if (Result<void> ran = judges ? judge(options) : ::run(options, prompt); !ran)
    return reportError(ran.error());
  return std::cout.flush() ? 0 : reportError({"cannot write to stdout"});
}
