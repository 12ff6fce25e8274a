//===- Model.cpp - a whole model beside its bound -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Model.h"

#include "models/config/read.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/module/module.h"
#include "tools/common/scratch_dir.h"
#include "tools/generate/handles.h"
#include "tools/quant-bench/ConvertDisk.h"
#include "tools/quant-bench/Machine.h"
#include "tools/quant-bench/Roofline.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <random>
#include <regex>
#include <sstream>
#include <unistd.h>

namespace quant::bench {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

namespace {

/// What the dispatches of a label do in a call.
struct Work {
  double bytes = 0, operations = 0;
};
using WorkByLabel = std::map<std::string, Work>;

/// The sizes of a call.
struct Call {
  double tokens = 0, outputs = 0;
  double context = 0; ///< keys that a token looks at, on average
};

/// What a phase took: seconds of each label, by session's profile, and of all.
struct Phase {
  std::vector<double> seconds;                  ///< of a call, a value for each round
  std::map<std::string, double> secondsByLabel; ///< of a call, the mean of the rounds
};

/// Counts what the dispatches of a program read and compute, from the program's own values.
class WorkCounter {
public:
  WorkCounter(const runtime::Target &target, const models::ModelConfig &config) : target(target), config(config) {}

  Result<WorkByLabel> count(const Call &call) const;

private:
  Result<Work> count(const runtime::Dispatch &dispatch, const Call &call) const;
  double rows(const runtime::Value &value, const Call &call) const;
  double operations(const runtime::Dispatch &dispatch, const Call &call) const;
  Result<double> bytes(const runtime::Value &value, const runtime::Dispatch &dispatch, const Call &call) const;
  const runtime::Value &operand(const runtime::Dispatch &dispatch, size_t i) const {
    return target.program.values[static_cast<size_t>(dispatch.operands[i])];
  }
  const std::string &kernel(const runtime::Dispatch &dispatch) const {
    return target.kernels[static_cast<size_t>(dispatch.kernel)].name;
  }

  const runtime::Target &target;
  const models::ModelConfig &config;
};

/// A compiled model, its weights, and what runs both.
class ModelRun {
public:
  explicit ModelRun(const ModelOptions &options) : options(options), scratch("quant-bench-model") {}

  Result<Json> run();

private:
  Result<fs::path> cutConfig();
  Result<fs::path> prepareWeights();
  Result<void> compile();
  Result<void> open();
  Result<double> forward(int64_t count, int64_t outputs);
  Result<std::map<std::string, double>> profile() const;
  Result<void> runPhases();
  Result<std::pair<double, double>> runPeer() const;
  Result<Json> describe(const char *name, const Phase &phase, const Call &call, double tokens,
                        const std::vector<double> &peer) const;
  Result<void> measureMachine();
  Result<void> writeRoofline(const Json &result) const;

