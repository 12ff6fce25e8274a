//===- KernelOptions.cpp - single GPU kernels on the command line ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/KernelOptions.h"

#include "dialects/machine/GemmPlan.h"
#include "tools/quant-compile/KernelPlan.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include <algorithm>

namespace quant {

/// Flags of all matmuls, behind those of their own.
static std::vector<KernelFlag> withTileFlags(machine::GemmElement element, std::vector<KernelFlag> flags) {
  flags.insert(flags.end(),
               {{"--gpu", "h100, h200, h800", "the GPU whose figures choose the tiles; the code runs on each of them"},
                {"--out", "bf16, f32", "type of d"},
                {"--accumulate", "", "adds to what d holds"},
                {"--max-kernels", "1-16", "how many different kernels at most"}});
  if (element == machine::GemmElement::i8)
    flags.push_back({"--weight-scales", "f32, bf16", "type of scale_b"});
  if (element == machine::GemmElement::e4m3)
    flags.insert(flags.end(),
                 {{"--swiglu", "",
                   "d = quantize(silu(a gate) * (a up)) of b's n rows of gate and n of up, with scale_d as quantize gives it"},
                  {"--scale-format", "f32, ue8m0", "scales of a quantized d"}});
  return flags;
}

static KernelKind gemmKind(const char *name, const char *summary, machine::GemmElement element) {
  KernelKind kind = {
      name, summary,
      withTileFlags(element,
                    {{"--n", "multiple of 8", "columns of d, rows of the weight b", true},
                     {"--k", "any", "columns of a and b", true},
                     {"--m", "dynamic, 64, 1-256",
                      "rows: any (a few kernels, chosen by M at run time), one, or a range; every kernel is right for any M"},
                     {"--bias", "", "adds an f32 bias[n]"},
                     {"--batch-invariant", "", "never splits K, so that d's bits do not depend on M"}}),
      true};
  kind.flags.push_back(
      {"--tile", "128x128,...",
       "M x N of a tile instead of the cost model's choice, then any of: swap, stages=S, multicast=a|b, split-k=S"});
  return kind;
}

static KernelKind groupedGemmKind(const char *name, machine::GemmElement element) {
  KernelKind kind = {
      name, "the same for groups of rows, each with its own b[g]; how many rows a group has is read on the GPU",
      withTileFlags(
          element,
          {{"--n", "multiple of 8", "columns of d, rows of each weight", true},
           {"--k", "any", "columns of a and b", true},
           {"--groups", "1-1024", "groups, weights", true},
           {"--layout", "contiguous, masked",
            "a[rows, k] with `ends`[g], one group after another, or a[g, M, k] with `counts`[g] rows of M in use"},
           {"--align", "1, 128, ...", "contiguous groups begin at multiples of so many rows"},
           {"--m", "dynamic, 64, 1-256",
            "rows that a group is expected to have, by which one of a few kernels is chosen; every kernel is right for all"}}),
      true};
  kind.flags.push_back(
      {"--tile", "16x128,...", "M x N of a tile instead of the cost model's choice, then any of: swap, stages=S, multicast=a|b"});
  return kind;
}

static KernelKind projectionKind(const char *name, const char *summary, std::vector<KernelFlag> flags) {
  KernelKind kind = {name, summary, {{"--heads", "1-1024", "heads of a token", true}}, true};
  kind.flags.insert(kind.flags.end(), flags.begin(), flags.end());
  kind.flags.insert(
      kind.flags.end(),
      {{"--m", "dynamic, 64, 1-256", "tokens: any, one number of them, or a range; every kernel is right for any"},
       {"--out", "bf16, f32", "type of d"},
       {"--gpu", "h100, h200, h800", "the GPU whose figures choose the tiles; the code runs on each of them"},
       {"--max-kernels", "1-16", "how many different kernels at most"},
       {"--tile", "64x128,...", "M x N of a tile instead of the cost model's choice, then stages=S, of mla_expand swap"}});
  return kind;
}

const std::vector<KernelKind> &kernelKinds() {
  using enum machine::GemmElement;
  static const std::vector<KernelKind> kinds = {
      gemmKind("fp8_gemm", "d[m, n] = sum over k of a[m, k] b[n, k], e4m3 with scales per 1x128 of a and 128x128 of b", e4m3),
      groupedGemmKind("fp8_grouped_gemm", e4m3),
      gemmKind("int8_gemm", "d[m, n] = scale_a[m] scale_b[n] sum over k of a[m, k] b[n, k], int8, the sums exact", i8),
      groupedGemmKind("int8_grouped_gemm", i8),
      gemmKind("bf16_gemm", "d[m, n] = sum over k of a[m, k] b[n, k], bf16", bf16),
      groupedGemmKind("bf16_grouped_gemm", bf16),
      projectionKind(
          "mla_absorb",
          "d[m, h, c] = sum over i of a[m, h, i] b[h, i, c], bf16: queries of 128 + 64 numbers by the key rows of "
          "b[heads, 128 + 128, 512]",
          {{"--rope", "none, interleaved, halves",
            "d's heads are complete queries of 512 + 64 numbers: the last 64 of a's turned by rope[m, 64], in pairs of "
            "neighbours or (i, i + 32)"}}),
      projectionKind("mla_expand",
                     "d[m, h, v] = sum over c of a[m, h, c] b[h, 128 + v, c], bf16: 512 latents by the value rows of b[heads, "
                     "128 + 128, 512]",
                     {}),
      {"mla_decode",
       "o[tokens, heads, 512] = attention of q[tokens, heads, 576] over a paged cache of bf16 rows of 512 latents and 64 rope "
       "numbers",
       {{"--heads", "1-1024", "heads of a token", true},
        {"--pages", "2560, ...", "pages of 64 keys that a sequence may have: columns of the table of pages", true},
        {"--splits", "1-128", "parts of each sequence's keys, a block each, whose results mla_combine merges"},
        {"--softmax-scale", "0.0722, ...", "what scores are multiplied by; 1 / sqrt(192) where it is left out"},
        {"--lse", "", "also gives ln of each row's sum of exponentials"},
        {"--gpu", "h100, h200, h800", "the GPU that --explain predicts for; the code runs on each of them"}},
       true},
      {"mla_combine",
       "o[tokens, heads, 512], of what mla_decode gives of parts of the keys",
       {{"--heads", "1-1024", "heads of a token", true},
        {"--splits", "2-128", "parts of the keys", true},
        {"--lse", "", "also gives ln of each row's sum of exponentials"}}},
      {"quantize",
       "q, scale = per-token-group quantization of x[m, k] to e4m3, groups of 1x128, scales laid out as fp8_gemm reads them",
       {{"--k", "any", "columns of x", true},
        {"--in", "bf16, f32", "type of x"},
        {"--scale-format", "f32, ue8m0", "any scale, or powers of two (stored as f32)"}}},
      {"dequantize",
       "x[n, k] = q[n, k] scale[n / 128, k / 128], e4m3 in 128x128 blocks",
       {{"--n", "any", "rows", true}, {"--k", "any", "columns", true}, {"--out", "bf16, f32", "type of x"}}},
  };
  return kinds;
}

const KernelKind *findKernelKind(const std::string &name) {
  const auto &kinds = kernelKinds();
  auto found = std::find_if(kinds.begin(), kinds.end(), [&](const KernelKind &kind) { return name == kind.name; });
  return found == kinds.end() ? nullptr : &*found;
}

static std::vector<std::string> kernelNames() {
  std::vector<std::string> names;
  for (const KernelKind &kind : kernelKinds())
    names.push_back(kind.name);
  return names;
}

static std::vector<std::string> gpuNames() {
  std::vector<std::string> names;
  for (const machine::Gpu &model : machine::gpus())
    names.push_back(model.name);
  return names;
}

//===----------------------------------------------------------------------===//
// Options
//===----------------------------------------------------------------------===//

static const char *kGroup = "One GPU kernel instead of a model";

void addKernelOptions(CLI::App &app, KernelOptions &options) {
  constexpr int64_t kMaxSize = int64_t(1) << 24;
  auto *kernel =
      app.add_option("--kernel", options.kernel, "kernel to compile; -o names a folder for PTX, cubin and launch recipes")
          ->check(CLI::IsMember(kernelNames()))
          ->group(kGroup);
  app.add_flag("--list-kernels", options.list, "say which kernels there are, with their options")
      ->excludes(kernel)
      ->group(kGroup);
  app.add_flag("--explain", options.explain,
               "print the cost model's choice by M and its reasons (with --list-kernels: of DeepSeek's shapes)")
      ->group(kGroup);
  app.add_option("--n", options.n, "N: rows of the weight")->check(CLI::Range(int64_t(1), kMaxSize))->group(kGroup);
  app.add_option("--k", options.k, "K: columns of the weight")->check(CLI::Range(int64_t(1), kMaxSize))->group(kGroup);
  app.add_option("--groups", options.groups, "groups of rows, each with its own weight")
      ->check(CLI::Range(int64_t(1), machine::kMaxGroups))
      ->group(kGroup);
  app.add_option("--layout", options.layout, "where the rows of groups lie")
      ->check(CLI::IsMember({"contiguous", "masked"}))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--align", options.align, "where contiguous groups begin: at multiples of so many rows")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 16))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--heads", options.heads, "heads of a token")->check(CLI::Range(int64_t(1), int64_t(1024)))->group(kGroup);
  app.add_option("--pages", options.pages, "pages of 64 keys that a sequence may have")
      ->check(CLI::Range(int64_t(1), kMaxSize))
      ->group(kGroup);
  app.add_option("--splits", options.splits, "parts of each sequence's keys")
      ->check(CLI::Range(int64_t(1), machine::kMaxKeySplits))
      ->group(kGroup);
  app.add_option("--rope", options.rope, "pairs of a query that mla_absorb turns")
      ->check(CLI::IsMember({"none", "interleaved", "halves"}))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--softmax-scale", options.softmaxScale, "what scores are multiplied by")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--lse", options.lse, "also give the logarithm of each row's sum of exponentials")->group(kGroup);
  app.add_option("--m", options.m, "M: dynamic, a number, or a range as in 1-256")->capture_default_str()->group(kGroup);
  app.add_option("--gpu", options.gpu, "GPU to choose tiles for")
      ->check(CLI::IsMember(gpuNames()))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--in", options.in, "type of the input")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--out", options.out, "type of the result")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--weight-scales", options.weightScales, "type of an INT8 weight's scales")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str()
      ->group(kGroup);
  app.add_flag("--bias", options.bias, "add a bias")->group(kGroup);
  app.add_flag("--accumulate", options.accumulate, "add to what the result holds")->group(kGroup);
  app.add_flag("--swiglu", options.swiglu, "multiply by gate and up, and give silu(gate) * up, quantized")->group(kGroup);
  app.add_flag("--batch-invariant", options.batchInvariant, "results whose bits do not depend on M")->group(kGroup);
  app.add_option("--max-kernels", options.maxKernels, "different kernels for all M")
      ->check(CLI::Range(1, 16))
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--tile", options.tile, "tile to use, as in 128x128,stages=5 (--list-kernels says all of it)")->group(kGroup);
  app.add_option("--scale-format", options.scaleFormat, "scales that quantize and --swiglu give")
      ->check(CLI::IsMember({"f32", "ue8m0"}))
      ->capture_default_str()
      ->group(kGroup);
}

