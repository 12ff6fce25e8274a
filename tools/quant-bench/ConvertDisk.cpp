//===- ConvertDisk.cpp - programs and plain copies, timed -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/ConvertDisk.h"

#include "runtime/checkpoint/file.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace quant;
using namespace quant::bench;
using checkpoint::FileDescriptor;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

static double since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

static tl::unexpected<Error> failErrno(const fs::path &path, const char *action) {
  return tl::unexpected(checkpoint::errnoError(path, action, errno));
}

//===----------------------------------------------------------------------===//
// Programs
//===----------------------------------------------------------------------===//

/// Starts it with stdout going into a pipe, whose other end is returned.
static Result<FileDescriptor> start(const std::vector<std::string> &command, pid_t &child) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return failErrno(command.front(), "make a pipe for");
  FileDescriptor read(ends[0]), write(ends[1]);
  std::vector<char *> arguments;
  for (const std::string &argument : command)
    arguments.push_back(const_cast<char *>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, write.get(), STDOUT_FILENO);
  errno = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (errno != 0)
    return failErrno(command.front(), "start");
  return read;
}

Result<Finished> quant::bench::runProgram(const std::vector<std::string> &command) {
  auto begin = Clock::now();
  pid_t child;
  QUANT_TRY_ASSIGN(auto output, start(command, child));
  Finished finished;
  char buffer[4096];
  for (ssize_t count; (count = ::read(output.get(), buffer, sizeof(buffer))) > 0 || (count < 0 && errno == EINTR);)
    finished.output.append(buffer, static_cast<size_t>(std::max<ssize_t>(count, 0)));
  int status = 0;
  rusage usage;
  while (::wait4(child, &status, 0, &usage) < 0 && errno == EINTR) {
  }
  finished.seconds = since(begin);
  finished.peakBytes = static_cast<int64_t>(usage.ru_maxrss) * 1024;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail("'" + command.front() + "' did not do its work, see above");
  return finished;
}

fs::path quant::bench::toolPath(const char *tool) { return fs::read_symlink("/proc/self/exe").parent_path() / tool; }

Result<Finished> quant::bench::runTool(const char *tool, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), toolPath(tool).string());
  return runProgram(arguments);
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

static Result<std::vector<fs::path>> weightFiles(const fs::path &dir) {
  std::vector<fs::path> files;
  std::error_code code;
  for (fs::directory_iterator it(dir, code), end; !code && it != end; it.increment(code))
    if (it->path().extension() == ".safetensors")
      files.push_back(it->path());
  if (code)
    return fail(fmt::format("{}: cannot list the folder: {}", dir.string(), code.message()));
  std::ranges::sort(files);
  return files;
}

Result<uint64_t> quant::bench::weightBytes(const fs::path &dir) {
  QUANT_TRY_ASSIGN(auto files, weightFiles(dir));
  uint64_t bytes = 0;
  for (const fs::path &file : files)
    bytes += fs::file_size(file);
  return bytes;
}

static Result<void> writeAll(int fd, const std::byte *data, size_t size, const fs::path &path) {
  while (size > 0) {
    ssize_t count = ::write(fd, data, size);
    if (count < 0 && errno != EINTR)
      return failErrno(path, "write");
    data += std::max<ssize_t>(count, 0);
    size -= static_cast<size_t>(std::max<ssize_t>(count, 0));
  }
  return {};
}

/// Reads all of `from`, and writes `bytes` of what was read, over and over if that is more.
static Result<FileDescriptor> copyFile(const fs::path &from, uint64_t bytes, const fs::path &to) {
  FileDescriptor in(::open(from.c_str(), O_RDONLY | O_CLOEXEC)),
      out(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!in || !out)
    return failErrno(in ? to : from, "open");
  std::vector<std::byte> buffer(4 << 20);
  double ratio = static_cast<double>(bytes) / static_cast<double>(fs::file_size(from));
  uint64_t read = 0, written = 0;
  for (ssize_t count; (count = ::read(in.get(), buffer.data(), buffer.size())) != 0;) {
    if (count < 0)
      return failErrno(from, "read");
    read += static_cast<uint64_t>(count);
    for (auto due = static_cast<uint64_t>(ratio * static_cast<double>(read)); written < due;) {
      uint64_t part = std::min(due - written, static_cast<uint64_t>(count));
      QUANT_TRY(writeAll(out.get(), buffer.data(), part, to));
      written += part;
    }
  }
  return out;
}

Result<double> quant::bench::plainCopy(const fs::path &from, const fs::path &like, const fs::path &to) {
  QUANT_TRY_ASSIGN(auto files, weightFiles(from));
  auto begin = Clock::now();
  fs::create_directory(to);
  std::vector<FileDescriptor> written;
  for (const fs::path &file : files) {
    QUANT_TRY_ASSIGN(auto copied, copyFile(file, fs::file_size(like / file.filename()), to / file.filename()));
    written.push_back(std::move(copied));
  }
  written.emplace_back(::open(to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (const FileDescriptor &file : written)
    if (::fsync(file.get()) != 0)
      return failErrno(to, "flush");
  return since(begin);
}

Result<void> quant::bench::setCached(const fs::path &dir, bool cached) {
  QUANT_TRY_ASSIGN(auto files, weightFiles(dir));
  std::vector<std::byte> buffer(4 << 20);
  for (const fs::path &path : files) {
    FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file || ::fsync(file.get()) != 0)
      return failErrno(path, "open and flush");
    if (cached)
      while (::read(file.get(), buffer.data(), buffer.size()) > 0) {
      }
    else
      ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  return {};
}
