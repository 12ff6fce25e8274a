//===- module.cpp - reading a compiled model (*.qmod) ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/module/module.h"
#include "runtime/checkpoint/file.h"
#include "runtime/module/module_parts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <sys/mman.h>

namespace quant::runtime {

const Target *Module::find(std::string_view name) const {
  auto it = std::ranges::find(targets, name, &Target::name);
  return it == targets.end() ? nullptr : &*it;
}

Result<Module> parseModule(Bytes bytes, const std::string &name) {
  Result<Sections> sections = parseContainer(bytes);
  if (!sections)
    return tl::unexpected(sections.error().in(name));
  Result<Module> module = parseManifest(*sections);
  if (!module)
    return tl::unexpected(module.error().in(name));
  module->path = name;
  module->hash = tableHash(bytes);
  for (const Target &target : module->targets) {
    if (Result<void> verified = verifyProgram(target.program, target.kernels); !verified)
      return tl::unexpected(verified.error().in(fmt::format("{}: program of target '{}'", name, target.name)));
    if (Result<void> verified = target.draft ? verifyProgram(*target.draft, target.kernels) : Result<void>(); !verified)
      return tl::unexpected(verified.error().in(fmt::format("{}: draft of target '{}'", name, target.name)));
  }
  return module;
}

namespace {
/// A read-only private mapping of a whole file.
struct FileMapping {
  void *data = MAP_FAILED;
  size_t bytes = 0;

  FileMapping(int file, size_t bytes) : data(mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0)), bytes(bytes) {}
  FileMapping(const FileMapping &) = delete;
  FileMapping &operator=(const FileMapping &) = delete;
  ~FileMapping() {
    if (data != MAP_FAILED)
      munmap(data, bytes);
  }
};
} // namespace

static Result<std::shared_ptr<FileMapping>> mapFile(const std::string &path) {
  QUANT_TRY_ASSIGN(checkpoint::OpenFile file, checkpoint::openRegularFile(path));
  if (file.size() == 0)
    return fail(path + ": the file is empty");
  auto mapping = std::make_shared<FileMapping>(file.fd.get(), file.size());
  if (mapping->data == MAP_FAILED)
    return tl::unexpected(checkpoint::errnoError(path, "map", errno));
  return mapping;
}

Result<Module> openModule(const std::string &path) {
  QUANT_TRY_ASSIGN(std::shared_ptr<FileMapping> mapping, mapFile(path));
  const FileMapping &file = *mapping;
  Result<Module> module = parseModule(Bytes(static_cast<const std::byte *>(file.data), file.bytes), path);
  if (module)
    module->storage = mapping;
  return module;
}

} // namespace quant::runtime
