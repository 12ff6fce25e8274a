//===- read_around_test.cpp - of a large file only what is looked at ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Scales, norms and shapes are some KB every few MB of a checkpoint. A page fault in a mapping reads what lies around it, too,
// and would bring most of the weights into memory. The files here are holes, which the system reads as it reads any other.
//
//===----------------------------------------------------------------------===//

#include "run_convert.h"

#include <fcntl.h>
#include <sys/mman.h>

using namespace quant;
using namespace quant::test;
namespace fs = std::filesystem;

namespace {

/// The bytes of the file that are in memory, whoever brought them there.
uint64_t residentBytes(const fs::path &path) {
  uint64_t size = fs::file_size(path), page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  checkpoint::FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void *address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  EXPECT_NE(address, MAP_FAILED);
  std::vector<unsigned char> pages((size + page - 1) / page);
  EXPECT_EQ(::mincore(address, size, pages.data()), 0);
  ::munmap(address, size);
  return static_cast<uint64_t>(std::ranges::count_if(pages, [](unsigned char flags) { return flags & 1; })) * page;
}

/// The pages of the small tensors, two at least where nothing aligns them, and 2 MB for the header.
uint64_t allowedBytes(const std::vector<checkpoint::TensorSpec> &tensors) {
  uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)), sum = 2 << 20;
  for (const checkpoint::TensorSpec &tensor : tensors)
    if (uint64_t bytes = *checkpoint::byteSize(tensor.dtype, tensor.shape); bytes < 1 << 20)
      sum += (bytes / page + 2) * page;
  return sum;
}

/// 4.4 GB: an expert's FP8 weight, its scale, and a norm, a hundred times three.
std::vector<checkpoint::TensorSpec> fp8Experts() {
  std::vector<checkpoint::TensorSpec> tensors;
  for (int expert = 0; expert < 100; ++expert) {
    std::string layer = "model.layers." + std::to_string(expert);
    tensors.push_back({layer + ".input_layernorm.weight", DType::BF16, {7168}});
    for (const char *part : {"gate_proj", "up_proj", "down_proj"}) {
      std::string weight = "model.layers.1.mlp.experts." + std::to_string(expert) + "." + part + ".weight";
      bool down = weight.find("down") != weight.npos;
      tensors.push_back({weight, DType::F8E4M3FN, down ? std::vector<int64_t>{7168, 2048} : std::vector<int64_t>{2048, 7168}});
      tensors.push_back({weight + "_scale_inv", DType::F32, down ? std::vector<int64_t>{56, 16} : std::vector<int64_t>{16, 56}});
    }
  }
  return tensors;
}

/// 2.2 GB: INT4 as Kimi-K2-Thinking has it, with the shape of each in 16 bytes.
std::vector<checkpoint::TensorSpec> int4Experts() {
  std::vector<checkpoint::TensorSpec> tensors;
  for (int expert = 0; expert < 300; ++expert) {
    std::string weight = "model.layers.1.mlp.experts." + std::to_string(expert) + ".up_proj.weight";
    tensors.push_back({weight + "_packed", DType::I32, {2048, 896}});
    tensors.push_back({weight + "_shape", DType::I64, {2}});
    tensors.push_back({weight + "_scale", DType::BF16, {2048, 1}});
  }
  return tensors;
}

/// What `quant-convert ARGUMENTS` brings of the file into memory; `code` is its exit code.
void expectReadsLittle(const std::vector<checkpoint::TensorSpec> &tensors, const std::string &before, const std::string &behind,
                       int code) {
  TestDir dir;
  fs::create_directories(dir / "in");
  fs::path file = dir / "in" / "model.safetensors";
  writeHoles(file, tensors);
  Outcome outcome = runConvert(dir, before + (dir / "in").string() + " " + behind);
  EXPECT_EQ(outcome.code, code) << outcome.err;
  EXPECT_LT(residentBytes(file), allowedBytes(tensors)) << before;
}

TEST(ReadAround, InspectTakesScalesAndNorms) {
  expectReadsLittle(fp8Experts(), "inspect ", "", 0);
  expectReadsLittle(int4Experts(), "inspect ", "", 1); // zeros are no shape: each was looked at
}

TEST(ReadAround, ConversionsCheckScalesAndNormsBeforehand) {
  expectReadsLittle(fp8Experts(), "cast-bf16 --dry-run --output-bf16-hf-path /nowhere --input-fp8-hf-path ", "", 0);
  expectReadsLittle(fp8Experts(), "shard --dry-run --save-path /nowhere --n-experts 100 --model-parallel 4 --hf-ckpt-path ", "",
                    0);
  expectReadsLittle(fp8Experts(), "cast-fp8 --input-fp8-hf-path ", "> /dev/null", 0); // the list of weights
}

} // namespace
