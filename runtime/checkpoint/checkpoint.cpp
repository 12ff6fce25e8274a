//===- checkpoint.cpp - a folder of safetensors files ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/checkpoint.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/checkpoint/other_file.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

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

/// A folder of shards whose index did not arrive.
static bool hasShards(const fs::path &dir) {
  std::error_code ignored;
  for (fs::directory_iterator entry(dir, ignored), end; !ignored && entry != end; entry.increment(ignored))
    if (entry->path().extension() == ".safetensors")
      return true;
  return false;
}

static Result<WeightMap> readIndex(const fs::path &path) {
  QUANT_TRY_ASSIGN(auto text, readFile(path, maxHeaderBytes));
  auto weights = parseIndex(text);
  if (std::string_view other = describeOtherFile(text); !weights && !other.empty())
    return fail(printable(path.native()) + ": " + std::string(other));
  if (!weights)
    return tl::unexpected(weights.error().in(printable(path.native())));
  return weights;
}

Result<Checkpoint> Checkpoint::open(const fs::path &dir) {
  struct stat status;
  if (::stat(dir.c_str(), &status) != 0)
    return tl::unexpected(errnoError(dir, "open", errno));
  if (!S_ISDIR(status.st_mode))
    return fail(
        fmt::format("{}: is {}, not the folder of a checkpoint", printable(dir.native()), describeFileType(status.st_mode)));
  bool hasIndex = hasEntry(dir / indexFileName), hasSingle = hasEntry(dir / singleFileName);
  if (!hasIndex && !hasSingle)
    return fail(fmt::format("{}: holds neither {} nor {}{}", printable(dir.native()), singleFileName, indexFileName,
                            hasShards(dir) ? ", which says what is in the other .safetensors files; download it" : ""));
  Checkpoint checkpoint;
  checkpoint.folder = dir;
  if (!hasIndex) {
    QUANT_TRY_ASSIGN(auto file, SafetensorsFile::open(dir / singleFileName));
    checkpoint.shards.push_back(std::move(file));
    checkpoint.sortTensors();
    return checkpoint;
  }
  QUANT_TRY_ASSIGN(auto weights, readIndex(dir / indexFileName));
  bool namesSingle = std::ranges::any_of(weights, [](const auto &entry) { return entry.second == singleFileName; });
  if (hasSingle && !namesSingle)
    return fail(fmt::format("{}: holds both {} and an {} that does not name it; remove the one that is stale",
                            printable(dir.native()), singleFileName, indexFileName));
  QUANT_TRY(checkpoint.openShards(weights));
  checkpoint.sortTensors();
  checkpoint.dropReplaced(weights);
  QUANT_TRY(checkpoint.checkUnique());
  QUANT_TRY(checkpoint.checkIndex(weights));
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
      return fail(fmt::format("{}: shard {}, which the index names for tensor {}, is missing; download it",
                              printable(folder.native()), quote(name), quote(tensor)));
    QUANT_TRY_ASSIGN(auto file, SafetensorsFile::open(folder / name));
    shards.push_back(std::move(file));
  }
  return {};
}

void Checkpoint::sortTensors() {
  for (const SafetensorsFile &file : shards)
    for (const TensorInfo &info : file.tensors())
      sorted.push_back({&info, &file, file.data(info)});
  std::ranges::sort(sorted, {}, [](const Tensor &tensor) -> const std::string & { return tensor.info->name; });
}

void Checkpoint::dropReplaced(const WeightMap &weights) {
  auto isIndexed = [&](const Tensor &tensor) {
    auto entry = weights.find(tensor.info->name);
    return entry != weights.end() && entry->second == tensor.file->path().filename().native();
  };
  if (static_cast<size_t>(std::ranges::count_if(sorted, isIndexed)) != weights.size())
    return; // the index is wrong about something; who knows what is old?
  std::erase_if(sorted, [&](const Tensor &tensor) { return weights.contains(tensor.info->name) && !isIndexed(tensor); });
}

Result<void> Checkpoint::checkUnique() const {
  auto twin = std::ranges::adjacent_find(sorted, [](const Tensor &a, const Tensor &b) { return a.info->name == b.info->name; });
  if (twin != sorted.end())
    return fail(fmt::format("{}: tensor {} is in two shards, {} and {}", printable(folder.native()), quote(twin->info->name),
                            fileName(*twin[0].file), fileName(*twin[1].file)));
  return {};
}

Result<void> Checkpoint::checkIndex(const WeightMap &weights) const {
  std::string index = printable((folder / indexFileName).native());
  for (const auto &[name, shard] : weights) {
    const Tensor *tensor = find(name);
    if (!tensor)
      return fail(fmt::format("{}: tensor {} is not in {} nor in any other shard", index, quote(name), quote(shard)));
    if (tensor->file->path().filename() != shard)
      return fail(fmt::format("{}: tensor {} is in {}, not in {}", index, quote(name), fileName(*tensor->file), quote(shard)));
  }
  if (weights.size() == sorted.size())
    return {};
  for (const Tensor &tensor : sorted)
    if (!weights.contains(tensor.info->name))
      return fail(fmt::format("{}: tensor {} of {} is not in the index, which is stale; download it again", index,
                              quote(tensor.info->name), fileName(*tensor.file)));
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
    return fail(fmt::format("{}: must be an object, found {}", printable(path.native()), json->type_name()));
  return json;
}

Result<void> Checkpoint::verifyUnchanged() const {
  for (const SafetensorsFile &file : shards)
    QUANT_TRY(file.verifyUnchanged());
  return {};
}

} // namespace quant::checkpoint
