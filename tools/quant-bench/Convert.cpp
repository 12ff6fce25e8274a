//===- Convert.cpp - how fast checkpoints are converted -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Convert.h"

#include "tools/common/units.h"
#include "tools/quant-bench/ConvertDisk.h"
#include "tools/quant-bench/Machine.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/jobs.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <optional>
#include <random>
#include <thread>

using namespace quant;
using namespace quant::bench;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

/// A weight of DeepSeek-V3: 103 MB of bf16, beyond a last-level cache.
static constexpr int64_t kRows = 7168, kColumns = 7168, kBlock = 128;

//===----------------------------------------------------------------------===//
// Torch
//===----------------------------------------------------------------------===//

namespace {

/// The same work in torch, where there is one.
class Torch {
public:
  explicit Torch(const ConvertOptions &options) : python(options.python) {
    if (python.empty())
      std::fprintf(stderr, "quant-bench: not measured beside torch: --python names no Python that has it\n");
  }

  bool isThere() const { return !python.empty(); }
  Result<Finished> run(const std::string &work, unsigned threads, const std::vector<std::string> &rest) const {
    std::vector<std::string> command = {python.string(), QUANT_BENCH_TORCH_SCRIPT, work, std::to_string(threads)};
    command.insert(command.end(), rest.begin(), rest.end());
    return runProgram(command);
  }

private:
  fs::path python;
};

} // namespace

static unsigned threadCount(const ConvertOptions &options) {
  return options.threads > 0 ? static_cast<unsigned>(options.threads) : std::max(1u, std::thread::hardware_concurrency());
}

//===----------------------------------------------------------------------===//
// One core, from memory to memory
//===----------------------------------------------------------------------===//

namespace {

/// A weight in both forms.
struct Matrix {
  std::vector<uint16_t> plain, back;
  std::vector<uint8_t> codes;
  std::vector<float> scales;

  Matrix() : plain(kRows * kColumns), back(plain.size()), codes(plain.size()), scales(plain.size() / kBlock / kBlock) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 0.02f);
    for (uint16_t &bits : plain) {
      float value = normal(random);
      std::memcpy(&bits, reinterpret_cast<const char *>(&value) + 2, 2);
    }
  }
  size_t bytes() const { return plain.size() * 2; }

  void copy() { std::memcpy(back.data(), plain.data(), bytes()); }
  void toFp8() {
    constexpr int64_t perRow = kColumns / kBlock;
    for (int64_t row = 0; row < kRows; row += kBlock)
      convert::quantizeBlockRow({DType::BF16, reinterpret_cast<const std::byte *>(&plain[row * kColumns]), kBlock, kColumns, {}},
                                deepSeekFp8(), &codes[row * kColumns], std::span(scales).subspan(row / kBlock * perRow, perRow));
  }
  void toBf16() {
    auto kernel = convert::dequantizeRow(DType::BF16);
    for (int64_t row = 0; row < kRows; ++row)
      kernel(reinterpret_cast<const std::byte *>(&codes[row * kColumns]), kColumns, kBlock,
             &scales[row / kBlock * (kColumns / kBlock)], reinterpret_cast<std::byte *>(&back[row * kColumns]));
  }
};

} // namespace

