//===- host_test.cpp - code, memory and CPU features ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/host/code_image.h"
#include "runtime/device/host/session.h"

#include "toy_model.h"

#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sstream>

namespace quant::runtime::test {
namespace {

/// Flags of the first CPU as Linux prints them.
std::set<std::string> procCpuinfoFlags() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("flags")) {
      std::istringstream words(line.substr(line.find(':') + 1));
      return {std::istream_iterator<std::string>(words), {}};
    }
  return {};
}

TEST(CpuFeatures, AgreesWithLinux) {
  std::set<std::string> flags = procCpuinfoFlags();
  for (const char *name : {"sse4_2",      "popcnt",      "fma",         "avx",      "f16c",     "bmi1",     "avx2",
                           "bmi2",        "avx_vnni",    "avx512f",     "avx512dq", "avx512bw", "avx512vl", "avx512vbmi",
                           "avx512_vnni", "avx512_fp16", "avx512_bf16", "gfni",     "amx_tile", "amx_bf16", "amx_int8"})
    EXPECT_EQ(CpuFeatures::host().has(name), flags.contains(name)) << name;
  EXPECT_EQ(CpuFeatures::host().missing({"sse4_2", "warp_drive"}), std::vector<std::string>{"warp_drive"});
}

TEST(SelectObject, TakesTheFirstThatRuns) {
  Target target;
  target.objects.resize(3);
  target.objects[0] = {.isa = "amx", .section = {}, .features = {"avx512f", "amx_tile"}, .entries = {}, .image = {}};
  target.objects[1] = {.isa = "avx512", .section = {}, .features = {"avx512f"}, .entries = {}, .image = {}};
  target.objects[2] = {.isa = "avx2", .section = {}, .features = {"avx2", "fma"}, .entries = {}, .image = {}};
  CpuFeatures genoa({"avx2", "fma", "avx512f"}), haswell({"avx2", "fma"}), none({"avx2"});
  EXPECT_EQ(selectObject(target, "", genoa).value()->isa, "avx512");
  EXPECT_EQ(selectObject(target, "avx2", genoa).value()->isa, "avx2");
  EXPECT_EQ(selectObject(target, "", haswell).value()->isa, "avx2");
  EXPECT_EQ(selectObject(target, "amx", genoa).error().message,
            "isa 'amx' cannot run here: the CPU or the system lacks amx_tile");
  EXPECT_EQ(selectObject(target, "", none).error().message,
            "the module has no code that this CPU and system can run: 'amx' needs avx512f, amx_tile; 'avx512' needs avx512f; "
            "'avx2' needs fma");
}

/// Code may be executed and not written.
TEST(CodeImage, IsLoaded) {
  std::string bytes(4096, 'd');
  // mov [rdx], r8; ret: scratch[0] = end.
  bytes += std::string("\x4c\x89\x02\xc3", 4);
  CodeObject object = {
      .isa = "x", .section = {}, .features = {}, .textOffset = 4096, .textBytes = 4, .entries = {4096}, .image = bytesOf(bytes)};
  Result<CodeImage> image = CodeImage::load(object);
  ASSERT_TRUE(image) << image.error().message;
  int64_t scratch = 0;
  image->kernel(4096)(nullptr, nullptr, &scratch, 0, 42);
  EXPECT_EQ(scratch, 42);
  EXPECT_EQ(*reinterpret_cast<const char *>(image->kernel(0)), 'd');
}

/// The permissions of the mapping that holds `address`, as in /proc/self/maps: "r-xp".
std::string permissionsAt(const void *address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char permissions[5] = {};
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end, permissions) == 3 &&
        begin <= reinterpret_cast<uintptr_t>(address) && reinterpret_cast<uintptr_t>(address) < end)
      return permissions;
  }
  return "none";
}

/// No page of the process can be written and executed, before or after code is loaded.
TEST(CodeImage, IsNeverWritableAndExecutable) {
  std::string bytes(3 * 4096, 'd');
  CodeObject object = {.isa = "x",
                       .section = {},
                       .features = {},
                       .textOffset = 4096,
                       .textBytes = 8192,
                       .entries = {4096},
                       .image = bytesOf(bytes)};
  Result<CodeImage> image = CodeImage::load(object);
  ASSERT_TRUE(image) << image.error().message;
  for (int64_t page = 0; page < 3; ++page)
    EXPECT_EQ(permissionsAt(reinterpret_cast<const void *>(image->kernel(page * 4096))), page == 0 ? "r--p" : "r-xp") << page;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    EXPECT_EQ(line.find(" rwx"), std::string::npos) << line;
}

TEST(Memory, IsZeroedAndAligned) {
  Memory memory = Memory::allocate(100, "test").value();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % 4096, 0u);
  EXPECT_EQ(memory.data()[99], std::byte{0});
  EXPECT_EQ(Memory::allocate(0, "test").value().data(), nullptr);
  Result<Memory> huge = Memory::allocate(INT64_MAX, "test");
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.error().message, "cannot reserve 9223372036854775807 bytes for the test: Cannot allocate memory");
  EXPECT_EQ(huge.error().kind, ErrorKind::OutOfMemory);
}

/// run() checks its dims: what the C API never passes.
TEST(HostSession, RefusesDims) {
  ToyModel toy;
  auto module = std::make_shared<const Module>(openModule(toy.module()).value());
  auto weights = std::make_shared<const checkpoint::Checkpoint>(checkpoint::Checkpoint::open(toy.weights()).value());
  const Target &target = *module->find("host");
  auto session = HostSession::create(module, target, {.threads = 1, .context = 8, .isa = {}}).value();
  ASSERT_TRUE(session->load(weights));
  EXPECT_TRUE(session->run({4, 4, 4, 64}));
  EXPECT_EQ(session->run({0, 1, 0, 64}).error().message, "tokens is 0, not 1 to 4");
  EXPECT_EQ(session->run({5, 1, 0, 64}).error().message, "tokens is 5, not 1 to 4");
  EXPECT_EQ(session->run({4, 5, 0, 64}).error().message, "sequences is 5, not 1 to 4");
  EXPECT_EQ(session->run({2, 1, 3, 64}).error().message, "outputs is 3, not 0 to 2");
  EXPECT_EQ(session->run({2, 1, 0, 32}).error().message, "context is 32, not 64 to 64");
  EXPECT_EQ(session->buffer("hidden"), nullptr);
  EXPECT_FALSE(HostSession::create(module, target, {.threads = 1, .context = 257, .isa = {}}));
}

} // namespace
} // namespace quant::runtime::test
