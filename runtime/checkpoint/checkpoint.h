//===- checkpoint.h - a folder of safetensors files -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_CHECKPOINT_H
#define QUANT_RUNTIME_CHECKPOINT_CHECKPOINT_H

#include "runtime/checkpoint/index.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace quant::checkpoint {

/// A Hugging Face folder: config.json, and either model.safetensors or model.safetensors.index.json with its shards. Move-only;
/// moving it keeps every pointer and span valid, destroying it unmaps the files.
class Checkpoint {
public:
  /// One tensor, its file and its bytes, all owned by the Checkpoint.
  struct Tensor {
    const TensorInfo *info;
    const SafetensorsFile *file;
    std::span<const std::byte> data;
  };

  /// Opens every shard and checks that the index and the shards name the same tensors. A tensor that is in several shards is the
  /// one of the file that the index names, if the index is right about all tensors (edited models: base shards and an overlay);
  /// else it is an error. Files of the folder that the index does not name are left alone. Symlinks, as in the Hugging Face
  /// cache, are followed.
  static Result<Checkpoint> open(const std::filesystem::path &dir);

  const std::filesystem::path &dir() const { return folder; }
  /// The tensor of that name, or null. Takes O(log n).
  const Tensor *find(std::string_view name) const;
  /// All tensors, in the order of their names' bytes.
  const std::vector<Tensor> &tensors() const { return sorted; }
  /// The files, in the order of their names. They may hold old copies: a tensor counts if find() says that it is of that file.
  const std::vector<SafetensorsFile> &files() const { return shards; }
  /// config.json, read anew: an object. Refused: more than 16 MiB, and what parseJsonStrict refuses.
  Result<nlohmann::json> config() const;
  /// SafetensorsFile::verifyUnchanged of every file.
  Result<void> verifyUnchanged() const;

private:
  Checkpoint() = default;
  Result<void> openShards(const WeightMap &weights);
  void sortTensors();
  /// Leaves out the old copies of tensors, where every tensor of the index is in the file that it names.
  void dropReplaced(const WeightMap &weights);
  Result<void> checkUnique() const;
  Result<void> checkIndex(const WeightMap &weights) const;

  std::filesystem::path folder;
  std::vector<SafetensorsFile> shards;
  std::vector<Tensor> sorted;
};

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_CHECKPOINT_H
