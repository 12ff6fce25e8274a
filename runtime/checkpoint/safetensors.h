//===- safetensors.h - a memory-mapped safetensors file ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_SAFETENSORS_H
#define QUANT_RUNTIME_CHECKPOINT_SAFETENSORS_H

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/header.h"
#include "runtime/checkpoint/lost_pages.h"
#include "runtime/support/result.h"

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant::checkpoint {

/// A safetensors file, checked at open and mapped read-only; pages come in as they are touched. Move-only; moving it keeps every
/// TensorInfo and every span valid, destroying it unmaps the data.
///
/// The file must not be changed while it is open: a truncated one raises SIGBUS at the next touch of a lost page (see
/// exitOnLostPages()), an overwritten one shows new bytes. Replacing it by rename, as our writer does, is safe: the mapping keeps
/// the old file. verifyUnchanged() tells after the fact.
class SafetensorsFile {
public:
  /// Opens a regular file, through symlinks. Errors begin with the path.
  static Result<SafetensorsFile> open(const std::filesystem::path &path);
  SafetensorsFile(SafetensorsFile &&other) noexcept;
  SafetensorsFile &operator=(SafetensorsFile &&) = delete;
  ~SafetensorsFile();

  const std::filesystem::path &path() const { return filePath; }
  /// In file order.
  const std::vector<TensorInfo> &tensors() const { return header.tensors; }
  const std::map<std::string, std::string> &metadata() const { return header.metadata; }
  /// The tensor of that name, or null. Takes O(log n).
  const TensorInfo *find(std::string_view name) const { return header.find(name); }
  /// The tensor's bytes, at any alignment. `tensor` must be one of this file's. The span lives as long as this object.
  std::span<const std::byte> data(const TensorInfo &tensor) const {
    return mapping.subspan(header.dataBegin + tensor.begin, tensor.bytes());
  }
  /// Fails if the file's size or modification time is not what it was at open. One fstat.
  Result<void> verifyUnchanged() const;

private:
  SafetensorsFile(std::filesystem::path path, OpenFile file, Header header, std::span<const std::byte> mapping)
      : filePath(std::move(path)), file(std::move(file)), header(std::move(header)), mapping(mapping),
        watched(watchMapping(filePath, mapping)) {}

  std::filesystem::path filePath;
  OpenFile file;
  Header header;
  /// The whole file, from mmap.
  std::span<const std::byte> mapping;
  WatchedMapping *watched;
};

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_SAFETENSORS_H
