//===- run_state.cpp - what a killed run left, and whether it fits --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/engine/run_state.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/support/text.h"
#include "tools/common/output_dir.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;
namespace fs = std::filesystem;

static constexpr uint64_t kMaxStateBytes = 64 << 20;

/// What files take beside their tensors: headers of about 200 bytes a tensor, the index, the state.
static uint64_t overhead(size_t tensors) { return tensors * 512 + (1 << 20); }

fs::path RunState::path() const { return dir / tools::kRunStateFileName; }

Result<RunState::Stamp> RunState::stamp(const fs::path &file) {
  struct stat status;
  if (::lstat(file.c_str(), &status) != 0)
    return tl::unexpected(checkpoint::errnoError(file, "stat", errno));
  if (!S_ISREG(status.st_mode))
    return fail(fmt::format("{}: is {}", printable(file.native()), checkpoint::describeFileType(status.st_mode)));
  return Stamp{static_cast<uint64_t>(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

Result<void> RunState::lock(const std::string &flag) {
  folder = checkpoint::FileDescriptor(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder)
    return tl::unexpected(checkpoint::errnoError(dir, "open", errno));
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return fail(
        fmt::format("{}: another process is writing to it; wait for it or choose another {}", printable(dir.native()), flag));
  return {};
}

Result<void> RunState::write() const {
  json shards = json::object();
  for (const auto &[file, stamp] : done)
    shards[file] = {stamp.bytes, stamp.seconds, stamp.nanoseconds};
  json state = {{"command", command}, {"fingerprint", fingerprint}, {"done", shards}};
  return checkpoint::writeFileAtomically(path(), state.dump() + "\n");
}

Result<void> RunState::read(const std::string &flag) {
  std::string wayOut = "; choose another " + flag + " or start over with --force";
  auto state = checkpoint::readJsonFile(path(), kMaxStateBytes);
  if (!state)
    return fail(state.error().message + wayOut);
  try {
    if (state->at("fingerprint").get<std::string>() != fingerprint)
      return fail(fmt::format("{}: holds an unfinished run of {} with other inputs or options; finish it with those{}",
                              printable(dir.native()), quote(state->at("command").get<std::string>()), wayOut));
    for (const auto &[file, stamp] : state->at("done").items())
      done[file] = {stamp.at(0).get<uint64_t>(), stamp.at(1).get<int64_t>(), stamp.at(2).get<int64_t>()};
  } catch (const json::exception &) {
    return fail(fmt::format("{}: is not the state of a run{}", printable(path().native()), wayOut));
  }
  return {};
}

Result<void> RunState::resume(const Plan &plan, const std::string &flag) {
  QUANT_TRY(read(flag));
  QUANT_TRY(tools::removeLeftovers(dir, flag));
  uint64_t missing = overhead(plan.tensorCount());
  for (const OutputShard &shard : plan.shards)
    missing += isDone(shard.file) ? 0 : shard.bytes();
  QUANT_TRY(tools::checkRoom(dir, missing, flag));
  // A folder with an index claims to be whole.
  std::error_code code;
  fs::remove(dir / checkpoint::indexFileName, code);
  return code ? Result<void>(fail(fmt::format("{}: cannot remove the old index: {}", printable(dir.native()), code.message())))
              : Result<void>();
}

Result<RunState> RunState::begin(const Plan &plan, const fs::path &dir, const std::string &flag, bool force) {
  QUANT_TRY_ASSIGN(auto print, convert::fingerprint(plan));
  RunState state(dir, plan.command, print);
  std::error_code ignored;
  bool there = fs::is_directory(dir, ignored);
  if (there)
    QUANT_TRY(state.lock(flag));
  Result<void> ready;
  if (there && !force && fs::symlink_status(state.path(), ignored).type() != fs::file_type::not_found)
    ready = state.resume(plan, flag);
  else
    ready = tools::prepareOutputDir(dir, plan.bytes() + overhead(plan.tensorCount()), force, flag);
  if (ready && !there)
    ready = state.lock(flag);
  if (ready)
    ready = state.write();
  if (!ready)
    return tl::unexpected(ready.error());
  return state;
}

bool RunState::isDone(const std::string &file) const {
  auto known = done.find(file);
  if (known == done.end())
    return false;
  auto now = stamp(dir / file);
  return now && *now == known->second;
}

Result<void> RunState::markDone(const std::string &file) {
  QUANT_TRY_ASSIGN(auto now, stamp(dir / file));
  done[file] = now;
  return write();
}

Result<void> RunState::markBroken(const std::string &file) {
  done[file] = {}; // no file's stamp, and the folder is still this run's
  return write();
}

void RunState::abandon() {
  std::error_code ignored;
  if (done.empty())
    fs::remove(path(), ignored);
}

Result<void> RunState::end() {
  std::error_code code;
  fs::remove(path(), code);
  return code ? Result<void>(fail(fmt::format("{}: cannot remove it: {}", printable(path().native()), code.message())))
              : Result<void>();
}
