//===- tensor_source.h - a checkpoint or one of its files -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_TENSOR_SOURCE_H
#define QUANT_TOOLS_COMMON_TENSOR_SOURCE_H

#include "runtime/checkpoint/checkpoint.h"

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace quant::tools {

/// What a user names on a command line to read tensors from: the folder of a checkpoint, with or without config.json, or a single
/// .safetensors file. Move-only; moving it keeps every pointer and span valid.
class TensorSource {
public:
  using Tensor = checkpoint::Checkpoint::Tensor;

  static Result<TensorSource> open(const std::filesystem::path &path);

  const std::filesystem::path &path() const { return where; }
  /// Where config.json is looked for: the folder, or the file's folder.
  std::filesystem::path configPath() const;
  bool isSingleFile() const { return !whole; }
  /// In the order of the names' bytes.
  const std::vector<Tensor> &tensors() const { return whole ? whole->tensors() : sorted; }
  /// The tensor of that name, or null. Takes O(log n).
  const Tensor *find(std::string_view name) const;
  size_t files() const { return whole ? whole->files().size() : 1; }
  /// Fails if a file was written to since it was opened.
  Result<void> verifyUnchanged() const;

private:
  std::filesystem::path where;
  std::optional<checkpoint::Checkpoint> whole;
  std::unique_ptr<checkpoint::SafetensorsFile> single;
  std::vector<Tensor> sorted;
};

/// Calls work(0) .. work(tensors.size() - 1) from at most `threads` threads; 0 is one per core. The bytes of the tensor of that
/// number are read ahead by then, none around them, and given back afterwards: for small tensors scattered among large ones.
void forScattered(std::span<const TensorSource::Tensor *const> tensors, unsigned threads,
                  const std::function<void(size_t)> &work);

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_TENSOR_SOURCE_H