//===----------------------------------------------------------------------===//
// Usage
//===----------------------------------------------------------------------===//

/// Flags that are about some kernel, each once.
static std::vector<std::string> allKernelFlags() {
  std::vector<std::string> flags;
  for (const KernelKind &kind : kernelKinds())
    for (const KernelFlag &flag : kind.flags)
      if (std::find(flags.begin(), flags.end(), flag.name) == flags.end())
        flags.push_back(flag.name);
  return flags;
}

static std::string flagList(const KernelKind &kind) {
  std::string list;
  for (const KernelFlag &flag : kind.flags)
    list += (list.empty() ? "" : ", ") + std::string(flag.name);
  return list;
}

static Result<void> checkKernelFlags(const CLI::App &app, const KernelKind &kind) {
  auto has = [&](const std::string &name) {
    return std::any_of(kind.flags.begin(), kind.flags.end(), [&](const KernelFlag &flag) { return name == flag.name; });
  };
  for (const std::string &flag : allKernelFlags())
    if (app.count(flag) && !has(flag))
      return fail(fmt::format("{}: {} has no such option, it takes {}", flag, kind.name, flagList(kind)));
  for (const KernelFlag &flag : kind.flags)
    if (flag.required && !app.count(flag.name))
      return fail(fmt::format("{}: {} needs it ({})", flag.name, kind.name, flag.meaning));
  if (app.count("--explain") && !kind.hasChoice)
    return fail("--explain: there is nothing to choose for " + std::string(kind.name) +
                ", only the matmuls, mla_absorb, mla_expand and mla_decode have variants");
  if (kind.hasChoice && app.count("--scale-format") && !app.count("--swiglu"))
    return fail("--scale-format: is of a quantized d; say --swiglu, or leave it out");
  for (const char *flag : {"input", "--host-isa", "--activations", "--launch-dependents", "--max-tokens", "--max-context",
                           "--stop-after", "--dump-stages-to", "--kernels-to"})
    if (app.count(flag))
      return fail(std::string(flag) + ": is for a model, not for --kernel; leave one of them out");
  if (app.count("--target") && app.get_option("--target")->as<std::vector<std::string>>() != std::vector<std::string>{"sm_90a"})
    return fail("--target: --kernel is for sm_90a alone; say --target=sm_90a or nothing");
  if (!app.count("--output") && !app.count("--explain"))
    return fail("--output: say with -o which folder to write the kernels to (or --explain, to see the choice only)");
  if (app.count("--output") && app.get_option("--output")->as<std::string>() == "-")
    return fail("--output: a kernel is several files; name a folder instead of -");
  return {};
}

/// Values that have a grammar of their own.
static Result<void> checkKernelValues(const KernelOptions &options) {
  QUANT_TRY(parseM(options.m));
  machine::GemmConfig scratch;
  return options.tile.empty() ? Result<void>() : parseTile(options.tile, scratch);
}

Result<void> checkKernelUsage(const CLI::App &app, const KernelOptions &options) {
  if (options.list) {
    if (app.count("input") || app.count("--output"))
      return fail("--list-kernels: takes no input and no -o");
    return {};
  }
  if (!options.kernel.empty())
    return checkKernelFlags(app, *findKernelKind(options.kernel)).and_then([&] { return checkKernelValues(options); });
  for (const std::string &flag : allKernelFlags())
    if (app.count(flag))
      return fail(flag + ": needs --kernel (--list-kernels says which there are)");
  if (options.explain)
    return fail("--explain: needs --kernel=fp8_gemm, another matmul or mla_decode, or --list-kernels");
  if (!app.count("input"))
    return fail("input: name a checkpoint's folder or a config.json (or a --kernel)");
  if (!app.count("--output"))
    return fail("--output: name the module file to write with -o");
  return {};
}

} // namespace quant