static double threadSeconds() {
  timespec now;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// The median of this thread's CPU time: what a core takes, on a busy machine, too. The first call is not counted.
static double cpuSeconds(const std::function<void()> &work, double seconds) {
  constexpr size_t kMinCalls = 5;
  std::vector<double> times;
  work();
  for (double begin = threadSeconds(), end = begin; times.size() < kMinCalls || end - begin < seconds;) {
    double start = threadSeconds();
    work();
    end = threadSeconds();
    times.push_back(end - start);
  }
  return median(times);
}

static Result<Json> measureMemory(const ConvertOptions &options, const Torch &torch) {
  Matrix matrix;
  auto rate = [&](const std::function<void()> &work) {
    return static_cast<double>(matrix.bytes()) / cpuSeconds(work, options.seconds) / 1e9;
  };
  Json row = {{"rows", kRows},
              {"columns", kColumns},
              {"bf16_bytes", matrix.bytes()},
              {"isa", convert::name(convert::bestIsa())},
              {"memcpy_gb_per_s", rate([&] { matrix.copy(); })},
              {"fp8_gb_per_s", rate([&] { matrix.toFp8(); })},
              {"bf16_gb_per_s", rate([&] { matrix.toBf16(); })}};
  if (!torch.isThere())
    return row;
  QUANT_TRY_ASSIGN(auto theirs,
                   torch.run("memory", 1, {std::to_string(kRows), std::to_string(kColumns), std::to_string(options.seconds)}));
  Json figures = Json::parse(theirs.output, nullptr, false);
  if (!figures.is_object() || !figures.contains("fp8_gb_per_s"))
    return fail(options.python.string() + ": printed no figures");
  row["torch"] = figures["torch"];
  row["torch_fp8_gb_per_s"] = figures["fp8_gb_per_s"];
  row["torch_bf16_gb_per_s"] = figures["bf16_gb_per_s"];
  return row;
}

//===----------------------------------------------------------------------===//
// End to end
//===----------------------------------------------------------------------===//

namespace {

/// Removes what it holds.
struct Scratch {
  fs::path path;
  explicit Scratch(fs::path path) : path(std::move(path)) {}
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

/// Seconds of each round.
struct DiskTimes {
  std::vector<double> copy, ours, torch;
  int64_t ourPeak = 0, torchPeak = 0;
};

/// One direction of the cast.
struct Cast {
  std::string name, inputFlag, outputFlag;
  fs::path input, like; ///< `like` is what comes out
};

/// quant-convert, a copy and torch on the same disk.
class Disk {
public:
  Disk(const ConvertOptions &options, const Torch &torch, fs::path root)
      : options(options), torch(torch), root(std::move(root)), threads(threadCount(options)) {}

  /// The checkpoint in FP8 and in BF16.
  Result<void> prepare();
  Result<Json> measure(const Cast &cast);
  std::vector<Cast> casts() const {
    return {{"cast-fp8", "--input-bf16-hf-path", "--output-fp8-hf-path", root / "bf16", root / "fp8"},
            {"cast-bf16", "--input-fp8-hf-path", "--output-bf16-hf-path", root / "fp8", root / "bf16"}};
  }

private:
  Result<void> round(const Cast &cast, DiskTimes &times);
  std::vector<std::string> command(const Cast &cast, const fs::path &output) const {
    return {tool().string(), cast.name,       cast.inputFlag, cast.input.string(),
            cast.outputFlag, output.string(), "--threads",    std::to_string(threads)};
  }
  fs::path tool() const { return options.tool.empty() ? toolPath("quant-convert") : options.tool; }

  const ConvertOptions &options;
  const Torch &torch;
  fs::path root;
  unsigned threads;
};

} // namespace

/// A dense layer and a layer of experts, with the matrices of 671B.
static std::string modelConfig(int experts) {
  return Json{{"vocab_size", 4096},      {"dim", 7168},
              {"inter_dim", 18432},      {"moe_inter_dim", 2048},
              {"n_layers", 2},           {"n_dense_layers", 1},
              {"n_heads", 128},          {"n_routed_experts", experts},
              {"n_shared_experts", 1},   {"n_activated_experts", 1},
              {"n_expert_groups", 1},    {"n_limited_groups", 1},
              {"route_scale", 2.5},      {"score_func", "sigmoid"},
              {"q_lora_rank", 1536},     {"kv_lora_rank", 512},
              {"qk_nope_head_dim", 128}, {"qk_rope_head_dim", 64},
              {"v_head_dim", 128},       {"dtype", "fp8"}}
      .dump();
}

Result<void> Disk::prepare() {
  std::ofstream(root / "model.json") << modelConfig(options.experts);
  QUANT_TRY(runProgram({tool().string(), "random", "--config", (root / "model.json").string(), "--output",
                        (root / "fp8").string(), "--dtype", "fp8", "--shard-size", "1GB"}));
  QUANT_TRY(runProgram(command(casts()[1], root / "bf16")));
  return {};
}

/// Each reads the same input in the same state of the cache, and writes to the disk, fsync included.
Result<void> Disk::round(const Cast &cast, DiskTimes &times) {
  Scratch copy(root / "copy"), ours(root / "ours"), theirs(root / "torch");
  QUANT_TRY(setCached(cast.input, options.warm));
  QUANT_TRY_ASSIGN(auto copied, plainCopy(cast.input, cast.like, copy.path));
  times.copy.push_back(copied);
  fs::remove_all(copy.path);
  QUANT_TRY(setCached(cast.input, options.warm));
  QUANT_TRY_ASSIGN(auto done, runProgram(command(cast, ours.path)));
  times.ours.push_back(done.seconds);
  times.ourPeak = std::max(times.ourPeak, done.peakBytes);
  fs::remove_all(ours.path);
  if (!torch.isThere())
    return {};
  QUANT_TRY(setCached(cast.input, options.warm));
  QUANT_TRY_ASSIGN(done, torch.run(cast.name, threads, {cast.input.string(), theirs.path.string()}));
  times.torch.push_back(done.seconds);
  times.torchPeak = std::max(times.torchPeak, done.peakBytes);
  return {};
}

Result<Json> Disk::measure(const Cast &cast) {
  DiskTimes times;
  for (int i = 0; i < options.rounds; ++i)
    QUANT_TRY(round(cast, times));
  QUANT_TRY_ASSIGN(uint64_t read, weightBytes(cast.input));
  QUANT_TRY_ASSIGN(uint64_t written, weightBytes(cast.like));
  Json row = {{"command", cast.name},
              {"bytes_read", read},
              {"bytes_written", written},
              {"cache", options.warm ? "warm" : "cold"},
              {"threads", threads},
              {"copy_s", median(times.copy)},
              {"convert_s", median(times.ours)},
              {"of_copy", medianRatio(times.copy, times.ours)},
              {"of_copy_best", std::ranges::min(times.copy) / std::ranges::min(times.ours)},
              {"peak_bytes", times.ourPeak},
              {"rounds", options.rounds}};
  if (!times.torch.empty()) {
    row["torch_s"] = median(times.torch);
    row["torch_peak_bytes"] = times.torchPeak;
    row["faster_than_torch"] = medianRatio(times.torch, times.ours);
  }
  return row;
}

static Result<Json> measureDisk(const ConvertOptions &options, const Torch &torch) {
  Scratch root(options.dir / ("quant-bench-convert-" + std::to_string(::getpid())));
  std::error_code code;
  if (!fs::create_directory(root.path, code))
    return fail(fmt::format("{}: cannot create the folder: {}", root.path.string(), code.message()));
  Disk disk(options, torch, root.path);
  QUANT_TRY(disk.prepare());
  Json rows = Json::array();
  for (const Cast &cast : disk.casts()) {
    QUANT_TRY_ASSIGN(auto row, disk.measure(cast));
    rows.push_back(std::move(row));
  }
  return rows;
}

//===----------------------------------------------------------------------===//
// The command
//===----------------------------------------------------------------------===//

Result<Json> quant::bench::runConvert(const ConvertOptions &options) {
  Torch torch(options);
  // The disk first: Linux counts what this process has in memory when it starts another as that one's peak.
  std::optional<Json> disk;
  if (!options.dir.empty()) {
    QUANT_TRY_ASSIGN(disk, measureDisk(options, torch));
  }
  QUANT_TRY_ASSIGN(auto memory, measureMemory(options, torch));
  Json result = {{"memory", std::move(memory)}};
  if (disk)
    result["disk"] = std::move(*disk);
  return result;
}

void quant::bench::printConvert(const Json &result) {
  const Json &memory = result["memory"];
  auto number = [](const Json &row, const char *key) { return row.value(key, 0.0); };
  std::printf("one core, a bf16 matrix of %dx%d in memory, GB of bf16 a second of CPU time (memcpy: %.1f)\n",
              memory["rows"].get<int>(), memory["columns"].get<int>(), number(memory, "memcpy_gb_per_s"));
  std::printf("  to fp8    %6.2f", number(memory, "fp8_gb_per_s"));
  std::printf(memory.contains("torch") ? "   torch %6.2f\n" : "\n", number(memory, "torch_fp8_gb_per_s"));
  std::printf("  to bf16   %6.2f", number(memory, "bf16_gb_per_s"));
  std::printf(memory.contains("torch") ? "   torch %6.2f\n" : "\n", number(memory, "torch_bf16_gb_per_s"));
  if (!result.contains("disk"))
    return;
  std::printf("\n%-9s %7s %9s %9s | %7s %9s | %7s %6s | %8s | %7s %8s\n", "", "cache", "reads", "writes", "copy s", "convert s",
              "of copy", "best", "peak MiB", "torch s", "peak MiB");
  for (const Json &row : result["disk"])
    std::printf("%-9s %7s %9s %9s | %7.2f %9.2f | %7.2f %6.2f | %8.0f | %7.2f %8.0f\n", row["command"].get<std::string>().c_str(),
                row["cache"].get<std::string>().c_str(), tools::humanBytes(row["bytes_read"]).c_str(),
                tools::humanBytes(row["bytes_written"]).c_str(), number(row, "copy_s"), number(row, "convert_s"),
                number(row, "of_copy"), number(row, "of_copy_best"), number(row, "peak_bytes") / (1 << 20),
                number(row, "torch_s"), number(row, "torch_peak_bytes") / (1 << 20));
}

CLI::App *quant::bench::addConvertCommand(CLI::App &app, ConvertOptions &options) {
  CLI::App *command = app.add_subcommand("convert", "quant-convert's casts: one core in memory, and end to end against a copy");
  command->add_option("--dir", options.dir, "folder on the disk to measure; without it memory alone is measured")
      ->check(CLI::ExistingDirectory);
  command
      ->add_option("--experts", options.experts,
                   "size of the checkpoint: 0.9 GB of FP8 and 44 MB an expert; five times that is needed")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_option("--python", options.python, "a Python with torch and safetensors, to measure them beside it")
      ->check(CLI::ExistingFile);
  command->add_option("--tool", options.tool, "quant-convert (default: the one beside this program)")->check(CLI::ExistingFile);
  command->add_option("--threads", options.threads, "workers end to end (default: all CPUs)")->check(CLI::Range(1, 1024));
  command->add_option("--rounds", options.rounds, "how often each is run end to end")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--seconds", options.seconds, "how long to measure in memory")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  command->add_flag("--warm", options.warm, "the input is in the page cache; else the kernel is made to forget it each time");
  command->add_flag("--json", options.json, "print JSON");
  return command;
}