  const ModelOptions &options;
  ScratchDir scratch;
  fs::path weights, modulePath;
  runtime::Module module;
  models::ModelConfig config;
  generate::ModuleHandle handle;
  generate::SessionHandle session;
  std::mt19937_64 random{0};
  Phase prompt, decode;
  std::vector<double> peerPrompt, peerDecode; ///< tokens per second, a value for each round
  BestRead read;
  double peak = 0; ///< operations a second
};

} // namespace

//===----------------------------------------------------------------------===//
// What a call costs at least
//===----------------------------------------------------------------------===//

double WorkCounter::rows(const runtime::Value &value, const Call &call) const {
  double result = 1;
  for (size_t i = 0; i + 1 < value.shape.size(); ++i) {
    const runtime::Extent &extent = value.shape[i];
    result *= !extent.dim ? static_cast<double>(extent.size) : *extent.dim == abi::Dim::Outputs ? call.outputs : call.tokens;
  }
  return result;
}

/// Of products; what is not one is not counted.
double WorkCounter::operations(const runtime::Dispatch &dispatch, const Call &call) const {
  const std::string &name = kernel(dispatch);
  auto heads = static_cast<double>(config.nHeads), latents = static_cast<double>(config.kvLoraRank);
  if (name.starts_with("mla_absorb"))
    return 2 * call.tokens * heads * latents * static_cast<double>(config.qkNopeHeadDim);
  if (name.starts_with("mla_expand"))
    return 2 * call.tokens * heads * latents * static_cast<double>(config.vHeadDim);
  if (name.starts_with("mla_core"))
    return 2 * call.tokens * call.context * heads * (2 * latents + static_cast<double>(config.qkRopeHeadDim));
  if (!name.starts_with("matmul") && !name.starts_with("grouped_matmul"))
    return 0;
  const runtime::Value &x = operand(dispatch, 0), &out = operand(dispatch, dispatch.operands.size() - 1);
  return 2 * rows(out, call) * static_cast<double>(out.shape.back().size) * static_cast<double>(x.shape.back().size);
}

/// Of weights and cache. Experts: those that the tokens choose, if each chooses its experts at random.
Result<double> WorkCounter::bytes(const runtime::Value &value, const runtime::Dispatch &dispatch, const Call &call) const {
  const std::string &name = kernel(dispatch);
  if (value.kind == runtime::ValueKind::Cache) {
    double keys = name.starts_with("mla_core") ? call.context : call.tokens;
    return keys * static_cast<double>(runtime::rowBytes(value));
  }
  bool isGroup = value.kind == runtime::ValueKind::WeightGroup;
  if (!isGroup && value.kind != runtime::ValueKind::Weight)
    return 0;
  QUANT_TRY_ASSIGN(int64_t whole, runtime::byteSize(value.shape, value.dtype, {}));
  auto size = static_cast<double>(whole);
  if (name.starts_with("embed"))
    return size / static_cast<double>(value.shape.front().size) * call.tokens;
  // Each of them reads its part of every head's rows.
  auto nope = static_cast<double>(config.qkNopeHeadDim), v = static_cast<double>(config.vHeadDim);
  if (name.starts_with("mla_absorb"))
    return size * nope / (nope + v);
  if (name.starts_with("mla_expand"))
    return size * v / (nope + v);
  if (!isGroup)
    return size;
  auto all = static_cast<double>(value.count), chosen = static_cast<double>(config.nActivatedExperts);
  return size * all * (1 - std::pow(1 - chosen / all, call.tokens));
}

Result<Work> WorkCounter::count(const runtime::Dispatch &dispatch, const Call &call) const {
  Work work = {.bytes = 0, .operations = operations(dispatch, call)};
  for (size_t i = 0; i < dispatch.operands.size(); ++i) {
    QUANT_TRY_ASSIGN(double read, bytes(operand(dispatch, i), dispatch, call));
    work.bytes += read;
  }
  return work;
}

/// The same of every layer.
static std::string layerless(const std::string &label) {
  static const std::regex kLayer(R"(layers\.\d+\.)");
  return std::regex_replace(label, kLayer, "layers.*.");
}

Result<WorkByLabel> WorkCounter::count(const Call &call) const {
  WorkByLabel result;
  for (const runtime::Dispatch &dispatch : target.program.dispatches) {
    QUANT_TRY_ASSIGN(Work work, count(dispatch, call));
    Work &sum = result[layerless(dispatch.label.empty() ? kernel(dispatch) : dispatch.label)];
    sum.bytes += work.bytes;
    sum.operations += work.operations;
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Making a model
//===----------------------------------------------------------------------===//

/// The configuration with --layers layers of its own, MTP layers left out.
Result<fs::path> ModelRun::cutConfig() {
  fs::path file = fs::is_directory(options.model) ? options.model / "config.json" : options.model;
  if (options.layers == 0)
    return file;
  QUANT_TRY_ASSIGN(nlohmann::json json, checkpoint::readJsonFile(file, 1 << 24));
  bool isDeepSeek = json.contains("n_layers");
  int64_t all = json.value(isDeepSeek ? "n_layers" : "num_hidden_layers", int64_t{0});
  if (options.layers > all)
    return fail(fmt::format("{}: --layers {} asked for of {}", file.string(), options.layers, all));
  json[isDeepSeek ? "n_layers" : "num_hidden_layers"] = options.layers;
  json[isDeepSeek ? "n_mtp_layers" : "num_nextn_predict_layers"] = 0;
  const char *dense = isDeepSeek ? "n_dense_layers" : "first_k_dense_replace";
  if (json.contains(dense))
    json[dense] = std::min(json.value(dense, int64_t{0}), options.layers);
  fs::path cut = scratch.path() / "config.json";
  std::ofstream(cut) << json.dump(2) << "\n";
  return cut;
}

static bool hasWeights(const fs::path &dir) {
  return fs::exists(dir / "model.safetensors") || fs::exists(dir / "model.safetensors.index.json");
}

/// The checkpoint itself, or one of random weights.
Result<fs::path> ModelRun::prepareWeights() {
  if (fs::is_directory(options.model) && hasWeights(options.model) && options.layers == 0)
    return options.model;
  fs::path dir = options.weights.empty() ? scratch.path() / "weights" : options.weights;
  if (hasWeights(dir))
    return dir;
  QUANT_TRY_ASSIGN(fs::path config, cutConfig());
  std::vector<std::string> arguments = {"random", "--config", config.string(), "--output", dir.string()};
  if (!options.dtype.empty())
    arguments.insert(arguments.end(), {"--dtype", options.dtype});
  QUANT_TRY(runTool("quant-convert", arguments));
  return dir;
}

Result<void> ModelRun::compile() {
  modulePath = scratch.path() / "model.qmod";
  std::vector<std::string> arguments = {weights.string(), "--host-isa=" + (options.isa.empty() ? "native" : options.isa), "-o",
                                        modulePath.string()};
  arguments.insert(arguments.end(), options.compile.begin(), options.compile.end());
  QUANT_TRY(runTool("quant-compile", arguments));
  return {};
}

Result<void> ModelRun::open() {
  QUANT_TRY_ASSIGN(module, runtime::openModule(modulePath.string()));
  QUANT_TRY_ASSIGN(config, models::loadConfig(weights));
  QUANT_TRY_ASSIGN(handle, generate::openModule(modulePath.string()));
  quant_session_options chosen = {};
  chosen.threads = options.threads;
  chosen.profile = 1;
  chosen.context = options.prompt + options.steps;
  QUANT_TRY_ASSIGN(session, generate::openSession(handle.get(), weights.string(), chosen));
  return {};
}

//===----------------------------------------------------------------------===//
// Running it
//===----------------------------------------------------------------------===//

/// Seconds for so many random tokens.
Result<double> ModelRun::forward(int64_t count, int64_t outputs) {
  auto vocab = static_cast<size_t>(quant_module_vocab(handle.get()));
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int32_t &token : tokens)
    token = static_cast<int32_t>(random() % vocab);
  std::vector<float> logits(vocab * static_cast<size_t>(outputs));
  auto start = Clock::now();
  if (quant_forward(session.get(), tokens.data(), count, outputs, logits.data()) != QUANT_OK)
    return generate::apiError();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Seconds so far, all layers together.
Result<std::map<std::string, double>> ModelRun::profile() const {
  std::map<std::string, double> result;
  std::istringstream table(quant_session_profile(session.get()));
  double seconds = 0;
  int64_t calls = 0;
  for (std::string label; table >> seconds >> calls && std::getline(table >> std::ws, label);)
    result[layerless(label)] += seconds;
  return result;
}

static void addDifference(std::map<std::string, double> &sums, const std::map<std::string, double> &after,
                          const std::map<std::string, double> &before, double share) {
  for (const auto &[label, seconds] : after) {
    auto found = before.find(label);
    sums[label] += (seconds - (found == before.end() ? 0 : found->second)) * share;
  }
}

Result<void> ModelRun::runPhases() {
  // The first round brings the weights into memory.
  for (int round = -1; round < options.rounds; ++round) {
    quant_session_reset(session.get(), 0);
    QUANT_TRY_ASSIGN(auto atStart, profile());
    QUANT_TRY_ASSIGN(double promptSeconds, forward(options.prompt, 1));
    QUANT_TRY_ASSIGN(auto atDecode, profile());
    double decodeSeconds = 0;
    for (int64_t step = 0; step < options.steps; ++step) {
      QUANT_TRY_ASSIGN(double seconds, forward(1, 1));
      decodeSeconds += seconds;
    }
    QUANT_TRY_ASSIGN(auto atEnd, profile());
    if (round < 0)
      continue;
    prompt.seconds.push_back(promptSeconds);
    decode.seconds.push_back(decodeSeconds / static_cast<double>(options.steps));
    addDifference(prompt.secondsByLabel, atDecode, atStart, 1.0 / options.rounds);
    addDifference(decode.secondsByLabel, atEnd, atDecode, 1.0 / options.rounds / static_cast<double>(options.steps));
    if (options.peer.empty())
      continue;
    QUANT_TRY_ASSIGN(auto rates, runPeer());
    peerPrompt.push_back(rates.first);
    peerDecode.push_back(rates.second);
  }
  return {};
}

/// The lines of JSON that is indented, without others: ik_llama.cpp's llama-bench logs between them.
static std::string linesOfJson(std::string_view output) {
  std::string json;
  while (!output.empty()) {
    size_t length = std::min(output.find('\n'), output.size() - 1) + 1;
    std::string_view line = output.substr(0, length);
    size_t first = line.find_first_not_of(" \t");
    if (first != std::string_view::npos && std::string_view("[]{}\"").find(line[first]) != std::string_view::npos)
      json += line;
    output.remove_prefix(length);
  }
  return json;
}

/// One run of llama-bench (llama.cpp, ik_llama.cpp): tokens per second of the prompt, and of decoding behind an empty context, as
/// it measures it.
Result<std::pair<double, double>> ModelRun::runPeer() const {
  QUANT_TRY_ASSIGN(Finished done, runProgram({options.peer.string(), "-m", options.peerModel.string(), "-p",
                                              std::to_string(options.prompt), "-n", std::to_string(options.steps), "-t",
                                              std::to_string(quant_session_threads(session.get())), "-r", "1", "-o", "json"}));
  nlohmann::json rows = nlohmann::json::parse(linesOfJson(done.output), nullptr, false);
  std::pair<double, double> rates;
  for (const auto &row : rows.is_array() ? rows : nlohmann::json::array()) {
    if (!row.is_object() || !row.contains("avg_ts") || !row["avg_ts"].is_number())
      continue;
    (row.value("n_gen", int64_t{0}) > 0 ? rates.second : rates.first) = row["avg_ts"].get<double>();
  }
  if (rates.first <= 0 || rates.second <= 0)
    return fail(
        fmt::format("{}: printed no 'avg_ts' of a prompt and of decoding, as llama-bench -o json does", options.peer.string()));
  return rates;
}

//===----------------------------------------------------------------------===//
// What came of it
//===----------------------------------------------------------------------===//

Result<void> ModelRun::measureMachine() {
  QUANT_TRY_ASSIGN(auto pool, runtime::ThreadPool::create(quant_session_threads(session.get())));
  std::string isa = quant_session_isa(session.get());
  QUANT_TRY_ASSIGN(read, findBestRead(*pool, isa));
  double operations = 0;
  bool isBf16 = std::ranges::find(options.compile, "--activations=bf16") != options.compile.end();
  bool isInt8 = std::ranges::find(options.compile, "--activations=int8") != options.compile.end();
  Inputs inputs = isInt8 ? Inputs::Int8 : isBf16 ? Inputs::Bf16 : Inputs::F32;
  auto times = interleave({[&] { operations = multiplyAddAll(*pool, isa, inputs); }}, 0.5);
  peak = operations / median(times[0]);
  return {};
}

Result<Json> ModelRun::describe(const char *name, const Phase &phase, const Call &call, double tokens,
                                const std::vector<double> &peer) const {
  QUANT_TRY_ASSIGN(WorkByLabel work, WorkCounter(*module.find("host"), config).count(call));
  double seconds = median(phase.seconds), bound = 0;
  Json kernels = Json::array();
  for (const auto &[label, taken] : phase.secondsByLabel) {
    const Work &done = work[label];
    double least = std::max(done.bytes / read.bytesPerSecond, done.operations / peak);
    bound += least;
    kernels.push_back({{"label", label},
                       {"seconds", taken},
                       {"share", taken / seconds},
                       {"bytes", done.bytes},
                       {"operations", done.operations},
                       {"bound_seconds", least},
                       {"of_bound", taken > 0 ? least / taken : 0}});
  }
  std::sort(kernels.begin(), kernels.end(), [](const Json &a, const Json &b) { return a["seconds"] > b["seconds"]; });
  Json result = {{"phase", name},
                 {"tokens", tokens},
                 {"seconds", seconds},
                 {"tokens_per_s", tokens / seconds},
                 {"bound_tokens_per_s", tokens / bound},
                 {"of_bound", bound / seconds}};
  if (!peer.empty()) {
    std::vector<double> ours;
    for (double each : phase.seconds)
      ours.push_back(tokens / each);
    result["peer_tokens_per_s"] = median(peer);
    result["of_peer"] = medianRatio(ours, peer);
  }
  result["kernels"] = std::move(kernels);
  return result;
}

Result<void> ModelRun::writeRoofline(const Json &result) const {
  std::vector<RooflinePoint> points;
  for (const Json &phase : result["phases"])
    for (const Json &row : phase["kernels"])
      points.push_back({row["label"], fmt::format("{} of {:g}", phase["phase"].get<std::string>(), phase["tokens"].get<double>()),
                        row["bytes"], row["operations"], row["seconds"]});
  std::string title =
      fmt::format("{}, {}, {} threads", options.model.string(), result["isa"].get<std::string>(), result["threads"].get<int>());
  std::ofstream file(options.svg);
  file << rooflineSvg(points, read.bytesPerSecond, peak, title);
  if (!file.flush())
    return fail(options.svg.string() + ": cannot be written");
  return {};
}

Result<Json> ModelRun::run() {
  QUANT_TRY_ASSIGN(weights, prepareWeights());
  QUANT_TRY(compile());
  QUANT_TRY(open());
  QUANT_TRY(measureMachine());
  QUANT_TRY(runPhases());
  auto tokens = static_cast<double>(options.prompt), steps = static_cast<double>(options.steps);
  QUANT_TRY_ASSIGN(Json first, describe("prompt", prompt, {tokens, 1, (tokens + 1) / 2}, tokens, peerPrompt));
  QUANT_TRY_ASSIGN(Json second, describe("decode", decode, {1, 1, tokens + (steps + 1) / 2}, 1, peerDecode));
  Json result = {{"model", options.model.string()},
                 {"layers", config.nLayers},
                 {"isa", quant_session_isa(session.get())},
                 {"threads", quant_session_threads(session.get())},
                 {"read", read.way.text()},
                 {"read_gb_per_s", read.bytesPerSecond / 1e9},
                 {"read_huge_pages_gb_per_s", read.hugeBytesPerSecond / 1e9},
                 {"peak_gflop_per_s", peak / 1e9},
                 {"phases", Json::array({std::move(first), std::move(second)})}};
  if (!options.svg.empty())
    QUANT_TRY(writeRoofline(result));
  return result;
}

Result<Json> runModel(const ModelOptions &options) {
  if (options.peer.empty() != options.peerModel.empty())
    return fail("--peer and --peer-model belong together: llama-bench, and a GGUF of the same shape");
  return ModelRun(options).run();
}

//===----------------------------------------------------------------------===//
// Command line
//===----------------------------------------------------------------------===//

CLI::App *addModelCommand(CLI::App &app, ModelOptions &options) {
  CLI::App *model = app.add_subcommand("model", "a whole model: prompt and decoding, by kernel, beside the machine's bound");
  model->add_option("model", options.model, "config.json, or a folder with one; without weights there they are random")
      ->required()
      ->check(CLI::ExistingPath);
  model->add_option("--weights", options.weights, "folder for random weights, kept and used again (default: gone afterwards)");
  model->add_option("--dtype", options.dtype, "of random weights (default: what the configuration says)")
      ->check(CLI::IsMember({"fp8", "bf16", "f32"}));
  model->add_option("--layers", options.layers, "only so many layers of the model, with random weights")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}));
  model->add_option("--compile", options.compile, "further options of quant-compile, as in --compile=--kv-cache=int8");
  model->add_option("--prompt", options.prompt, "tokens of the prompt")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  model->add_option("--steps", options.steps, "tokens that are decoded behind it")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  model->add_option("--rounds", options.rounds, "rounds")->check(CLI::Range(1, 1000))->capture_default_str();
  model->add_option("--threads", options.threads, "CPU threads; 0: all CPUs")->check(CLI::Range(0, 1024))->capture_default_str();
  model->add_option("--isa", options.isa, "code for this unit, not for the best that the CPU has");
  model->add_option("--peer", options.peer, "llama-bench of llama.cpp or ik_llama.cpp, which runs in turn with us")
      ->check(CLI::ExistingFile);
  model->add_option("--peer-model", options.peerModel, "GGUF of the same shape for it")->check(CLI::ExistingFile);
  model->add_option("--svg", options.svg, "write a roofline plot of the kernels to this file");
  model->add_flag("--json", options.json, "print JSON");
  return model;
}

