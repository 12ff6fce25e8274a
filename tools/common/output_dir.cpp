//===- output_dir.cpp - the folder a checkpoint is written to -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/output_dir.h"

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/index.h"
#include "runtime/support/text.h"
#include "tools/common/units.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

using namespace quant;
namespace fs = std::filesystem;

static tl::unexpected<Error> fileError(const fs::path &path, const char *action, const std::error_code &code) {
  return fail(fmt::format("{}: cannot {}: {}", path.string(), action, code.message()));
}

Result<uint64_t> tools::freeBytes(const fs::path &path) {
  std::error_code code;
  fs::path there = fs::absolute(path, code);
  while (!fs::exists(there, code) && there.has_relative_path())
    there = there.parent_path();
  fs::space_info space = fs::space(there, code);
  if (code)
    return fileError(there, "see the free disk space", code);
  return space.available;
}

/// model.safetensors, model-00001-of-00009.safetensors, the index and a run's state; not adapter_model.safetensors.
static bool isCheckpointFile(const fs::path &path) {
  std::string name = path.filename().string();
  return name == checkpoint::indexFileName || name == tools::kRunStateFileName ||
         (name.starts_with("model") && path.extension() == ".safetensors");
}

static bool isTemporary(const fs::path &path) {
  std::error_code ignored;
  return checkpoint::isTemporaryName(path.filename().native()) && fs::is_regular_file(fs::symlink_status(path, ignored));
}

/// What is in `dir`.
static Result<std::vector<fs::path>> listFolder(const fs::path &dir) {
  std::error_code code;
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(dir, code), end; !code && it != end; it.increment(code))
    entries.push_back(it->path());
  if (code)
    return fileError(dir, "list the folder", code);
  return entries;
}

/// Bytes that replacing the checkpoint in `dir` frees are not counted: a full disk is better met early.
Result<void> tools::checkRoom(const fs::path &dir, uint64_t bytes, const std::string &flag) {
  QUANT_TRY_ASSIGN(auto available, tools::freeBytes(dir));
  if (available < bytes)
    return fail(fmt::format("{}: {} are needed, {} are free; make room or choose another {}", dir.string(),
                            tools::humanBytes(bytes), tools::humanBytes(available), flag));
  return {};
}

static Result<void> checkNotWritten(const fs::path &dir, const std::vector<fs::path> &entries, const std::string &flag) {
  for (const fs::path &entry : entries)
    if (isTemporary(entry) && checkpoint::isBeingWritten(entry))
      return fail(fmt::format("{}: another process is writing to it ({}); choose another {}", dir.string(),
                              quote(entry.filename().native()), flag));
  return {};
}

Result<void> tools::removeLeftovers(const fs::path &dir, const std::string &flag) {
  QUANT_TRY_ASSIGN(auto entries, listFolder(dir));
  QUANT_TRY(checkNotWritten(dir, entries, flag));
  std::error_code code;
  for (const fs::path &entry : entries)
    if (!code && isTemporary(entry))
      fs::remove(entry, code);
  return code ? Result<void>(fileError(dir, "remove what a killed run left", code)) : Result<void>();
}

Result<void> tools::checkOutputDir(const fs::path &dir, bool force, const std::string &flag) {
  std::error_code code;
  if (!fs::exists(dir, code))
    return {};
  if (!fs::is_directory(dir, code))
    return fail(fmt::format("{}: is not a folder; choose another {}", dir.string(), flag));
  QUANT_TRY_ASSIGN(auto entries, listFolder(dir));
  QUANT_TRY(checkNotWritten(dir, entries, flag));
  if (!force && !std::ranges::all_of(entries, isTemporary))
    return fail(
        fmt::format("{}: is not empty; choose another {}, or replace the checkpoint in it with --force", dir.string(), flag));
  return {};
}

Result<void> tools::prepareOutputDir(const fs::path &dir, uint64_t bytes, bool force, const std::string &flag) {
  std::error_code code;
  bool there = fs::exists(dir, code);
  QUANT_TRY(checkOutputDir(dir, force, flag));
  QUANT_TRY(checkRoom(dir, bytes, flag));
  if (!there) {
    fs::create_directories(dir, code);
    return code ? Result<void>(fileError(dir, "create the folder", code)) : Result<void>();
  }
  QUANT_TRY_ASSIGN(auto entries, listFolder(dir));
  // The index goes first: without it, what is left no longer claims to be whole.
  fs::remove(dir / checkpoint::indexFileName, code);
  for (const fs::path &entry : entries)
    if (!code && (isTemporary(entry) || (isCheckpointFile(entry) && !fs::is_directory(entry, code))))
      fs::remove(entry, code);
  return code ? Result<void>(fileError(dir, "remove the old checkpoint", code)) : Result<void>();
}
