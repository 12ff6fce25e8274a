//===- KernelPlan.cpp - which kernels a request comes to ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/KernelPlan.h"

#include "lowering/target/sm90/MlaDecode.h"
#include "lowering/target/sm90/simt/Quantize.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <sstream>

namespace quant {

//===----------------------------------------------------------------------===//
// --m and --tile
//===----------------------------------------------------------------------===//

/// A positive number that is all of `text`.
static std::optional<int64_t> parseNumber(std::string_view text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value <= 0)
    return std::nullopt;
  return value;
}

Result<RequestedM> parseM(const std::string &text) {
  constexpr int64_t kMaxM = int64_t(1) << 24;
  if (text == "dynamic")
    return RequestedM{};
  size_t dash = text.find('-');
  auto first = parseNumber(std::string_view(text).substr(0, dash));
  auto last = dash == std::string::npos ? first : parseNumber(std::string_view(text).substr(dash + 1));
  if (!first || !last || *first > *last || *last > kMaxM)
    return fail(
        fmt::format("--m={}: is neither dynamic nor a number of rows (64) nor a range of them (1-256), at most {}", text, kMaxM));
  return RequestedM{*first, *last, false};
}

static Result<void> parseTileWord(const std::string &word, machine::GemmConfig &config) {
  size_t equals = word.find('=');
  std::string key = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
  auto number = parseNumber(value);
  if (word == "swap")
    config.swapAB = true;
  else if (word == "multicast=a" || word == "multicast=b")
    config.multicast = value == "a" ? machine::Multicast::a : machine::Multicast::b;
  else if (key == "stages" && number)
    config.stages = *number;
  else if (key == "split-k" && number)
    config.splitK = *number;
  else
    return fail("'" + word + "' is none of swap, stages=S, multicast=a, multicast=b, split-k=S");
  return {};
}

Result<void> parseTile(const std::string &text, machine::GemmConfig &config) {
  std::istringstream words(text);
  std::string word;
  std::getline(words, word, ',');
  size_t cross = word.find('x');
  auto blockM = parseNumber(std::string_view(word).substr(0, cross));
  auto blockN = cross == std::string::npos ? std::nullopt : parseNumber(std::string_view(word).substr(cross + 1));
  if (!blockM || !blockN)
    return fail("--tile=" + text + ": must begin with rows x columns of a tile, as in 128x128");
  config.blockM = *blockM;
  config.blockN = *blockN;
  while (std::getline(words, word, ','))
    if (auto parsed = parseTileWord(word, config); !parsed)
      return tl::unexpected(parsed.error().in("--tile=" + text));
  return {};
}

std::string tileText(const machine::GemmConfig &config) {
  std::string text = fmt::format("{}x{}", config.blockM, config.blockN);
  if (config.swapAB)
    text += ",swap";
  if (config.stages)
    text += fmt::format(",stages={}", config.stages);
  if (config.multicast != machine::Multicast::none)
    text += config.multicast == machine::Multicast::a ? ",multicast=a" : ",multicast=b";
  if (config.splitK > 1)
    text += fmt::format(",split-k={}", config.splitK);
  return text;
}

//===----------------------------------------------------------------------===//
// Matmuls
//===----------------------------------------------------------------------===//

static machine::GemmElement elementOf(const std::string &kernel) {
  if (kernel.starts_with("int8_"))
    return machine::GemmElement::i8;
  return kernel.starts_with("bf16_") ? machine::GemmElement::bf16 : machine::GemmElement::e4m3;
}

/// DeepSeek's heads, of which only the number differs.
static machine::GemmConfig projectionConfig(const KernelOptions &options) {
  using Kind = machine::MlaProjection::Kind;
  constexpr int64_t kLatents = machine::MlaDecodeConfig::kLatent;
  machine::MlaProjection mla{.kind = options.kernel == "mla_absorb" ? Kind::absorb : Kind::expand,
                             .heads = options.heads,
                             .nopeDim = 128,
                             .ropeDim = 64,
                             .vDim = 128,
                             .completes = options.rope != "none",
                             .interleaved = options.rope == "interleaved"};
  return machine::mlaGemmConfig(mla, kLatents);
}

schedule::GemmProblem gemmProblem(const KernelOptions &options) {
  schedule::GemmProblem problem{.n = options.n,
                                .k = options.k,
                                .outputType = options.out == "f32" ? machine::OutputType::f32 : machine::OutputType::bf16,
                                .bias = options.bias,
                                .accumulate = options.accumulate,
                                .allowSplitK = !options.batchInvariant,
                                .swiglu = options.swiglu,
                                .powerOfTwoScales = options.swiglu && options.scaleFormat == "ue8m0",
                                .element = elementOf(options.kernel),
                                .bf16Scales = options.weightScales == "bf16"};
  if (options.isMlaProjection()) {
    machine::GemmConfig config = projectionConfig(options);
    problem.n = config.n;
    problem.k = config.k;
    problem.mla = config.mla;
    problem.element = config.element;
  }
  if (!options.isGrouped())
    return problem;
  problem.groups = options.groups;
  problem.groupLayout = options.layout == "masked" ? machine::GroupLayout::masked : machine::GroupLayout::contiguous;
  problem.groupAlignment = options.align;
  return problem;
}

static size_t kernelIndex(KernelPlan &plan, const machine::GemmConfig &config) {
  std::string name = config.symbolName();
  auto found =
      std::find_if(plan.kernels.begin(), plan.kernels.end(), [&](const PlannedKernel &kernel) { return kernel.name == name; });
  size_t index = static_cast<size_t>(found - plan.kernels.begin());
  if (found == plan.kernels.end())
    plan.kernels.push_back(
        {name, [config](const nvvm::AssemblerOptions &assembler) { return nvvm::compileGemm(config, assembler); }});
  return index;
}