static void printPhase(const Json &phase) {
  std::printf("\n%s of %g tokens: %.1f tokens/s, %.2f of the bound (%.1f)", phase["phase"].get<std::string>().c_str(),
              phase["tokens"].get<double>(), phase["tokens_per_s"].get<double>(), phase["of_bound"].get<double>(),
              phase["bound_tokens_per_s"].get<double>());
  if (phase.contains("of_peer"))
    std::printf("; peer %.1f tokens/s, we do %.2f of that", phase["peer_tokens_per_s"].get<double>(),
                phase["of_peer"].get<double>());
  std::printf("\n%10s %7s | %9s %9s %9s %9s | %7s  %s\n", "ms", "share", "MB", "GB/s", "MFLOP", "GFLOP/s", "/ bound", "kernels");
  for (const Json &row : phase["kernels"]) {
    double seconds = row["seconds"].get<double>(), bytes = row["bytes"].get<double>(),
           operations = row["operations"].get<double>();
    if (row["share"].get<double>() < 0.005)
      continue;
    std::printf("%10.3f %7.3f | %9.2f %9.1f %9.1f %9.1f | %7.2f  %s\n", seconds * 1e3, row["share"].get<double>(), bytes / 1e6,
                bytes / seconds / 1e9, operations / 1e6, operations / seconds / 1e9, row["of_bound"].get<double>(),
                row["label"].get<std::string>().c_str());
  }
}

void printModel(const Json &result) {
  std::printf("%s, %d layers, %s, %d threads; read %.1f GB/s (%s; huge pages %.1f), peak %.1f GFLOP/s\n",
              result["model"].get<std::string>().c_str(), result["layers"].get<int>(), result["isa"].get<std::string>().c_str(),
              result["threads"].get<int>(), result["read_gb_per_s"].get<double>(), result["read"].get<std::string>().c_str(),
              result["read_huge_pages_gb_per_s"].get<double>(), result["peak_gflop_per_s"].get<double>());
  for (const Json &phase : result["phases"])
    printPhase(phase);
}

} // namespace quant::bench
