//===- writer.cpp - writes safetensors files and their index --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/writer.h"

#include "runtime/support/text.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace quant::checkpoint {

using Json = nlohmann::json;

/// `text` as a JSON string, or an error: nlohmann throws on what is not UTF-8.
static Result<std::string> jsonString(const std::string &text) {
  try {
    return Json(text).dump();
  } catch (const Json::exception &) {
    return fail(quote(text) + " is not UTF-8");
  }
}

static Result<std::string> jsonMetadata(const std::map<std::string, std::string> &metadata) {
  try {
    return Json(metadata).dump();
  } catch (const Json::exception &) {
    return fail("metadata is not UTF-8");
  }
}

/// Lays the tensors out in file order, from byte 0 of the data.
static Result<std::vector<TensorInfo>> layOut(const std::vector<TensorSpec> &specs) {
  std::vector<TensorInfo> tensors;
  tensors.reserve(specs.size());
  for (int width : {64, 32, 16, 8, 6, 4})
    for (const TensorSpec &spec : specs)
      if (bitWidth(spec.dtype) == width)
        tensors.push_back({spec.name, spec.dtype, spec.shape});
  uint64_t position = 0;
  for (TensorInfo &tensor : tensors) {
    auto bytes = byteSize(tensor.dtype, tensor.shape);
    if (!bytes)
      return tl::unexpected(bytes.error().in("tensor " + quote(tensor.name)));
    tensor.begin = position;
    if (__builtin_add_overflow(position, *bytes, &position) || position > INT64_MAX / 2)
      return fail("tensor " + quote(tensor.name) + ": the file would pass 2^62 bytes");
    tensor.end = position;
  }
  return tensors;
}

/// The first bytes of the file: the header's length and the header, padded with spaces so that the data begins at a multiple
/// of 8.
static Result<std::string> printHeader(const std::vector<TensorInfo> &tensors,
                                       const std::map<std::string, std::string> &metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    QUANT_TRY_ASSIGN(auto json, jsonMetadata(metadata));
    text += "\"__metadata__\":" + json;
  }
  for (const TensorInfo &tensor : tensors) {
    auto name = jsonString(tensor.name);
    if (!name)
      return tl::unexpected(name.error().in("tensor name"));
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}", text.size() > 1 ? "," : "", *name,
                        safetensorsName(tensor.dtype), Json(tensor.shape).dump(), tensor.begin, tensor.end);
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i)
    length[i] = static_cast<char>(text.size() >> (8 * i));
  return length + text;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path &path, const std::vector<TensorSpec> &tensors,
                                                    const std::map<std::string, std::string> &metadata) {
  std::string where = printable(path.native());
  auto layout = layOut(tensors);
  if (!layout)
    return tl::unexpected(layout.error().in(where));
  auto text = printHeader(*layout, metadata);
  if (!text)
    return tl::unexpected(text.error().in(where));
  uint64_t fileSize = text->size() + (layout->empty() ? 0 : layout->back().end);
  // What we write is what we would read: the reader's checks are the writer's.
  auto header = parseHeader(std::as_bytes(std::span(*text)), fileSize);
  if (!header)
    return tl::unexpected(header.error().in(where));
  QUANT_TRY_ASSIGN(auto file, AtomicFile::create(path));
  QUANT_TRY(file.reserve(fileSize));
  QUANT_TRY(file.writeAt(std::as_bytes(std::span(*text)), 0));
  return SafetensorsWriter(path, std::move(file), std::move(*header));
}

Result<void> SafetensorsWriter::append(std::string_view name, std::span<const std::byte> bytes) {
  auto context = [&] { return fmt::format("{}: tensor {}", printable(path.native()), quote(name)); };
  if (!file.isOpen())
    return fail(context() + ": bytes come after the file was finished");
  const TensorInfo *tensor = header.find(name);
  if (!tensor)
    return fail(context() + " was not declared");
  uint64_t &done = written[static_cast<size_t>(tensor - header.tensors.data())];
  if (bytes.size() > tensor->bytes() - done)
    return fail(fmt::format("{} takes {} bytes, given {} and then {}", context(), tensor->bytes(), done, bytes.size()));
  QUANT_TRY(file.writeAt(bytes, header.dataBegin + tensor->begin + done));
  done += bytes.size();
  return {};
}

Result<void> SafetensorsWriter::writeAt(std::string_view name, uint64_t offset, std::span<const std::byte> bytes) {
  auto context = [&] { return fmt::format("{}: tensor {}", printable(path.native()), quote(name)); };
  if (!file.isOpen())
    return fail(context() + ": bytes come after the file was finished");
  const TensorInfo *tensor = header.find(name);
  if (!tensor)
    return fail(context() + " was not declared");
  if (offset > tensor->bytes() || bytes.size() > tensor->bytes() - offset)
    return fail(fmt::format("{} takes {} bytes, given {} at byte {}", context(), tensor->bytes(), bytes.size(), offset));
  QUANT_TRY(file.writeAt(bytes, header.dataBegin + tensor->begin + offset));
  std::atomic_ref(written[static_cast<size_t>(tensor - header.tensors.data())]) += bytes.size();
  return {};
}

Result<void> SafetensorsWriter::finish() {
  if (!file.isOpen())
    return fail(printable(path.native()) + ": is finished already");
  for (size_t i = 0; i < written.size(); ++i)
    if (written[i] != header.tensors[i].bytes())
      return fail(fmt::format("{}: tensor {} takes {} bytes, given only {}", printable(path.native()),
                              quote(header.tensors[i].name), header.tensors[i].bytes(), written[i]));
  return file.commit();
}

Result<void> writeFileAtomically(const std::filesystem::path &path, std::span<const std::byte> bytes) {
  QUANT_TRY_ASSIGN(auto file, AtomicFile::create(path));
  QUANT_TRY(file.reserve(bytes.size()));
  QUANT_TRY(file.writeAt(bytes, 0));
  return file.commit();
}

Result<void> writeFileAtomically(const std::filesystem::path &path, std::string_view text) {
  return writeFileAtomically(path, std::as_bytes(std::span(text)));
}

Result<void> writeIndex(const std::filesystem::path &dir, const WeightMap &weights, uint64_t totalSize) {
  std::filesystem::path path = dir / indexFileName;
  for (const auto &[tensor, file] : weights)
    if (!isPlainFileName(file))
      return fail(fmt::format("{}: tensor {} is in {}, which is not a plain file name", printable(path.native()), quote(tensor),
                              quote(file)));
  std::string text;
  try {
    text = Json{{"metadata", {{"total_size", totalSize}}}, {"weight_map", weights}}.dump(2) + "\n";
  } catch (const Json::exception &) {
    return fail(printable(path.native()) + ": a name in the weight map is not UTF-8");
  }
  return writeFileAtomically(path, text);
}

} // namespace quant::checkpoint
