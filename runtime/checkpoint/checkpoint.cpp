//===- checkpoint.cpp - a folder of safetensors files ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/checkpoint.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/checkpoint/text.h"

#include <algorithm>
#include <cerrno>
#include <map>

namespace quant::checkpoint {

namespace fs = std::filesystem;

static constexpr uint64_t maxConfigBytes = 16u << 20;

static std::string fileName(const SafetensorsFile &file) { return quote(file.path().filename().native()); }

/// Whether the folder has an entry of that name; a dangling symlink is one.
static bool hasEntry(const fs::path &path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

static Result<WeightMap> readIndex(const fs::path &path) {
  auto text = readFile(path, maxHeaderBytes);
  if (!text)
    return tl::unexpected(text.error());
  auto weights = parseIndex(*text);
  if (!weights)
    return tl::unexpected(weights.error().in(printable(path.native())));
  return weights;
}

Result<Checkpoint> Checkpoint::open(const fs::path &dir) {
  struct stat status;
  if (::stat(dir.c_str(), &status) != 0)
    return tl::unexpected(errnoError(dir, "open", errno));
  if (!S_ISDIR(status.st_mode))
    return fail(printable(dir.native()) + ": is " + describeFileType(status.st_mode) + ", not the folder of a checkpoint");
  bool hasIndex = hasEntry(dir / indexFileName), hasSingle = hasEntry(dir / singleFileName);
  if (!hasIndex && !hasSingle)
    return fail(printable(dir.native()) + ": holds neither " + std::string(singleFileName) + " nor " +
                std::string(indexFileName));
  Checkpoint checkpoint;
  checkpoint.folder = dir;
  if (!hasIndex) {
    auto file = SafetensorsFile::open(dir / singleFileName);
    if (!file)
      return tl::unexpected(file.error());
    checkpoint.shards.push_back(std::move(*file));
    checkpoint.sortTensors();
    return checkpoint;
  }
  auto weights = readIndex(dir / indexFileName);
  if (!weights)
    return tl::unexpected(weights.error());
  bool namesSingle = std::ranges::any_of(*weights, [](const auto &entry) { return entry.second == singleFileName; });
  if (hasSingle && !namesSingle)
    return fail(printable(dir.native()) + ": holds both " + std::string(singleFileName) + " and an " +
                std::string(indexFileName) + " that does not name it; remove the one that is stale");
  if (auto opened = checkpoint.openShards(*weights); !opened)
    return tl::unexpected(opened.error());
  checkpoint.sortTensors();
  if (auto unique = checkpoint.checkUnique(); !unique)
    return tl::unexpected(unique.error());
  if (auto matches = checkpoint.checkIndex(*weights); !matches)
    return tl::unexpected(matches.error());
  return checkpoint;
}

Result<void> Checkpoint::openShards(const WeightMap &weights) {
  // Each file once, with the first tensor it is to hold.
  std::map<std::string_view, std::string_view> files;
  for (const auto &[tensor, file] : weights)
    files.try_emplace(file, tensor);
  shards.reserve(files.size());
  for (const auto &[name, tensor] : files) {
    if (!hasEntry(folder / name))
      return fail(printable(folder.native()) + ": shard " + quote(name) + ", which the index names for tensor " + quote(tensor) +
                  ", is missing; download it");
    auto file = SafetensorsFile::open(folder / name);
    if (!file)
      return tl::unexpected(file.error());
    shards.push_back(std::move(*file));
  }
  return {};
}

void Checkpoint::sortTensors() {
  for (const SafetensorsFile &file : shards)
    for (const TensorInfo &info : file.tensors())
      sorted.push_back({&info, &file, file.data(info)});
  std::ranges::sort(sorted, {}, [](const Tensor &tensor) -> const std::string & { return tensor.info->name; });
}

Result<void> Checkpoint::checkUnique() const {
  auto twin = std::ranges::adjacent_find(sorted, [](const Tensor &a, const Tensor &b) { return a.info->name == b.info->name; });
  if (twin != sorted.end())
    return fail(printable(folder.native()) + ": tensor " + quote(twin->info->name) + " is in two shards, " +
                fileName(*twin[0].file) + " and " + fileName(*twin[1].file));
  return {};
}

Result<void> Checkpoint::checkIndex(const WeightMap &weights) const {
  std::string index = printable((folder / indexFileName).native());
  for (const auto &[name, shard] : weights) {
    const Tensor *tensor = find(name);
    if (!tensor)
      return fail(index + ": tensor " + quote(name) + " is not in " + quote(shard) + " nor in any other shard");
    if (tensor->file->path().filename() != shard)
      return fail(index + ": tensor " + quote(name) + " is in " + fileName(*tensor->file) + ", not in " + quote(shard));
  }
  if (weights.size() == sorted.size())
    return {};
  for (const Tensor &tensor : sorted)
    if (!weights.contains(tensor.info->name))
      return fail(index + ": tensor " + quote(tensor.info->name) + " of " + fileName(*tensor.file) +
                  " is not in the index, which is stale; download it again");
  return {};
}

const Checkpoint::Tensor *Checkpoint::find(std::string_view name) const {
  auto nameOf = [](const Tensor &tensor) -> std::string_view { return tensor.info->name; };
  auto found = std::ranges::lower_bound(sorted, name, {}, nameOf);
  return found != sorted.end() && nameOf(*found) == name ? &*found : nullptr;
}

Result<nlohmann::json> Checkpoint::config() const {
  fs::path path = folder / "config.json";
  auto json = readJsonFile(path, maxConfigBytes);
  if (json && !json->is_object())
    return fail(printable(path.native()) + ": must be an object, found " + json->type_name());
  return json;
}

Result<void> Checkpoint::verifyUnchanged() const {
  for (const SafetensorsFile &file : shards)
    if (auto same = file.verifyUnchanged(); !same)
      return same;
  return {};
}

} // namespace quant::checkpoint
