//===- AssembleTest.cpp - finding, running and reading ptxas -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Ptx.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace quant;
using namespace quant::nvvm;

namespace {

/// Sets (or with nullptr unsets) an environment variable for the length of a test.
class ScopedVariable {
public:
  ScopedVariable(const char *name, const char *value) : name(name) {
    if (const char *old = std::getenv(name))
      previous = old;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~ScopedVariable() { previous ? setenv(name, previous->c_str(), 1) : unsetenv(name); }

private:
  const char *name;
  std::optional<std::string> previous;
};

constexpr const char *kEmptyKernel = ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry nothing() { ret; }\n";

TEST(Assemble, WithoutPtxasThereIsPtxAlone) {
  ScopedVariable path("PATH", "/nonexistent"), home("CUDA_HOME", nullptr);
  EXPECT_EQ(findPtxas(), std::nullopt);
  auto artifact = assemble(kEmptyKernel);
  ASSERT_TRUE(artifact) << artifact.error().message;
  EXPECT_EQ(artifact->ptx, kEmptyKernel);
  EXPECT_TRUE(artifact->cubin.empty());
  EXPECT_TRUE(artifact->usage.empty());
}

TEST(Assemble, CudaHomeComesBeforePath) {
  std::filesystem::path home = testing::TempDir() + "quant-cuda-home";
  std::filesystem::create_directories(home / "bin");
  std::ofstream(home / "bin" / "ptxas") << "#!/bin/sh\n";
  std::filesystem::permissions(home / "bin" / "ptxas", std::filesystem::perms::owner_all);
  ScopedVariable variable("CUDA_HOME", home.c_str());
  EXPECT_EQ(findPtxas(), (home / "bin" / "ptxas").string());
  EXPECT_EQ(findPtxas({"/elsewhere/ptxas"}), "/elsewhere/ptxas") << "an explicit path comes first";
  std::filesystem::remove_all(home);
}

TEST(Assemble, ExplicitPathMustWork) {
  auto artifact = assemble(kEmptyKernel, {"/nonexistent/ptxas"});
  ASSERT_FALSE(artifact);
  EXPECT_NE(artifact.error().message.find("/nonexistent/ptxas"), std::string::npos) << artifact.error().message;
}

TEST(Assemble, ReadsWhatPtxasSays) {
  if (!findPtxas()) {
    std::fprintf(stderr, "*** NO ptxas FOUND: its output was not tested ***\n");
    GTEST_SKIP() << "no ptxas";
  }
  auto artifact = assemble(kEmptyKernel);
  ASSERT_TRUE(artifact) << artifact.error().message;
  ASSERT_FALSE(artifact->cubin.empty());
  EXPECT_EQ(std::string(artifact->cubin.data(), 4), "\x7f"
                                                    "ELF");
  ASSERT_EQ(artifact->usage.size(), 1u) << artifact->ptxasLog;
  EXPECT_EQ(artifact->usage[0].kernel, "nothing");
  EXPECT_GT(artifact->usage[0].registers, 0);
  EXPECT_TRUE(artifact->findings().empty());

  // Without a register cap ptxas ignores setmaxnreg, says so, and succeeds.
  auto ignored = assemble(".version 8.0\n.target sm_90a\n.address_size 64\n"
                          ".visible .entry uncapped() { setmaxnreg.inc.sync.aligned.u32 232; ret; }\n");
  ASSERT_TRUE(ignored) << ignored.error().message;
  ASSERT_EQ(ignored->findings().size(), 1u) << ignored->ptxasLog;
  EXPECT_NE(ignored->findings()[0].find("C7508"), std::string::npos);

  auto rejected = assemble(".version 8.0\n.target sm_90a\n.address_size 64\nnonsense\n");
  ASSERT_FALSE(rejected);
  EXPECT_NE(rejected.error().message.find("rejects the kernel"), std::string::npos);
  EXPECT_NE(rejected.error().message.find("line 4"), std::string::npos) << rejected.error().message;
}

TEST(Assemble, FindingsNameSpillsLocalMemoryAndSerialisedWgmma) {
  GpuArtifact artifact;
  artifact.usage = {{"clean", 168, 0, 0, 0}, {"spilling", 168, 16, 8, 12}};
  artifact.ptxasLog = "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized\n";
  EXPECT_EQ(artifact.findings(),
            (std::vector<std::string>{
                "spilling spills 8 bytes of registers", "spilling uses 16 bytes of local memory",
                "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized"}));
}

} // namespace
