//===- main.cpp - quant-run: a compiled model, from prompt to answer -===//
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
#include "tools/common/process_usage.h"
#include "tools/quant-run/generate.h"
#include "tools/quant-run/perplexity.h"
#include "tools/quant-sim/device/sim_device.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>

using namespace quant;
using namespace quant::run;

/// As close to the process's start as its own code gets.
static const std::chrono::steady_clock::time_point kStart = std::chrono::steady_clock::now();

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

/// The answer's text, the pieces that its tokens were, and when the first one came; 0: none did.
struct Answer {
  std::string text;
  double firstTokenSeconds = 0;
  nlohmann::ordered_json logprobs = nlohmann::ordered_json::array();
};

static nlohmann::ordered_json logprobJson(const generate::TokenLogprob &one, const text::TextFiles *files) {
  nlohmann::ordered_json json = {{"token", one.token}, {"logprob", one.logprob}};
  if (files)
    json["text"] = text::decode(*files->tokenizer, std::span(&one.token, 1), /*skipSpecial=*/false);
  return json;
}

static void addStep(Answer &answer, const generate::Step &step, const text::TextFiles *files) {
  if (answer.firstTokenSeconds == 0)
    answer.firstTokenSeconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - kStart).count();
  answer.text += step.text;
  if (step.logprobs.empty())
    return;
  nlohmann::ordered_json json = logprobJson(step.logprobs[0], files);
  json["top"] = nlohmann::ordered_json::array();
  for (size_t i = 1; i < step.logprobs.size(); ++i)
    json["top"].push_back(logprobJson(step.logprobs[i], files));
  answer.logprobs.push_back(std::move(json));
}

static void printJson(const Options &options, const std::vector<int32_t> &prompt, const generate::Completion &completion,
                      const Answer &answer, const quant_module *module, const quant_session *session) {
  tools::ProcessUsage usage = tools::processUsage();
  nlohmann::ordered_json json = {
      {"prompt", prompt},
      {"tokens", completion.tokens},
      {"prefill_seconds", completion.prefillSeconds},
      {"first_token_seconds", answer.firstTokenSeconds},
      {"decode_seconds_per_token", completion.secondsPerToken()},
      {"threads", quant_session_threads(session)},
      {"isa", quant_session_isa(session)},
      {"memory",
       {{"peak_bytes", usage.peakBytes}, {"minor_page_faults", usage.minorFaults}, {"major_page_faults", usage.majorFaults}}},
      {"kv_cache",
       {{"bytes_per_token", quant_module_cache_bytes_per_token(module)}, {"layers", quant_module_cache_layers(module)}}}};
  if (std::string notes = quant_session_notes(session); !notes.empty())
    json["notes"] = notes;
  if (options.mtp)
    json["mtp"] = {{"guesses", completion.guesses}, {"right", completion.rightGuesses}};
  if (options.prompt)
    json["text"] = answer.text;
  if (options.logprobs)
    json["logprobs"] = answer.logprobs;
  std::cout << json.dump() << '\n';
}

static void report(const Options &options, const std::vector<int32_t> &prompt, const generate::Completion &completion,
                   const Answer &answer, const quant_module *module, quant_session *session) {
  if (options.json) {
    printJson(options, prompt, completion, answer, module, session);
  } else {
    printTimes(completion, session);
    printMemory(module);
    if (answer.firstTokenSeconds > 0)
      std::cerr << fmt::format("first token: {:.3f} s after the program's start\n", answer.firstTokenSeconds);
  }
  if (options.profile)
    std::cerr << quant_session_profile(session);
}

/// Runs the prompt and shows what comes: words of a text, or ids.
static Result<void> runPrompt(const Options &options, const std::vector<int32_t> &prompt, const quant_module *module,
                              const text::TextFiles *files) {
  constexpr int64_t kAfterIds = 16, kAfterText = 128;
  QUANT_TRY(checkLogits(options));
  generate::Request request;
  request.prompt = prompt;
  request.maxNewTokens = options.maxNewTokens.value_or(options.prompt ? kAfterText : kAfterIds);
  request.sampling = options.sampling;
  QUANT_TRY_ASSIGN(request.ends, endTokens(module, options));
  request.stops = options.stops;
  request.logprobs = options.logprobs;
  request.promptLogits = !options.logits.empty();
  QUANT_TRY_ASSIGN(int64_t rows, rowsFor(module, options, prompt.size(), request.maxNewTokens));
  QUANT_TRY_ASSIGN(generate::SessionHandle session, createSession(module, options, rows));
  int64_t vocab = quant_module_vocab(module);
  std::optional<checkpoint::SafetensorsWriter> logits;
  if (request.promptLogits) {
    QUANT_TRY_ASSIGN(checkpoint::SafetensorsWriter writer, openLogits(options.logits, prompt.size(), vocab));
    logits.emplace(std::move(writer));
  }
  generate::Generator generator(std::move(session), vocab, files ? files->tokenizer : nullptr, options.mtp);
  Answer answer;
  bool shown = false;
  Result<generate::Completion> completion = generator.complete(request, [&](const generate::Step &step) {
    addStep(answer, step, files);
    if (!options.json && options.prompt)
      std::cout << step.text << std::flush;
    else if (!options.json && step.token >= 0)
      std::cout << (shown ? " " : "") << step.token << std::flush;
    shown = true;
    return true;
  });
  if (!options.json && (completion || shown))
    std::cout << std::endl;
  if (!completion)
    return tl::unexpected(completion.error());
  if (logits)
    QUANT_TRY(writeLogits(*logits, completion->promptLogits));
  report(options, prompt, *completion, answer, module, generator.api());
  return {};
}

static Result<void> run(const Options &options, std::vector<int32_t> prompt, const std::string &promptText) {
  QUANT_TRY_ASSIGN(generate::ModuleHandle module, generate::openModule(options.module));
  if (options.printProgram) {
    std::cout << quant_module_program(module.get());
    return {};
  }
  std::optional<text::TextFiles> files;
  if (options.prompt || options.chat || !options.stops.empty()) {
    QUANT_TRY_ASSIGN(files, text::TextFiles::read(options.weights));
  }
  if (options.chat)
    return chat(options, module.get(), *files);
  if (options.prompt) {
    text::Encoder encoder(files->tokenizer);
    QUANT_TRY_ASSIGN(prompt, files->encodeText(encoder, promptText));
  }
  return runPrompt(options, prompt, module.get(), files ? &*files : nullptr);
}

/// Ids or text of the prompt, from the command line, stdin or a file.
static Result<void> readPrompts(const Options &options, std::vector<int32_t> &tokens, std::string &text) {
  if (options.printProgram || options.chat || !options.perplexity.empty())
    return {};
  if (options.prompt) {
    QUANT_TRY_ASSIGN(text, readPrompt(*options.prompt));
    return {};
  }
  QUANT_TRY_ASSIGN(tokens, readTokens(options.tokens));
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
  std::string promptText;
  if (Result<void> read = readPrompts(options, prompt, promptText); !read) {
    reportError(read.error());
    return 2;
  }
  bool judges = !options.perplexity.empty() && !options.printProgram;
  if (Result<void> ran = judges ? judge(options) : ::run(options, prompt, promptText); !ran)
    return reportError(ran.error());
  return std::cout.flush() ? 0 : reportError({"cannot write to stdout"});
}
