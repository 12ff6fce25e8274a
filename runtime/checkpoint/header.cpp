//===- header.cpp - the header of a safetensors file ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/header.h"

#include "runtime/checkpoint/header_sax.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <tuple>

namespace quant::checkpoint {

const TensorInfo *Header::find(std::string_view name) const {
  auto nameOf = [&](uint32_t index) -> std::string_view { return tensors[index].name; };
  auto found = std::ranges::lower_bound(byName, name, {}, nameOf);
  return found != byName.end() && nameOf(*found) == name ? &tensors[*found] : nullptr;
}

Result<uint64_t> byteSize(DType dtype, std::span<const int64_t> shape) {
  if (shape.size() > maxRank)
    return fail(fmt::format("has {} dimensions, more than {}", shape.size(), maxRank));
  uint64_t bits = static_cast<uint64_t>(bitWidth(dtype));
  bool isEmpty = false, overflows = false;
  for (int64_t dim : shape) {
    if (dim < 0)
      return fail("shape " + shapeList(shape) + " has a negative dimension");
    isEmpty |= dim == 0;
    overflows |= __builtin_mul_overflow(bits, static_cast<uint64_t>(std::max<int64_t>(dim, 1)), &bits);
  }
  if (overflows)
    return fail(fmt::format("shape {} of {} overflows 64 bits", shapeList(shape), safetensorsName(dtype)));
  if (isEmpty)
    return 0;
  if (bits % 8 != 0)
    return fail(fmt::format("shape {} of {} does not fill whole bytes", shapeList(shape), safetensorsName(dtype)));
  return bits / 8;
}

/// Sorts the names and refuses a pair of equals. Sorting, not hashing: nobody can choose names that make it slow.
static Result<void> indexNames(Header &header) {
  header.byName.resize(header.tensors.size());
  std::iota(header.byName.begin(), header.byName.end(), 0);
  auto nameOf = [&](uint32_t index) -> const std::string & { return header.tensors[index].name; };
  std::ranges::sort(header.byName, {}, nameOf);
  auto twin = std::ranges::adjacent_find(header.byName, {}, nameOf);
  if (twin != header.byName.end())
    return fail("tensor " + quote(nameOf(*twin)) + " is given twice");
  return {};
}

/// File order; empty tensors come before the one whose begin they share.
static void sortByPosition(std::vector<TensorInfo> &tensors) {
  auto key = [](const TensorInfo &tensor) { return std::tie(tensor.begin, tensor.end, tensor.name); };
  std::ranges::sort(tensors, [&](const TensorInfo &a, const TensorInfo &b) { return key(a) < key(b); });
}

/// Checks that tensors in file order cover `dataBytes` exactly.
static Result<void> checkCoverage(const std::vector<TensorInfo> &tensors, uint64_t dataBytes) {
  uint64_t covered = 0;
  const TensorInfo *previous = nullptr;
  for (const TensorInfo &tensor : tensors) {
    if (tensor.begin < covered)
      return fail(fmt::format("tensor {} at byte {} of the data overlaps tensor {}, which ends at {}", quote(tensor.name),
                              tensor.begin, quote(previous->name), covered));
    if (tensor.begin > covered)
      return fail(fmt::format("bytes {} to {} of the data, before tensor {}, belong to no tensor", covered, tensor.begin,
                              quote(tensor.name)));
    covered = tensor.end;
    previous = &tensor;
  }
  if (covered > dataBytes)
    return fail(fmt::format("truncated: tensor {} ends at byte {} of the data, but the file holds {}; download it again",
                            quote(previous->name), covered, dataBytes));
  if (covered < dataBytes)
    return fail(fmt::format("{} bytes follow the last tensor", dataBytes - covered));
  return {};
}

Result<uint64_t> parseHeaderLength(std::span<const std::byte> prefix, uint64_t fileSize) {
  if (fileSize < 8 || prefix.size() < 8)
    return fail(fmt::format("too short for a safetensors file: {} bytes, the header's length alone takes 8; download it again",
                            fileSize));
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | std::to_integer<uint64_t>(prefix[i]);
  if (length > maxHeaderBytes)
    return fail(
        fmt::format("header length {} is beyond the format's limit of {}; is this a safetensors file?", length, maxHeaderBytes));
  if (length > fileSize - 8)
    return fail(
        fmt::format("truncated: header length {} reaches beyond the file of {} bytes; download it again", length, fileSize));
  return length;
}

Result<Header> parseHeader(std::span<const std::byte> prefix, uint64_t fileSize) {
  QUANT_TRY_ASSIGN(auto length, parseHeaderLength(prefix, fileSize));
  if (prefix.size() - 8 < length)
    return fail(fmt::format("header needs {} bytes, only {} were read", length + 8, prefix.size()));
  std::string_view text(reinterpret_cast<const char *>(prefix.data()) + 8, length);
  if (!text.starts_with('{'))
    return fail(text.empty() ? "header is empty; the smallest is {}; a file of zeros is a download that did not finish"
                             : "header must begin with '{', found " + quote(text.substr(0, 1)) + "; is this a safetensors file?");
  Header header;
  header.dataBegin = 8 + length;
  try {
    HeaderHandler handler(header);
    if (auto parsed = parseSax(text, handler); !parsed)
      return tl::unexpected(parsed.error().in("header"));
    sortByPosition(header.tensors);
    QUANT_TRY(indexNames(header));
    QUANT_TRY(checkCoverage(header.tensors, fileSize - header.dataBegin));
  } catch (const std::bad_alloc &) {
    return fail(fmt::format("out of memory while reading a header of {} bytes", length));
  }
  return header;
}

} // namespace quant::checkpoint
