//===- options.cpp - command line of quant-run ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-run/options.h"

#include "runtime/api/quant.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include <charconv>
#include <fstream>
#include <iostream>
#include <iterator>

namespace quant::run {

static constexpr char kExample[] = R"(
Example: continue the prompt 0,310,1229 by at most 32 tokens, or to the model's end token, or to token 201:
  quant-run model.qmod --weights ~/DeepSeek-V2-Lite-FP8 --tokens 0,310,1229 --max-new-tokens 32 --stop-token 201

Example: run the prompt on this machine's H100 or H200, from a module made with quant-compile --target=sm_90a:
  quant-run model.qmod --device=cuda --weights ~/DeepSeek-V2-Lite-FP8 --tokens 0,310,1229

Example: run a small model's H100 kernels (quant-compile --target=sm_90a) on the CPU with every rule checked:
  quant-run toy.qmod --device=sim --weights toy --tokens 1,2,3 --max-new-tokens 2

Example: judge a compiled checkpoint by a text, beside the module that it was quantized from:
  quant-run w4.qmod --weights w4 --perplexity eval.tokens.json --context 256 --against bf16.qmod --against-weights bf16

Example: go on with a text, and talk; the checkpoint's tokenizer.json and chat template are used:
  quant-run model.qmod --weights ~/DeepSeek-V2-Lite-FP8 --prompt "The capital of France is" --temperature 0.7
  quant-run model.qmod --weights ~/DeepSeek-V2-Lite-FP8 --chat --system "Be brief."

Ids for --tokens and --perplexity come from the model's own tokenizer, e.g. in Python:
  AutoTokenizer.from_pretrained(DIR).encode("Hello")

In a chat, /reset forgets all, /exit or the end of the input leaves, Ctrl-C stops an answer. Texts and new ids go to stdout as they
come, times and memory to stderr. Exit status: 0 done, 1 error, 2 wrong usage.)";

static void addSampling(CLI::App &app, Options &options) {
  app.add_option("--stop", options.stops, "Stop before this text; can be given several times. Needs the checkpoint's tokenizer")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  generate::SamplingOptions &sampling = options.sampling;
  app.add_option("--temperature", sampling.temperature, "0 takes the likeliest token; higher is more random")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--top-p", sampling.topP, "Sample among the likeliest tokens that have this probability together")
      ->check(CLI::Range(1e-9, 1.0))
      ->capture_default_str();
  app.add_option("--top-k", sampling.topK, "Sample among the likeliest K tokens; 0: among all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--min-p", sampling.minP, "Sample among tokens at least this fraction as probable as the likeliest")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--repetition-penalty", sampling.repetitionPenalty,
                 "Divide the logits of tokens that came before by this (multiply negative ones); 1 changes nothing")
      ->check(CLI::Range(1e-3, 1e3))
      ->capture_default_str();
  app.add_option("--seed", sampling.seed, "Of the random numbers: the same seed samples the same tokens")->capture_default_str();
  app.add_option("--logprobs", options.logprobs, "With --json: log-probability of each new token, and of the N likeliest")
      ->check(CLI::Range(0, 100))
      ->type_name("N");
}

static void addPerplexityOptions(CLI::App &app, Options &options) {
  auto *perplexity =
      app.add_option(
             "--perplexity", options.perplexity,
             "Judge the model by a text instead of generating: a text, or JSON, {\"tokens\": [ids], \"bytes\": N} or the ids "
             "alone. It is cut into pieces of --context less one (default: the module's limit, 2048 at most), with BOS before "
             "each; with the text's bytes, bits per byte, too")
          ->type_name("FILE.txt|FILE.json")
          ->excludes(app.get_option("--tokens"))
          ->excludes(app.get_option("--prompt"))
          ->excludes(app.get_option("--chat"))
          ->excludes(app.get_option("--logits"));
  auto *against =
      app.add_option(
             "--against", options.against,
             "Compare with this module: KL(its probabilities || the first's), same first choices, difference of the losses "
             "with its standard error")
          ->type_name("FILE.qmod")
          ->needs(perplexity);
  app.add_option("--against-weights", options.againstWeights, "Checkpoint of the module to compare with; default: --weights")
      ->type_name("DIR")
      ->needs(against);
  app.add_option("--bos", options.bos, "Token before each piece; default: bos_token_id of the model's configuration")
      ->type_name("ID")
      ->needs(perplexity);
}

