//===- header.h - the header of a safetensors file --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_HEADER_H
#define QUANT_RUNTIME_CHECKPOINT_HEADER_H

#include "runtime/support/dtype.h"
#include "runtime/support/result.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant::checkpoint {

/// The longest JSON header the format allows, in bytes.
inline constexpr uint64_t maxHeaderBytes = 100'000'000;

/// The most dimensions we accept: what PyTorch and NumPy 2 can hold. The format sets no limit.
inline constexpr size_t maxRank = 64;

/// One tensor of a file. The data is little-endian, row-major and dense; a rank of 0 is a scalar, a dimension of 0 no data.
struct TensorInfo {
  std::string name;
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  /// The tensor is bytes [begin, end) of the file's data section. Nothing aligns them.
  uint64_t begin = 0, end = 0;

  uint64_t bytes() const { return end - begin; }
};

/// A checked header.
struct Header {
  /// `__metadata__`, usually {"format": "pt"}.
  std::map<std::string, std::string> metadata;
  /// In file order. They cover the data section without hole or overlap.
  std::vector<TensorInfo> tensors;
  /// Indices into `tensors`, in the order of the names' bytes.
  std::vector<uint32_t> byName;
  /// Where in the file the data section begins, in bytes.
  uint64_t dataBegin = 0;

  /// The tensor of that name, or null.
  const TensorInfo *find(std::string_view name) const;
};

/// Bytes of a dense tensor. Fails on a negative dimension, on overflow (taken over the dimensions that are not 0, so that their
/// order does not matter), on too many dimensions and on sub-byte elements that do not fill whole bytes.
Result<uint64_t> byteSize(DType dtype, std::span<const int64_t> shape);

/// The length of the JSON header, from the first 8 bytes of a file of `fileSize` bytes.
Result<uint64_t> parseHeaderLength(std::span<const std::byte> prefix, uint64_t fileSize);

/// Parses and checks the header of a file of `fileSize` bytes, of which `prefix` holds at least the 8 bytes of the length and the
/// JSON. Every promise of the format holds in the result; header_test.cpp lists what is refused. Stricter than the safetensors
/// library 0.8, which takes the last of two equal keys, ignores unknown ones, and accepts `"__metadata__": null`, a NUL in a
/// name, space before the '{' and any rank. Errors do not name the file.
Result<Header> parseHeader(std::span<const std::byte> prefix, uint64_t fileSize);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_HEADER_H
