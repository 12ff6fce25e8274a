//===- CompileKernels.cpp - GPU kernels to a folder -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/CompileKernels.h"

#include "tools/common/parallel.h"
#include "tools/common/progress.h"

#include <chrono>
#include <mutex>

using Json = nlohmann::ordered_json;

namespace quant {

namespace {

/// "compiling 3 of 4" on a terminal, nothing elsewhere.
class CountLine {
public:
  explicit CountLine(size_t total) : total(total), terminal(total > 1 ? tools::stderrTerminal() : nullptr) { draw(); }
  ~CountLine() {
    if (terminal)
      std::fprintf(terminal, "\r\x1b[K");
  }
  void next() {
    std::lock_guard lock(drawing);
    ++done;
    draw();
  }

private:
  void draw() {
    if (terminal)
      std::fprintf(terminal, "\r\x1b[Kcompiling kernels: %zu of %zu done", done, total);
  }

  const size_t total;
  std::FILE *const terminal;
  std::mutex drawing;
  size_t done = 0;
};

} // namespace

static Result<std::vector<nvvm::CompiledKernel>> compileAll(const KernelPlan &plan, const nvvm::AssemblerOptions &assembler) {
  std::vector<Result<nvvm::CompiledKernel>> results(plan.kernels.size(), fail("not compiled"));
  CountLine progress(results.size());
  tools::parallelFor(results.size(), 0, [&](size_t index) {
    results[index] = plan.kernels[index].compile(assembler);
    progress.next();
  });
  std::vector<nvvm::CompiledKernel> kernels;
  for (auto &result : results) {
    QUANT_TRY_ASSIGN(nvvm::CompiledKernel kernel, std::move(result));
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

static Json requestJson(const KernelOptions &options) {
  if (options.kernel == "mla_combine")
    return {{"heads", options.heads}, {"splits", options.splits}, {"lse", options.lse}};
  if (options.kernel == "mla_decode")
    return {{"heads", options.heads},
            {"pages", options.pages},
            {"softmax_scale", options.softmaxScale},
            {"splits", options.splits},
            {"lse", options.lse}};
  if (options.isMlaProjection()) {
    Json request = {{"heads", options.heads}, {"m", options.m}, {"gpu", options.gpu}, {"out", options.out}};
    if (options.kernel == "mla_absorb")
      request["rope"] = options.rope;
    return request;
  }
  if (options.kernel == "quantize")
    return {{"k", options.k}, {"in", options.in}, {"scale_format", options.scaleFormat}};
  if (options.kernel == "dequantize")
    return {{"n", options.n}, {"k", options.k}, {"out", options.out}};
  Json request = {{"n", options.n},
                  {"k", options.k},
                  {"m", options.m},
                  {"gpu", options.gpu},
                  {"out", options.out},
                  {"bias", options.bias},
                  {"accumulate", options.accumulate},
                  {"batch_invariant", options.batchInvariant}};
  if (options.kernel.starts_with("int8_"))
    request["weight_scales"] = options.weightScales;
  if (options.swiglu)
    request.update({{"out", "f8E4M3FN"}, {"swiglu", true}, {"scale_format", options.scaleFormat}});
  if (options.isGrouped())
    request.update({{"groups", options.groups}, {"layout", options.layout}, {"align", options.align}});
  return request;
}

static Json rangeJson(const PlannedRange &range, const nvvm::LaunchRecipe &recipe, const char *size) {
  Json json = Json::object();
  if (range.minM) {
    json[size] = {range.minM, range.open ? recipe.limits[abi::Dim::M].value_or(range.maxM) : range.maxM};
  }
  json["launch"] = recipe.kernel + ".json";
  if (range.choice) {
    json["predicted"] = {{size, range.maxM}, {"microseconds", 1e6 * range.choice->cost.seconds}};
    json["reason"] = range.reason;
  }
  return json;
}

static Json indexJson(const KernelOptions &options, const KernelPlan &plan, const std::vector<nvvm::CompiledKernel> &kernels) {
  Json variants = Json::array();
  for (const PlannedRange &range : plan.ranges)
    variants.push_back(rangeJson(range, kernels[range.kernel].recipe, options.sizeOfRanges()));
  return {{"format", 1},
          {"producer", "quant-compile " QUANT_VERSION},
          {"kernel", options.kernel},
          {"target", "sm_90a"},
          {"request", requestJson(options)},
          {"variants", variants}};
}

Result<KernelReport> compileKernels(const KernelOptions &options, const KernelPlan &plan) {
  auto start = std::chrono::steady_clock::now();
  KernelReport report;
  QUANT_TRY_ASSIGN(auto kernels, compileAll(plan, {options.ptxas}));
  std::map<std::string, std::string> files;
  for (const nvvm::CompiledKernel &kernel : kernels) {
    const std::string &name = kernel.recipe.kernel;
    files[name + ".json"] = kernel.recipe.toJson().dump(2) + "\n";
    files[name + ".ptx"] = kernel.artifact.ptx;
    files[name + ".mlir"] = kernel.artifact.ir;
    if (!kernel.artifact.cubin.empty())
      files[name + ".cubin"] = std::string(kernel.artifact.cubin.begin(), kernel.artifact.cubin.end());
    for (const std::string &finding : kernel.artifact.findings())
      report.notes.push_back("ptxas: " + finding);
  }
  if (kernels.front().artifact.cubin.empty())
    report.notes.push_back("no ptxas found: PTX only, which the driver compiles at load");
  report.index = indexJson(options, plan, kernels);
  files["kernels.json"] = report.index.dump(2) + "\n";
  QUANT_TRY(writeKernelFolder(options.output, files));
  for (const auto &[name, bytes] : files) {
    report.files.push_back((options.output / name).string());
    report.bytes += static_cast<int64_t>(bytes.size());
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

} // namespace quant