static void addOptions(CLI::App &app, Options &options) {
  app.add_option("module", options.module, "Compiled model, written by quant-compile")->required()->type_name("FILE.qmod");
  app.add_option("--weights", options.weights, "Folder of the checkpoint (*.safetensors) the module was compiled for")
      ->type_name("DIR");
  app.add_option("--tokens", options.tokens, "Prompt: token ids 1,2,3; or - to read them from stdin, @FILE from a file")
      ->type_name("IDS");
  app.add_option("--prompt", options.prompt,
                 "Prompt: a text, to which the tokenizer of the checkpoint adds BOS if it is made so; or - to read it from "
                 "stdin, @FILE from a file")
      ->type_name("TEXT");
  app.add_flag("--chat", options.chat,
               "Talk: lines of stdin are messages, the chat template of the checkpoint puts them together");
  app.add_option("--system", options.system, "First message of the chat, with role system")->type_name("TEXT");
  app.add_option("--max-new-tokens", options.maxNewTokens,
                 "Tokens to generate at most; 0 runs the prompt only. Default: 16 after ids, 128 after a text, what the context "
                 "holds in a chat")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  app.add_option(
         "--stop-token", options.stopTokens,
         "Stop after this token, too; can be given several times. The model's own end tokens (eos_token_id of config.json and "
         "generation_config.json when it was compiled) stop, too, unless --ignore-eos")
      ->type_name("ID")
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", options.ignoreEos, "Go on behind the model's own end tokens");
  app.add_option("--threads", options.threads, "CPU threads; 0: all CPUs this process may use")->capture_default_str();
  app.add_option("--context", options.context,
                 "Rows of the KV cache; 0: prompt and new tokens, in a chat all that the module allows")
      ->capture_default_str();
  app.add_option("--chunk", options.chunk, "Prompt tokens per step; 0: as many as the module allows")->capture_default_str();
  app.add_flag(
      "--mtp", options.mtp,
      "Speculative decoding: guess each token after the next with the module's MTP layer (quant-compile --mtp), and run both "
      "in one pass. The likeliest tokens stay the same, samples keep their distribution");
  app.add_option("--device", options.device,
                 "host: this computer's CPU; cuda: its first H100 or H200, through the CUDA driver (tried on a simulated driver "
                 "only, on no GPU yet); sim: the module's sm_90a kernels in the simulator, which stops at the first that breaks "
                 "a rule of the hardware (slow: for small models)")
      ->check(CLI::IsMember({"host", "cuda", "sim"}))
      ->capture_default_str();
  app.add_flag("--eager", options.eager, "With --device=cuda: launch kernels one by one, not as a CUDA graph");
  app.add_flag("--overlap", options.overlap,
               "With --device=cuda: let kernels start while the one in front still runs (programmatic dependent launch)");
  app.add_option("--isa", options.isa, "Run this code of the module (avx2, ptx), not the best for the device")->type_name("NAME");
  app.add_option("--logits", options.logits,
                 "Write the logits of all prompt positions, F32 [positions, vocab], as tensor 'logits'")
      ->type_name("FILE.safetensors");
  addPerplexityOptions(app, options);
  app.add_flag("--json", options.json, "Print one JSON object at the end, nothing before");
  app.add_flag("--profile", options.profile, "Print where the time went (seconds, calls, step) to stderr");
  app.add_flag("--print-program", options.printProgram,
               "Print the module's program, and by whom it was made with its hash, and exit; needs no weights");
}

/// Throws where options that belong together are not, or the other way round.
static void checkCombination(const CLI::App &app, const Options &options) {
  if (app.count("--weights") == 0)
    throw CLI::RequiredError("--weights");
  size_t prompts = app.count("--tokens") + app.count("--prompt") + options.chat;
  if (prompts == 0 && options.perplexity.empty())
    throw CLI::RequiredError("--tokens, --prompt or --chat");
  if (prompts > 1)
    throw CLI::ValidationError("--tokens, --prompt and --chat", "only one of them can be given");
  if (options.logprobs && !options.json)
    throw CLI::ValidationError("--logprobs", "needs --json");
  if (options.chat && (options.json || !options.logits.empty()))
    throw CLI::ValidationError("--chat", "goes with neither --json nor --logits");
  if (!options.system.empty() && !options.chat)
    throw CLI::ValidationError("--system", "needs --chat");
}

std::variant<Options, int> parseOptions(int argc, char **argv) {
  Options options;
  CLI::App app("Runs a compiled model and prints the tokens it generates.", "quant-run");
  app.footer(kExample);
  app.set_version_flag("--version", std::string("quant-run ") + quant_version());
  addOptions(app, options);
  addSampling(app, options);
  try {
    app.parse(argc, argv);
    if (!options.printProgram)
      checkCombination(app, options);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    std::cerr << "quant-run: error: " << error.what() << "\nquant-run --help lists the options\n";
    return 2;
  }
  return options;
}

/// Ids between white space, commas, or both; no id may be left out between two commas.
static Result<std::vector<int32_t>> parseTokens(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n", kSeparators = ", \t\r\n";
  if (text.find_first_not_of(kSeparators) == text.npos)
    return fail("the prompt is empty: --tokens needs at least one id");
  std::vector<int32_t> tokens;
  for (size_t begin = text.find_first_not_of(kSpace); begin != text.npos;) {
    size_t end = std::min(text.find_first_of(kSeparators, begin), text.size());
    std::string_view word = text.substr(begin, end - begin);
    int32_t token = 0;
    auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), token);
    if (error != std::errc() || rest != word.data() + word.size())
      return fail(fmt::format("token {}: {}", tokens.size(),
                              word.empty() ? "nothing stands before the comma" : quote(word) + " is not an integer of 32 bits"));
    tokens.push_back(token);
    begin = text.find_first_not_of(kSpace, end);
    if (begin == text.npos || text[begin] != ',')
      continue;
    begin = text.find_first_not_of(kSpace, begin + 1);
    if (begin == text.npos)
      return fail(fmt::format("token {}: nothing stands behind the last comma", tokens.size()));
  }
  return tokens;
}

Result<std::vector<int32_t>> readTokens(const std::string &argument) {
  QUANT_TRY_ASSIGN(std::string text, readPrompt(argument));
  return parseTokens(text);
}

Result<std::string> readPrompt(const std::string &argument) {
  using Chars = std::istreambuf_iterator<char>;
  if (argument == "-")
    return std::string(Chars(std::cin), Chars());
  if (!argument.starts_with("@"))
    return argument;
  std::ifstream file(argument.substr(1));
  if (!file)
    return fail("cannot read " + quote(argument.substr(1)));
  return std::string(Chars(file), Chars());
}

} // namespace quant::run
