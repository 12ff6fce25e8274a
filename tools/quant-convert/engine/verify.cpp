//===- verify.cpp - reads back what was written ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/engine/verify.h"

#include "tools/quant-convert/engine/steps.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <fcntl.h>

using namespace quant;
using namespace quant::convert;
using checkpoint::SafetensorsFile;

namespace {

/// Beside the bytes of a file.
class CompareSink : public Sink {
public:
  CompareSink(const SafetensorsFile &file, tools::Progress &progress) : file(file), progress(progress) {}

  Result<void> put(std::string_view tensor, uint64_t offset, std::span<const std::byte> bytes) override {
    auto there = file.data(*file.find(tensor)).subspan(offset, bytes.size());
    auto [want, found] = std::ranges::mismatch(bytes, there);
    if (want != bytes.end())
      return fail(fmt::format("{}: tensor {}: byte {} is {} on the disk, written was {}; check the disk and run again",
                              printable(file.path().native()), quote(tensor),
                              offset + static_cast<uint64_t>(want - bytes.begin()), std::to_integer<int>(*found),
                              std::to_integer<int>(*want)));
    checkpoint::doneReading(there);
    progress.add(bytes.size());
    return {};
  }
  bool isWriting() const override { return false; }

private:
  const SafetensorsFile &file;
  tools::Progress &progress;
};

} // namespace

static Result<void> checkTensors(const OutputShard &shard, const SafetensorsFile &file) {
  auto specs = shard.tensors();
  auto wrong = [&](const std::string &what) {
    return fail(fmt::format("{}: {}; run again to have it made anew", printable(file.path().native()), what));
  };
  if (specs.size() != file.tensors().size())
    return wrong(fmt::format("holds {} tensors, written were {}", file.tensors().size(), specs.size()));
  for (const checkpoint::TensorSpec &spec : specs) {
    const checkpoint::TensorInfo *info = file.find(spec.name);
    if (!info || info->dtype != spec.dtype || info->shape != spec.shape)
      return wrong("tensor " + quote(spec.name) + (info ? " has another dtype or shape" : " is missing"));
  }
  return {};
}

/// Written pages are on the disk already, the writer saw to it: forgetting them loses nothing.
static Result<void> forgetCachedPages(const std::filesystem::path &path) {
  QUANT_TRY_ASSIGN(auto file, checkpoint::openRegularFile(path));
  ::posix_fadvise(file.fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  return {};
}

Result<void> convert::verifyShard(const OutputShard &shard, const std::filesystem::path &path, unsigned threads,
                                  tools::Progress &progress) {
  QUANT_TRY(forgetCachedPages(path));
  QUANT_TRY_ASSIGN(auto file, SafetensorsFile::open(path));
  QUANT_TRY(checkTensors(shard, file));
  CompareSink sink(file, progress);
  return runSteps(shard, threads, sink);
}
