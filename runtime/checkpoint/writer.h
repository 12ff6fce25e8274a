//===- writer.h - writes safetensors files and their index ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_WRITER_H
#define QUANT_RUNTIME_CHECKPOINT_WRITER_H

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/header.h"
#include "runtime/checkpoint/index.h"
#include "runtime/support/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant::checkpoint {

/// A tensor to be written.
struct TensorSpec {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
};

/// Writes one safetensors file in constant memory: all tensors are declared first, then their bytes stream in. The file appears
/// under its name at finish(), complete and on disk; without that the destructor removes what was written. Move-only.
class SafetensorsWriter {
public:
  /// Takes the disk space at once. In the file, elements of more bytes come first, so that every tensor is aligned to its
  /// element; else the order is that of `tensors`. `path` may be there (it is replaced at finish, even if it is mapped meanwhile)
  /// but not as a directory, FIFO or device. Fails on all that parseHeader refuses: names given twice, sizes that overflow, ...
  static Result<SafetensorsWriter> create(const std::filesystem::path &path, const std::vector<TensorSpec> &tensors,
                                          const std::map<std::string, std::string> &metadata = {{"format", "pt"}});
  SafetensorsWriter(SafetensorsWriter &&) noexcept = default;

  /// The next bytes of that tensor, in chunks of any size (a MiB or more is fastest). Tensors may come in any order and
  /// interleaved; appends to different tensors may run in parallel.
  Result<void> append(std::string_view tensor, std::span<const std::byte> bytes);
  /// Bytes [offset, offset + bytes.size()) of that tensor, in any order and in parallel, each byte once. A tensor is either
  /// appended to or written at positions.
  Result<void> writeAt(std::string_view tensor, uint64_t offset, std::span<const std::byte> bytes);
  /// Fails if a tensor lacks bytes. No append after this.
  Result<void> finish();

  /// What is in the file, in file order.
  const std::vector<TensorInfo> &tensors() const { return header.tensors; }
  /// Bytes of all tensors together.
  uint64_t dataBytes() const { return header.tensors.empty() ? 0 : header.tensors.back().end; }

private:
  SafetensorsWriter(std::filesystem::path path, AtomicFile file, Header header)
      : path(std::move(path)), file(std::move(file)), header(std::move(header)), written(this->header.tensors.size()) {}

  std::filesystem::path path;
  AtomicFile file;
  Header header;
  /// Bytes written so far, per tensor of the header.
  std::vector<uint64_t> written;
};

/// Writes a whole file under a temporary name and renames it, with SafetensorsWriter's promises.
Result<void> writeFileAtomically(const std::filesystem::path &path, std::span<const std::byte> bytes);
Result<void> writeFileAtomically(const std::filesystem::path &path, std::string_view text);

/// Writes `dir`/model.safetensors.index.json. `totalSize` is the bytes of all tensors. Call it after every shard's finish(): the
/// index is what makes the folder a checkpoint.
Result<void> writeIndex(const std::filesystem::path &dir, const WeightMap &weights, uint64_t totalSize);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_WRITER_H
