//===- MainLoopTest.cpp - what ptxas made of the GEMMs' main loops ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Gemm.h"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <unistd.h>

using namespace quant;
using namespace quant::machine;
using namespace quant::nvvm;

namespace {

/// nvcc's count for DeepGEMM's sm90_fp8_gemm_1d2d with 128 x 128 tiles, and what we allow ourselves.
constexpr double kInstructionsOfDeepGemm = 106, kMaxInstructions = 115;
/// Of INT8 and bf16, whose sums stay in wgmma's registers.
constexpr double kMaxWithoutPromotion = 48;

/// nvdisasm of PATH, CUDA_HOME or beside ptxas; empty if there is none.
std::string findDisassembler() {
  std::vector<std::filesystem::path> folders;
  if (const char *home = std::getenv("CUDA_HOME"))
    folders.push_back(std::filesystem::path(home) / "bin");
  if (auto ptxas = findPtxas())
    folders.push_back(std::filesystem::path(*ptxas).parent_path());
  std::string path = std::getenv("PATH") ? std::getenv("PATH") : "";
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    folders.push_back(path.substr(at, end - at));
    at = end + 1;
  }
  for (const std::filesystem::path &folder : folders)
    if (std::filesystem::exists(folder / "nvdisasm"))
      return folder / "nvdisasm";
  return {};
}

std::string disassemble(const std::string &tool, const std::vector<char> &cubin) {
  std::string file = testing::TempDir() + "quant-main-loop-" + std::to_string(::getpid()) + ".cubin";
  std::ofstream(file, std::ios::binary).write(cubin.data(), static_cast<std::streamsize>(cubin.size()));
  std::string text;
  if (FILE *pipe = ::popen((tool + " -c " + file).c_str(), "r")) {
    char buffer[4096];
    for (size_t size; (size = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
      text.append(buffer, size);
    ::pclose(pipe);
  }
  std::filesystem::remove(file);
  return text;
}

/// Instructions per K block of 64 rows (four wgmmas) of the shortest loop that multiplies; 0 if there is none.
double instructionsPerBlock(const std::string &sass) {
  // Of FP8, INT8 and bf16.
  static const std::regex wgmma(R"([QIH]GMMA)");
  static const std::regex label(R"(^\s*(\.L_x_\d+):.*)"), instruction(R"(^\s*/\*[0-9a-f]+\*/\s+(\S.*;).*)"),
      backEdge(R"(^@!?U?P\d+ BRA `\((\.L_x_\d+)\).*)");
  std::map<std::string, size_t> labels;
  std::vector<std::string> instructions;
  double best = 0;
  std::istringstream lines(sass);
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, label)) {
      labels[match[1]] = instructions.size();
    } else if (std::regex_match(line, match, instruction)) {
      std::string text = match[1];
      instructions.push_back(text);
      if (!std::regex_match(text, match, backEdge) || !labels.contains(match[1]))
        continue;
      size_t begin = labels[match[1]], wgmmas = 0;
      for (size_t i = begin; i < instructions.size(); ++i)
        wgmmas += std::regex_search(instructions[i], wgmma);
      double count = wgmmas ? double(instructions.size() - begin) / (double(wgmmas) / 4) : 0;
      if (wgmmas && (best == 0 || count < best))
        best = count;
    }
  }
  return best;
}

class MainLoop : public testing::TestWithParam<GemmConfig> {};

TEST_P(MainLoop, IsShort) {
  std::string tool = findDisassembler();
  auto kernel = compileGemm(GetParam());
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->artifact.findings(), std::vector<std::string>()) << kernel->artifact.ptxasLog;
  if (tool.empty() || kernel->artifact.cubin.empty()) {
    std::fprintf(stderr, "*** NO nvdisasm (or ptxas) FOUND: the main loop's instructions were not counted ***\n");
    GTEST_SKIP() << "no nvdisasm";
  }
  double count = instructionsPerBlock(disassemble(tool, kernel->artifact.cubin));
  std::printf("%s: %.2f instructions per K block of 64 rows, nvcc on DeepGEMM's kernel: %.0f; %" PRId64 " registers, %" PRId64
              " bytes of shared memory\n",
              GetParam().symbolName().c_str(), count, kInstructionsOfDeepGemm, kernel->artifact.usage.at(0).registers,
              kernel->recipe.dynamicSharedBytes);
  bool promotes = GetParam().isFp8();
  EXPECT_GT(count, promotes ? 64 + 4 : 4) << "fewer than the products need: the loop was not found";
  EXPECT_LE(count, promotes ? kMaxInstructions : kMaxWithoutPromotion);
}

using enum Multicast;
using enum GemmElement;

INSTANTIATE_TEST_SUITE_P(
    Model, MainLoop,
    testing::Values(GemmConfig{.n = 4096, .k = 7168}, GemmConfig{.n = 7168, .k = 16384}, GemmConfig{.n = 7168, .k = 2048},
                    GemmConfig{.n = 24576, .k = 1536},
                    // (K = 512 has no loop: its four blocks stand before the epilogue.)
                    GemmConfig{.n = 7168, .k = 2048, .blockM = 64}, GemmConfig{.n = 7168, .k = 2048, .blockM = 256},
                    GemmConfig{.n = 7168, .k = 2048, .multicast = a}, GemmConfig{.n = 7168, .k = 2048, .multicast = b},
                    // Loops that are not unrolled.
                    GemmConfig{.n = 7168, .k = 640}, GemmConfig{.n = 7168, .k = 640, .multicast = b},
                    GemmConfig{.n = 7168, .k = 2048, .splitK = 2}, GemmConfig{.n = 7168, .k = 2048, .multicast = a, .splitK = 2},
                    GemmConfig{.n = 4096, .k = 7168, .groups = 32}, GemmConfig{.n = 7168, .k = 2048, .blockM = 256, .groups = 32},
                    GemmConfig{.n = 4096, .k = 7168, .groups = 8, .groupLayout = GroupLayout::masked},
                    GemmConfig{.n = 2048, .k = 7168, .groups = 32, .swiglu = true},
                    GemmConfig{.n = 4096, .k = 7168, .element = i8},
                    GemmConfig{.n = 4096, .k = 7168, .blockN = 256, .element = i8},
                    GemmConfig{.n = 4096, .k = 7168, .blockM = 256, .element = i8},
                    GemmConfig{.n = 4096, .k = 7168, .blockM = 16, .swapAB = true, .element = i8},
                    GemmConfig{.n = 4096, .k = 7168, .multicast = a, .element = i8},
                    GemmConfig{.n = 4096, .k = 7168, .groups = 32, .element = i8},
                    GemmConfig{.n = 4096, .k = 7168, .element = bf16},
                    GemmConfig{.n = 4096, .k = 7168, .blockN = 256, .element = bf16},
                    GemmConfig{.n = 4096, .k = 7168, .blockM = 256, .element = bf16},
                    GemmConfig{.n = 4096, .k = 7168, .splitK = 2, .element = bf16}),
    [](const auto &info) { return info.param.symbolName().substr(5); });

} // namespace
