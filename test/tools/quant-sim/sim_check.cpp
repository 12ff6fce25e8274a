//===- sim_check.cpp - runs a kernel on generated inputs --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// sim-check KERNEL.ptx --recipe KERNEL.json --reference=fp8_gemm --m 100
//
// Fills the recipe's operands, runs the kernel in the simulator and compares what it writes with a sum in f64. Lit tests use it
// as %sim-check.
//
//===----------------------------------------------------------------------===//

#include "test/gpu/Fp8Problem.h"
#include "tools/quant-sim/api/simulator.h"

#include <CLI/CLI.hpp>

#include <cstdio>

using namespace quant;

namespace {

struct Flags {
  std::string ptx, recipe, kernel, reference = "fp8_gemm";
  int64_t m = 1, sms = 4;
  int threads = 0;
};

template <typename T>
std::span<std::byte> bytesOf(std::vector<T> &data) {
  return std::as_writable_bytes(std::span<T>(data));
}

/// Inputs by the operand's name, and what is wrong with the output.
class Reference {
public:
  virtual ~Reference() = default;
  /// The bytes of that operand, empty if the reference has none of that name.
  virtual std::span<std::byte> operand(const std::string &name) = 0;
  virtual std::string check() = 0;
  virtual std::string describe() const = 0;
};

/// D[M, N] = A[M, K] * B[N, K]^T, block-scaled (test/gpu/Fp8Problem.h); operands a, scale_a, b, scale_b, d.
class Gemm : public Reference {
public:
  Gemm(int64_t m, int64_t n, int64_t k) : problem(m, n, k, static_cast<uint64_t>(m) + 1), d(m * n, 0xffff) {}
  std::span<std::byte> operand(const std::string &name) override {
    return name == "a"         ? bytesOf(problem.a)
           : name == "b"       ? bytesOf(problem.b)
           : name == "scale_a" ? bytesOf(problem.scaleA)
           : name == "scale_b" ? bytesOf(problem.scaleB)
           : name == "d"       ? bytesOf(d)
                               : std::span<std::byte>();
  }
  std::string check() override { return problem.check(d); }
  std::string describe() const override {
    char text[160];
    std::snprintf(text, sizeof text, "%lldx%lldx%lld: %lld elements compared, largest error %.2f of the tolerance",
                  static_cast<long long>(problem.m), static_cast<long long>(problem.n), static_cast<long long>(problem.k),
                  static_cast<long long>(problem.compared), problem.worst);
    return text;
  }

private:
  test::Fp8Problem problem;
  std::vector<uint16_t> d;
};

/// The shape of operand `name`, or nothing.
std::vector<int64_t> shapeOf(const std::vector<sim::RecipeOperand> &operands, const std::string &name) {
  for (const sim::RecipeOperand &operand : operands)
    if (operand.name == name)
      return operand.shape;
  return {};
}

Result<std::unique_ptr<Reference>> makeReference(const Flags &flags, const std::vector<sim::RecipeOperand> &operands) {
  auto a = shapeOf(operands, "a"), b = shapeOf(operands, "b");
  if (a.size() != 2 || b.size() != 2 || a[1] != b[1])
    return fail("the recipe has no operands a [M, K] and b [N, K]");
  return std::make_unique<Gemm>(a[0], b[0], a[1]);
}

Result<bool> run(const Flags &flags) {
  auto files = sim::loadFiles(flags.ptx, flags.recipe, flags.kernel);
  if (!files)
    return tl::unexpected(files.error());
  const sim::Recipe &recipe = files->recipe;
  sim::Dims dims = {{abi::Dim::M, flags.m}, {abi::Dim::Sms, flags.sms}};
  auto operands = recipe.operands(dims);
  if (!operands)
    return tl::unexpected(operands.error());
  auto reference = makeReference(flags, *operands);
  if (!reference)
    return tl::unexpected(reference.error());
  std::vector<sim::Buffer> buffers;
  for (const sim::RecipeOperand &operand : *operands) {
    auto bytes = (*reference)->operand(operand.name);
    if (bytes.size() != operand.bytes)
      return fail("operand '" + operand.name + "' has " + std::to_string(operand.bytes) + " bytes, the reference's " +
                  std::to_string(bytes.size()));
    buffers.push_back({operand.name, bytes, operand.written});
  }
  auto launch = recipe.launch(dims, std::move(buffers));
  if (!launch)
    return tl::unexpected(launch.error());
  sim::Options options;
  options.threads = flags.threads;
  auto report = sim::run(*files->module, *launch, options);
  if (!report)
    return tl::unexpected(report.error());
  for (const sim::Finding &finding : report->findings)
    std::printf("%s\n\n", finding.toString().c_str());
  std::string wrong = (*reference)->check();
  std::printf("%s; %zu findings; %.2f s\n%s", (*reference)->describe().c_str(), report->findings.size(), report->seconds,
              wrong.empty() ? "" : ("WRONG: " + wrong + "\n").c_str());
  return wrong.empty() && report->findings.empty();
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app("Runs a kernel in the simulator on generated inputs and compares it with a reference.", "sim-check");
  Flags flags;
  app.add_option("ptx", flags.ptx, "the kernel's PTX")->required();
  app.add_option("--recipe", flags.recipe, "its launch recipe")->required();
  app.add_option("--kernel", flags.kernel, "which recipe of a list");
  app.add_option("--reference", flags.reference, "what it should compute")->check(CLI::IsMember({"fp8_gemm"}));
  app.add_option("--m", flags.m, "rows");
  app.add_option("--sms", flags.sms, "multiprocessors");
  app.add_option("--threads", flags.threads, "host threads; 0: all");
  CLI11_PARSE(app, argc, argv);
  auto clean = run(flags);
  if (!clean)
    std::fprintf(stderr, "sim-check: error: %s\n", clean.error().message.c_str());
  return clean && *clean ? 0 : 1;
}
