//===- GenerateKernels.cpp - writes the kernels that run.sh tests ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// generate-gpu-kernels DIRECTORY: for each kernel NAME.json (launch recipe), NAME.ptx and, with an assembler, NAME.cubin;
// index.json says which of them are timed.
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Gemm.h"
#include "lowering/target/sm90/MlaDecode.h"
#include "lowering/target/sm90/simt/Quantize.h"
#include "passes/schedule/ChooseVariants.h"
#include "test/gpu/GemmShapes.h"
#include "tools/common/parallel.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>

using namespace quant;
using Json = nlohmann::ordered_json;

namespace {

using Compile = std::function<Result<nvvm::CompiledKernel>()>;

/// What is to be compiled, by name, and what index.json will say.
struct Kernels {
  std::map<std::string, Compile> jobs;
  Json problems = Json::array(), memory = Json::array();

  std::string add(const machine::GemmConfig &config) {
    jobs[config.symbolName()] = [config] { return nvvm::compileGemm(config); };
    return config.symbolName();
  }
  std::string add(const machine::MlaDecodeConfig &config) {
    jobs[config.symbolName()] = [config] { return nvvm::compileMlaDecode(config); };
    return config.symbolName();
  }
  std::string add(const machine::MlaCombineConfig &config) {
    jobs[config.symbolName()] = [config] { return nvvm::compileMlaCombine(config); };
    return config.symbolName();
  }
  std::string add(const nvvm::QuantizeConfig &config) {
    jobs[config.symbolName()] = [config] { return nvvm::compileQuantize(config); };
    return config.symbolName();
  }
  std::string add(const nvvm::DequantizeConfig &config) {
    jobs[config.symbolName()] = [config] { return nvvm::compileDequantize(config); };
    return config.symbolName();
  }
};

} // namespace

/// The kernels that a model would have for this product, by M; they are timed.
static void addTimed(Kernels &kernels, const machine::GemmConfig &shape) {
  Json variants = Json::array();
  for (const schedule::GemmVariant &variant :
       schedule::chooseVariants({.n = shape.n, .k = shape.k}, machine::findGpu("h200").value()))
    variants.push_back({{"m", {variant.minM, variant.maxM}}, {"launch", kernels.add(variant.config) + ".json"}});
  kernels.problems.push_back({{"kernel", "fp8_gemm"}, {"n", shape.n}, {"k", shape.k}, {"variants", variants}});
}

static void addMemoryBound(Kernels &kernels) {
  using enum nvvm::FloatKind;
  auto timed = [&](const std::string &name, int64_t m) { kernels.memory.push_back({{"kernel", name}, {"m", m}}); };
  for (int64_t m : {64, 4096})
    timed(kernels.add(nvvm::QuantizeConfig{.k = 7168}), m);
  timed(kernels.add(nvvm::DequantizeConfig{.n = 7168, .k = 2048}), 1);
  timed(kernels.add(nvvm::DequantizeConfig{.n = 18432, .k = 7168}), 1);
  // Edges and the other types.
  kernels.add(nvvm::QuantizeConfig{.k = 7168, .powerOfTwo = true});
  kernels.add(nvvm::QuantizeConfig{.k = 2000, .input = f32});
  kernels.add(nvvm::QuantizeConfig{.k = 100, .input = f32, .powerOfTwo = true});
  kernels.add(nvvm::DequantizeConfig{.n = 130, .k = 1100, .output = f32});
}

/// Attention: a rank's heads and all of them, with parts of the keys and without; timed with 128 sequences of 4096 keys.
static void addAttention(Kernels &kernels) {
  constexpr int64_t kTimedPages = 64, kTimedSequences = 128;
  for (int64_t heads : {16, 128})
    kernels.add(machine::MlaDecodeConfig{.heads = heads, .pages = 5, .lse = true});
  kernels.add(machine::MlaDecodeConfig{.heads = 16, .pages = 5, .splits = 3});
  kernels.add(machine::MlaCombineConfig{.heads = 16, .splits = 3, .lse = true});
  for (int64_t heads : {16, 64, 128})
    kernels.memory.push_back(
        {{"kernel", kernels.add(machine::MlaDecodeConfig{.heads = heads, .pages = kTimedPages})}, {"m", kTimedSequences}});
}

static Kernels everyKernel() {
  Kernels kernels;
  for (const auto &shapes :
       {test::modelShapes(), test::oddShapes(), test::tileShapes(), test::groupedShapes(), test::elementShapes()})
    for (const machine::GemmConfig &config : shapes)
      kernels.add(config);
  for (const machine::GemmConfig &shape : test::denseShapes())
    addTimed(kernels, shape);
  for (const machine::GemmConfig &config : test::familyShapes())
    kernels.add(config);
  addMemoryBound(kernels);
  addAttention(kernels);
  return kernels;
}

static bool writeFile(const std::filesystem::path &path, const char *data, size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(data, static_cast<std::streamsize>(bytes));
  return file.good();
}

/// Empty, or what went wrong.
static std::string write(const nvvm::CompiledKernel &kernel, const std::filesystem::path &directory) {
  std::string base = (directory / kernel.recipe.kernel).string(), json = kernel.recipe.toJson().dump(2) + "\n";
  const std::string &ptx = kernel.artifact.ptx;
  const std::vector<char> &cubin = kernel.artifact.cubin;
  bool written = writeFile(base + ".json", json.data(), json.size()) && writeFile(base + ".ptx", ptx.data(), ptx.size()) &&
                 (cubin.empty() || writeFile(base + ".cubin", cubin.data(), cubin.size()));
  return written ? "" : "cannot write " + base + ".*";
}

int main(int argc, char **argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " DIRECTORY\n";
    return 2;
  }
  std::filesystem::path directory = argv[1];
  std::filesystem::create_directories(directory);
  // Kernels of an earlier run would be tested, too.
  for (const auto &entry : std::filesystem::directory_iterator(directory))
    if (entry.path().filename().string().starts_with("sm90_"))
      std::filesystem::remove(entry.path());

  Kernels kernels = everyKernel();
  std::vector<Compile> jobs;
  for (const auto &[name, job] : kernels.jobs)
    jobs.push_back(job);
  std::vector<std::string> errors(jobs.size());
  tools::parallelFor(jobs.size(), 0, [&](size_t index) {
    auto kernel = jobs[index]();
    errors[index] = kernel ? write(*kernel, directory) : kernel.error().message;
  });
  int failed = 0;
  for (const std::string &error : errors)
    if (!error.empty()) {
      std::cerr << "error: " << error << "\n";
      ++failed;
    }
  std::string index = Json{{"format", 1}, {"problems", kernels.problems}, {"memory", kernels.memory}}.dump(2) + "\n";
  if (!writeFile(directory / "index.json", index.data(), index.size()))
    ++failed;
  std::cout << jobs.size() - static_cast<size_t>(failed) << " of " << jobs.size() << " kernels in " << directory.string()
            << (nvvm::findPtxas() ? "\n" : "; no ptxas found: PTX only, the driver compiles it at load\n");
  return failed ? 1 : 0;
}
