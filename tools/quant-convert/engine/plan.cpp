//===- plan.cpp - what a conversion writes --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/engine/plan.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <cerrno>
#include <sys/stat.h>

using namespace quant;
using namespace quant::convert;
using checkpoint::TensorSpec;

uint64_t OutputShard::bytes() const {
  uint64_t sum = 0;
  for (const Job &job : jobs)
    for (const TensorSpec &tensor : job.outputs)
      sum += checkpoint::byteSize(tensor.dtype, tensor.shape).value_or(0); // the writer refuses what overflows
  return sum;
}

std::vector<TensorSpec> OutputShard::tensors() const {
  std::vector<TensorSpec> all;
  for (const Job &job : jobs)
    all.insert(all.end(), job.outputs.begin(), job.outputs.end());
  return all;
}

uint64_t Plan::bytes() const {
  uint64_t sum = 0;
  for (const OutputShard &shard : shards)
    sum += shard.bytes();
  return sum;
}

size_t Plan::tensorCount() const {
  size_t sum = 0;
  for (const OutputShard &shard : shards)
    for (const Job &job : shard.jobs)
      sum += job.outputs.size();
  return sum;
}

//===----------------------------------------------------------------------===//
// Fingerprint
//===----------------------------------------------------------------------===//

namespace {

/// FNV-1a (Fowler, Noll, Vo), 64 bits, over numbers and texts with their lengths.
class Hash {
public:
  void add(uint64_t number) {
    for (int i = 0; i < 8; ++i)
      mix(static_cast<uint8_t>(number >> (8 * i)));
  }
  void add(std::string_view text) {
    add(uint64_t(text.size()));
    for (char c : text)
      mix(static_cast<uint8_t>(c));
  }
  void add(std::string_view name, DType dtype, std::span<const int64_t> shape) {
    add(name);
    add(safetensorsName(dtype));
    add(uint64_t(shape.size()));
    for (int64_t size : shape)
      add(static_cast<uint64_t>(size));
  }
  std::string text() const { return fmt::format("{:016x}", state); }

private:
  void mix(uint8_t byte) { state = (state ^ byte) * 0x100000001B3; }

  uint64_t state = 0xCBF29CE484222325;
};

} // namespace

static Result<void> addInput(Hash &hash, const checkpoint::SafetensorsFile &file) {
  struct stat status;
  if (::stat(file.path().c_str(), &status) != 0)
    return tl::unexpected(checkpoint::errnoError(file.path(), "stat", errno));
  hash.add(file.path().filename().native());
  hash.add(static_cast<uint64_t>(status.st_size));
  hash.add(static_cast<uint64_t>(status.st_mtim.tv_sec));
  hash.add(static_cast<uint64_t>(status.st_mtim.tv_nsec));
  for (const checkpoint::TensorInfo &tensor : file.tensors()) {
    hash.add(tensor.name, tensor.dtype, tensor.shape);
    hash.add(tensor.begin);
  }
  return {};
}

Result<std::string> convert::fingerprint(const Plan &plan) {
  Hash hash;
  hash.add(std::string_view("quant-convert 1"));
  hash.add(plan.command);
  hash.add(plan.options);
  for (const checkpoint::Checkpoint *input : plan.inputs)
    for (const checkpoint::SafetensorsFile &file : input->files())
      QUANT_TRY(addInput(hash, file));
  for (const OutputShard &shard : plan.shards) {
    hash.add(shard.file);
    for (const Job &job : shard.jobs)
      for (const TensorSpec &tensor : job.outputs)
        hash.add(tensor.name, tensor.dtype, tensor.shape);
  }
  return hash.text();
}