static void addRange(KernelPlan &plan, int64_t minM, int64_t maxM, const machine::GemmConfig &config, const machine::Gpu &gpu) {
  PlannedRange range{.minM = minM, .maxM = maxM, .kernel = kernelIndex(plan, config)};
  range.choice = {config, schedule::predictCost(config, maxM, gpu)};
  range.reason = schedule::explainConfig(*range.choice, maxM, gpu);
  plan.ranges.push_back(std::move(range));
}

static Result<KernelPlan> planGemm(const KernelOptions &options) {
  QUANT_TRY_ASSIGN(auto m, parseM(options.m));
  auto gpu = machine::findGpu(options.gpu);
  if (!gpu)
    return tl::unexpected(gpu.error().in("--gpu"));
  schedule::GemmProblem problem = gemmProblem(options);
  KernelPlan plan;
  if (!options.tile.empty()) {
    machine::GemmConfig config = problem.config();
    QUANT_TRY(parseTile(options.tile, config));
    if (auto legal = machine::checkGemm(config); !legal)
      return tl::unexpected(legal.error().in("--tile=" + options.tile));
    addRange(plan, m.min, m.max, config, *gpu);
  } else {
    schedule::VariantOptions range{.minM = m.min, .maxM = m.max, .maxKernels = static_cast<size_t>(options.maxKernels)};
    for (const schedule::GemmVariant &variant : schedule::chooseVariants(problem, *gpu, range))
      addRange(plan, variant.minM, variant.maxM, variant.config, *gpu);
  }
  if (plan.ranges.empty()) {
    // No tile at all: then the default one says what is wrong with the problem.
    auto why = machine::checkGemm(problem.config());
    return fail(fmt::format("--n={} --k={}: {}", problem.n, problem.k,
                            why ? std::string("no tile of the family fits") : why.error().message));
  }
  plan.ranges.back().open = m.dynamic;
  return plan;
}

//===----------------------------------------------------------------------===//
// The others
//===----------------------------------------------------------------------===//

static nvvm::FloatKind floatKind(const std::string &name) { return name == "f32" ? nvvm::FloatKind::f32 : nvvm::FloatKind::bf16; }

static Result<KernelPlan> planQuantize(const KernelOptions &options) {
  nvvm::QuantizeConfig config{.k = options.k, .input = floatKind(options.in), .powerOfTwo = options.scaleFormat == "ue8m0"};
  if (auto legal = nvvm::checkQuantize(config); !legal)
    return tl::unexpected(legal.error().in(fmt::format("--k={}", options.k)));
  KernelPlan plan;
  plan.kernels.push_back({config.symbolName(), [config](const nvvm::AssemblerOptions &assembler) {
                            return nvvm::compileQuantize(config, assembler);
                          }});
  plan.ranges.push_back({.minM = 1, .maxM = 1, .open = true});
  return plan;
}

static Result<KernelPlan> planDequantize(const KernelOptions &options) {
  nvvm::DequantizeConfig config{.n = options.n, .k = options.k, .output = floatKind(options.out)};
  if (auto legal = nvvm::checkDequantize(config); !legal)
    return tl::unexpected(legal.error().in(fmt::format("--n={} --k={}", options.n, options.k)));
  KernelPlan plan;
  plan.kernels.push_back({config.symbolName(), [config](const nvvm::AssemblerOptions &assembler) {
                            return nvvm::compileDequantize(config, assembler);
                          }});
  plan.ranges.push_back({});
  return plan;
}

machine::MlaDecodeConfig mlaDecodeConfig(const KernelOptions &options) {
  return {.heads = options.heads,
          .pages = options.pages,
          .softmaxScale = options.softmaxScale,
          .lse = options.lse,
          .splits = options.splits};
}

/// A kernel for every M.
template <typename Config>
static KernelPlan planOne(const Config &config,
                          Result<nvvm::CompiledKernel> (*compile)(const Config &, const nvvm::AssemblerOptions &)) {
  KernelPlan plan;
  plan.kernels.push_back(
      {config.symbolName(), [=](const nvvm::AssemblerOptions &assembler) { return compile(config, assembler); }});
  plan.ranges.push_back({.minM = 1, .maxM = 1, .open = true});
  return plan;
}

static Result<KernelPlan> planMlaDecode(const KernelOptions &options) {
  machine::MlaDecodeConfig config = mlaDecodeConfig(options);
  if (auto legal = machine::checkMlaDecode(config); !legal)
    return tl::unexpected(legal.error().in("mla_decode"));
  if (config.lse && config.splits > 1)
    return fail("--lse: parts of the keys always have their logarithms; ask mla_combine for that of all keys");
  return planOne(config, nvvm::compileMlaDecode);
}

static Result<KernelPlan> planMlaCombine(const KernelOptions &options) {
  machine::MlaCombineConfig config{.heads = options.heads, .splits = options.splits, .lse = options.lse};
  if (auto legal = machine::checkMlaCombine(config); !legal)
    return tl::unexpected(legal.error().in("mla_combine"));
  return planOne(config, nvvm::compileMlaCombine);
}

Result<KernelPlan> planKernels(const KernelOptions &options) {
  if (options.kernel == "mla_decode")
    return planMlaDecode(options);
  if (options.kernel == "mla_combine")
    return planMlaCombine(options);
  if (options.kernel == "quantize")
    return planQuantize(options);
  return options.kernel == "dequantize" ? planDequantize(options) : planGemm(options);
}

} // namespace quant
