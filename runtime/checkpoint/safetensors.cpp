//===- safetensors.cpp - a memory-mapped safetensors file -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/safetensors.h"

#include "runtime/checkpoint/other_file.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace quant::checkpoint {

/// Why the file at `path` has no header: it is another file, or as `error` says.
static Error noHeader(const OpenFile &file, const std::filesystem::path &path, const Error &error) {
  std::vector<std::byte> begin(std::min<uint64_t>(file.size(), 64));
  std::string_view other;
  if (readAt(file, path, begin, 0))
    other = describeOtherFile({reinterpret_cast<const char *>(begin.data()), begin.size()});
  std::string message = error.message;
  if (!other.empty())
    message = message.substr(0, message.find(';')) + ": the file " + std::string(other);
  return {printable(path.native()) + ": " + message};
}

/// Reads the header with pread, not through the mapping: a file that shrinks meanwhile is then an error, not a SIGBUS.
static Result<Header> readHeader(const OpenFile &file, const std::filesystem::path &path) {
  std::vector<std::byte> prefix(std::min<uint64_t>(file.size(), 8));
  QUANT_TRY(readAt(file, path, prefix, 0));
  auto length = parseHeaderLength(prefix, file.size());
  if (!length)
    return tl::unexpected(noHeader(file, path, length.error()));
  prefix.resize(8 + *length);
  QUANT_TRY(readAt(file, path, std::span(prefix).subspan(8), 8));
  auto header = parseHeader(prefix, file.size());
  if (!header)
    return tl::unexpected(header.error().in(printable(path.native())));
  return header;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path &path) {
  QUANT_TRY_ASSIGN(auto file, openRegularFile(path));
  QUANT_TRY_ASSIGN(auto header, readHeader(file, path));
  void *address = ::mmap(nullptr, file.size(), PROT_READ, MAP_PRIVATE, file.fd.get(), 0);
  if (address == MAP_FAILED)
    return tl::unexpected(errnoError(path, "map", errno));
  std::span mapping(static_cast<const std::byte *>(address), file.size());
  return SafetensorsFile(path, std::move(file), std::move(header), mapping);
}

SafetensorsFile::SafetensorsFile(SafetensorsFile &&other) noexcept
    : filePath(std::move(other.filePath)), file(std::move(other.file)), header(std::move(other.header)),
      mapping(std::exchange(other.mapping, {})), watched(std::exchange(other.watched, nullptr)) {}

SafetensorsFile::~SafetensorsFile() {
  unwatchMapping(watched);
  if (!mapping.empty())
    ::munmap(const_cast<std::byte *>(mapping.data()), mapping.size());
}

Result<void> SafetensorsFile::verifyUnchanged() const {
  struct stat now;
  if (::fstat(file.fd.get(), &now) != 0)
    return tl::unexpected(errnoError(filePath, "stat", errno));
  const timespec &before = file.status.st_mtim;
  if (now.st_size != file.status.st_size)
    return fail(fmt::format("{}: changed while it was open: it had {} bytes and now has {}", printable(filePath.native()),
                            file.status.st_size, now.st_size));
  if (now.st_mtim.tv_sec != before.tv_sec || now.st_mtim.tv_nsec != before.tv_nsec)
    return fail(printable(filePath.native()) + ": was written to while it was open");
  return {};
}

} // namespace quant::checkpoint
