//===- header.cpp - the header of a safetensors file ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/header.h"

#include "runtime/checkpoint/header_sax.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace quant::checkpoint {

const TensorInfo *Header::find(std::string_view name) const {
  auto nameOf = [&](uint32_t index) -> std::string_view { return tensors[index].name; };
  auto found = std::ranges::lower_bound(byName, name, {}, nameOf);
  return found != byName.end() && nameOf(*found) == name ? &tensors[*found] : nullptr;
}

static std::string printShape(std::span<const int64_t> shape) {
  std::string out = "[";
  for (int64_t dim : shape)
    out += (out.size() == 1 ? "" : ", ") + std::to_string(dim);
  return out + "]";
}

Result<uint64_t> byteSize(DType dtype, std::span<const int64_t> shape) {
  if (shape.size() > maxRank)
    return fail("has " + std::to_string(shape.size()) + " dimensions, more than " + std::to_string(maxRank));
  uint64_t bits = static_cast<uint64_t>(bitWidth(dtype));
  bool isEmpty = false, overflows = false;
  for (int64_t dim : shape) {
    if (dim < 0)
      return fail("shape " + printShape(shape) + " has a negative dimension");
    isEmpty |= dim == 0;
    overflows |= __builtin_mul_overflow(bits, static_cast<uint64_t>(std::max<int64_t>(dim, 1)), &bits);
  }
  if (overflows)
    return fail("shape " + printShape(shape) + " of " + std::string(safetensorsName(dtype)) + " overflows 64 bits");
  if (isEmpty)
    return 0;
  if (bits % 8 != 0)
    return fail("shape " + printShape(shape) + " of " + std::string(safetensorsName(dtype)) + " does not fill whole bytes");
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
      return fail("tensor " + quote(tensor.name) + " at byte " + std::to_string(tensor.begin) + " of the data overlaps tensor " +
                  quote(previous->name) + ", which ends at " + std::to_string(covered));
    if (tensor.begin > covered)
      return fail("bytes " + std::to_string(covered) + " to " + std::to_string(tensor.begin) + " of the data, before tensor " +
                  quote(tensor.name) + ", belong to no tensor");
    covered = tensor.end;
    previous = &tensor;
  }
  if (covered > dataBytes)
    return fail("truncated: tensor " + quote(previous->name) + " ends at byte " + std::to_string(covered) +
                " of the data, but the file holds " + std::to_string(dataBytes) + "; download it again");
  if (covered < dataBytes)
    return fail(std::to_string(dataBytes - covered) + " bytes follow the last tensor");
  return {};
}

Result<uint64_t> parseHeaderLength(std::span<const std::byte> prefix, uint64_t fileSize) {
  if (fileSize < 8 || prefix.size() < 8)
    return fail("too short for a safetensors file: " + std::to_string(fileSize) + " bytes, the header's length alone takes 8");
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | std::to_integer<uint64_t>(prefix[i]);
  if (length > maxHeaderBytes)
    return fail("header length " + std::to_string(length) + " is beyond the format's limit of " + std::to_string(maxHeaderBytes) +
                "; is this a safetensors file?");
  if (length > fileSize - 8)
    return fail("truncated: header length " + std::to_string(length) + " reaches beyond the file of " + std::to_string(fileSize) +
                " bytes; download it again");
  return length;
}

Result<Header> parseHeader(std::span<const std::byte> prefix, uint64_t fileSize) {
  auto length = parseHeaderLength(prefix, fileSize);
  if (!length)
    return tl::unexpected(length.error());
  if (prefix.size() - 8 < *length)
    return fail("header needs " + std::to_string(*length + 8) + " bytes, only " + std::to_string(prefix.size()) + " were read");
  std::string_view text(reinterpret_cast<const char *>(prefix.data()) + 8, *length);
  if (!text.starts_with('{'))
    return fail(text.empty() ? "header is empty; the smallest is {}"
                             : "header must begin with '{', found " + quote(text.substr(0, 1)) + "; is this a safetensors file?");
  Header header;
  header.dataBegin = 8 + *length;
  try {
    HeaderHandler handler(header);
    if (auto parsed = parseSax(text, handler); !parsed)
      return tl::unexpected(parsed.error().in("header"));
    sortByPosition(header.tensors);
    if (auto named = indexNames(header); !named)
      return tl::unexpected(named.error());
    if (auto covered = checkCoverage(header.tensors, fileSize - header.dataBegin); !covered)
      return tl::unexpected(covered.error());
  } catch (const std::bad_alloc &) {
    return fail("out of memory while reading a header of " + std::to_string(*length) + " bytes");
  }
  return header;
}

} // namespace quant::checkpoint
