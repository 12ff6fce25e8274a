//===- plan.h - what a conversion writes ------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A conversion is a list of files, a file a list of jobs, a job one or two tensors that are made in independent steps of a few
// megabytes. A subcommand makes the plan; engine.h runs it: in parallel, resumable, verified.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_ENGINE_PLAN_H
#define QUANT_TOOLS_QUANT_CONVERT_ENGINE_PLAN_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/writer.h"
#include "runtime/support/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant::convert {

/// Where the bytes of a step go: into a file, or beside those of a file that is verified.
class Sink {
public:
  virtual ~Sink() = default;
  /// Bytes [offset, offset + bytes.size()) of that tensor. From any thread.
  virtual Result<void> put(std::string_view tensor, uint64_t offset, std::span<const std::byte> bytes) = 0;
  /// Whether this is the first time, so that a job may count what it does.
  virtual bool isWriting() const = 0;
};

/// Makes the tensors `outputs`.
struct Job {
  std::vector<checkpoint::TensorSpec> outputs;
  /// run(0), ..., run(steps - 1), in any order and in parallel, put every byte of the outputs once. The same bytes every time.
  int64_t steps = 1;
  std::function<Result<void>(int64_t step, Sink &sink)> run;
};

/// One safetensors file.
struct OutputShard {
  std::string file;
  std::vector<Job> jobs;
  /// Called before the first step of a shard that is to be written, in the plan's order; may be empty.
  std::function<Result<void>()> prepare = {};

  /// Of all tensors, without the header.
  uint64_t bytes() const;
  std::vector<checkpoint::TensorSpec> tensors() const;
};

/// A small file beside the shards: `text`, or a copy of `source` when that is not empty.
struct SideFile {
  std::string name;
  std::string text;
  std::filesystem::path source;
};

struct Plan {
  std::string command; ///< "cast-fp8"
  /// Every option that changes what is written, and nothing else.
  std::string options;
  /// They outlive the plan.
  std::vector<const checkpoint::Checkpoint *> inputs;
  std::vector<OutputShard> shards;
  std::vector<SideFile> sideFiles;
  /// Whether model.safetensors.index.json goes with it.
  bool hasIndex = true;

  uint64_t bytes() const;
  size_t tensorCount() const;
};

/// A number that differs when the inputs (names, sizes, times, headers), the options or the files to be written do, as text.
Result<std::string> fingerprint(const Plan &plan);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_ENGINE_PLAN_H
