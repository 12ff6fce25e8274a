//===- file.h - POSIX files without surprises -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_FILE_H
#define QUANT_RUNTIME_CHECKPOINT_FILE_H

#include "runtime/support/result.h"

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace quant::checkpoint {

/// Owns a file descriptor.
class FileDescriptor {
public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd(fd) {}
  FileDescriptor(FileDescriptor &&other) noexcept : fd(std::exchange(other.fd, -1)) {}
  FileDescriptor &operator=(FileDescriptor &&other) noexcept {
    std::swap(fd, other.fd);
    return *this;
  }
  ~FileDescriptor();

  int get() const { return fd; }
  explicit operator bool() const { return fd >= 0; }

private:
  int fd = -1;
};

/// A regular file, open for reading, and what fstat said of it.
struct OpenFile {
  FileDescriptor fd;
  struct stat status;

  /// In bytes.
  uint64_t size() const { return static_cast<uint64_t>(status.st_size); }
};

/// "PATH: cannot ACTION: No space left on device", from errno.
Error errnoError(const std::filesystem::path &path, const std::string &action, int errorNumber);

/// "a directory", "a FIFO", ... for the type bits of st_mode.
std::string describeFileType(mode_t mode);

/// Opens a regular file for reading, through symlinks. Refuses anything else and never blocks, not even on a FIFO.
Result<OpenFile> openRegularFile(const std::filesystem::path &path);

/// Fills `out` with the file's bytes at `offset`; an end of the file before that is an error (it shrank meanwhile).
Result<void> readAt(const OpenFile &file, const std::filesystem::path &path, std::span<std::byte> out, uint64_t offset);

/// The whole content of a regular file of at most `maxBytes` bytes.
Result<std::string> readFile(const std::filesystem::path &path, uint64_t maxBytes);

/// Whether a file of that name is one that an AtomicFile is written to before it is complete: `.NAME.PID-N.tmp`.
bool isTemporaryName(std::string_view fileName);

/// Whether an AtomicFile of any process is writing to this temporary file; if not, a killed process left it behind. True also
/// where the file cannot be opened.
bool isBeingWritten(const std::filesystem::path &temporary);

/// A file that appears under its name only when complete: written beside it under a temporary name, then renamed. Killed before
/// that, the process leaves `.NAME.PID-N.tmp` behind and the old file as it was. Move-only.
class AtomicFile {
public:
  /// Refuses a `path` that is there and is neither a regular file nor a symlink (which commit replaces, not its target).
  static Result<AtomicFile> create(const std::filesystem::path &path);
  AtomicFile(AtomicFile &&) noexcept = default;
  AtomicFile &operator=(AtomicFile &&) = delete;
  /// Removes the temporary file if it was not committed.
  ~AtomicFile();

  /// Takes the disk space now, so that a full disk shows before hours of work. No-op where the file system cannot.
  Result<void> reserve(uint64_t bytes);
  /// Writes all of `bytes` at `offset`. Calls for different ranges may run in parallel.
  Result<void> writeAt(std::span<const std::byte> bytes, uint64_t offset);
  /// Flushes to disk and renames; the file is closed then.
  Result<void> commit();
  bool isOpen() const { return static_cast<bool>(fd); }

private:
  AtomicFile(std::filesystem::path path, std::filesystem::path temporary, FileDescriptor fd)
      : path(std::move(path)), temporary(std::move(temporary)), fd(std::move(fd)) {}

  std::filesystem::path path, temporary;
  FileDescriptor fd;
};

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_FILE_H
