//===- file.cpp - POSIX files without surprises ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/file.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <system_error>

namespace quant::checkpoint {

namespace fs = std::filesystem;

FileDescriptor::~FileDescriptor() {
  if (fd >= 0)
    ::close(fd);
}

Error errnoError(const fs::path &path, const std::string &action, int errorNumber) {
  return {printable(path.native()) + ": cannot " + action + ": " + std::generic_category().message(errorNumber)};
}

static tl::unexpected<Error> failErrno(const fs::path &path, const std::string &action) {
  return tl::unexpected(errnoError(path, action, errno));
}

std::string describeFileType(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG:
    return "a regular file";
  case S_IFDIR:
    return "a directory";
  case S_IFIFO:
    return "a FIFO";
  case S_IFSOCK:
    return "a socket";
  case S_IFLNK:
    return "a symlink";
  default:
    return "a device";
  }
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

Result<OpenFile> openRegularFile(const fs::path &path) {
  // O_NONBLOCK: a FIFO without a writer would block open() forever.
  OpenFile file{FileDescriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)), {}};
  if (!file.fd) {
    int number = errno;
    std::error_code ignored;
    if (number == ENOENT && fs::is_symlink(fs::symlink_status(path, ignored)))
      return fail(printable(path.native()) + ": is a symlink to a file that is not there; download it again");
    return tl::unexpected(errnoError(path, "open", number));
  }
  if (::fstat(file.fd.get(), &file.status) != 0)
    return failErrno(path, "stat");
  if (!S_ISREG(file.status.st_mode))
    return fail(fmt::format("{}: is {}, not a regular file", printable(path.native()), describeFileType(file.status.st_mode)));
  return file;
}

Result<void> readAt(const OpenFile &file, const fs::path &path, std::span<std::byte> out, uint64_t offset) {
  while (!out.empty()) {
    ssize_t count = ::pread(file.fd.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return failErrno(path, "read");
    if (count == 0)
      return fail(fmt::format("{}: ends at byte {}: it shrank while it was read", printable(path.native()), offset));
    out = out.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<std::string> readFile(const fs::path &path, uint64_t maxBytes) {
  QUANT_TRY_ASSIGN(auto file, openRegularFile(path));
  if (file.size() > maxBytes)
    return fail(fmt::format("{}: has {} bytes, more than the {} allowed", printable(path.native()), file.size(), maxBytes));
  std::string text(file.size(), '\0');
  QUANT_TRY(readAt(file, path, std::as_writable_bytes(std::span(text)), 0));
  return text;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

bool isTemporaryName(std::string_view fileName) {
  constexpr std::string_view suffix = ".tmp";
  if (!fileName.starts_with('.') || !fileName.ends_with(suffix))
    return false;
  fileName.remove_suffix(suffix.size());
  size_t dot = fileName.rfind('.'), dash = fileName.rfind('-');
  if (dot == 0 || dash == fileName.npos || dash < dot)
    return false;
  auto isNumber = [](std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  };
  return isNumber(fileName.substr(dot + 1, dash - dot - 1)) && isNumber(fileName.substr(dash + 1));
}

bool isBeingWritten(const fs::path &temporary) {
  FileDescriptor fd(::open(temporary.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW));
  return !fd || (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
}

/// Opens a fresh file `.NAME.PID-N.tmp` beside `path` with the usual permissions (mkstemp would give 0600).
static Result<std::pair<fs::path, FileDescriptor>> openTemporary(const fs::path &path) {
  static std::atomic<uint64_t> counter = 0;
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string name = fmt::format(".{}.{}-{}.tmp", path.filename().native(), ::getpid(), counter++);
    fs::path temporary = path.parent_path() / name;
    FileDescriptor fd(::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd) {
      ::flock(fd.get(), LOCK_EX | LOCK_NB); // for isBeingWritten(), as long as the file is open
      return std::pair(std::move(temporary), std::move(fd));
    }
    if (errno != EEXIST)
      return failErrno(temporary, "create");
  }
  return fail(printable(path.native()) + ": cannot find a free temporary name beside it; remove its .tmp files");
}

Result<AtomicFile> AtomicFile::create(const fs::path &path) {
  if (!path.has_filename())
    return fail(quote(path.native()) + " names no file to write");
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
      return fail(fmt::format("{}: is {} and will not be replaced by a file", printable(path.native()),
                              describeFileType(status.st_mode)));
  } else if (errno != ENOENT) {
    return failErrno(path, "stat");
  }
  QUANT_TRY_ASSIGN(auto temporary, openTemporary(path));
  return AtomicFile(path, std::move(temporary.first), std::move(temporary.second));
}

namespace {
/// While it lives, a write of this thread beyond the file size limit (ulimit -f) fails with EFBIG and does nothing else. SIGXFSZ
/// would kill the process, and what to do with signals is not a library's to decide.
class WithoutFileSizeSignal {
public:
  WithoutFileSizeSignal() {
    sigemptyset(&signals);
    sigaddset(&signals, SIGXFSZ);
    ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  }
  WithoutFileSizeSignal(const WithoutFileSizeSignal &) = delete;
  ~WithoutFileSizeSignal() {
    if (sigismember(&before, SIGXFSZ) == 1)
      return;
    constexpr timespec now = {};
    while (::sigtimedwait(&signals, nullptr, &now) < 0 && errno == EINTR) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

private:
  sigset_t signals, before;
};
} // namespace

AtomicFile::~AtomicFile() {
  if (fd)
    ::unlink(temporary.c_str());
}

Result<void> AtomicFile::reserve(uint64_t bytes) {
  if (bytes == 0)
    return {};
  WithoutFileSizeSignal guard;
  int result;
  do
    result = ::fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes));
  while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
    return failErrno(path, fmt::format("reserve {} bytes", bytes));
  return {};
}

/// Writes of at least so many bytes begin to go to the disk at once.
static constexpr ssize_t kFlushBytes = 1 << 20;

Result<void> AtomicFile::writeAt(std::span<const std::byte> bytes, uint64_t offset) {
  WithoutFileSizeSignal guard;
  while (!bytes.empty()) {
    ssize_t count = ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return failErrno(path, fmt::format("write {} bytes at byte {}", bytes.size(), offset));
#ifdef SYNC_FILE_RANGE_WRITE
    // Has the disk begin now, or commit() would wait for all of it. A hint: what goes wrong shows at commit().
    if (count >= kFlushBytes)
      ::sync_file_range(fd.get(), static_cast<off_t>(offset), count, SYNC_FILE_RANGE_WRITE);
#endif
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<void> AtomicFile::commit() {
  if (::fsync(fd.get()) != 0)
    return failErrno(path, "flush to disk");
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    return failErrno(path, "rename its temporary file");
  fd = FileDescriptor();
  // Until the folder is on disk too, a power cut may undo the rename.
  fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory)
    return failErrno(folder, "open");
  if (::fsync(directory.get()) != 0 && errno != EINVAL)
    return failErrno(folder, "flush to disk");
  return {};
}

} // namespace quant::checkpoint
