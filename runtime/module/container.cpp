//===- container.cpp - sections of a module file --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/module/container.h"
#include "runtime/support/text.h"

#include "runtime/abi/module_format.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace quant::runtime {

static bool allZero(Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

static Result<abi::ModuleHeader> parseHeader(Bytes file) {
  abi::ModuleHeader header;
  if (file.size() < sizeof header)
    return fail(fmt::format("the file has {} bytes, too few for a module's header of 64", file.size()));
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.magic, abi::kMagic, sizeof header.magic) != 0)
    return fail("not a module: the file does not begin with 'QMOD'");
  if (header.version != abi::kContainerVersion)
    return fail(fmt::format("container version {}, this runtime reads version {}", header.version, abi::kContainerVersion));
  if (header.fileBytes != file.size())
    return fail(fmt::format("the header says {} bytes, the file has {}: truncated or damaged", header.fileBytes, file.size()));
  if (header.zero != 0 || !allZero(std::as_bytes(std::span(header.reserved))))
    return fail("reserved header fields are not zero");
  if (header.sectionCount > abi::kMaxSections)
    return fail(fmt::format("{} sections, at most {} are allowed", header.sectionCount, abi::kMaxSections));
  if (sizeof header + header.sectionCount * sizeof(abi::SectionEntry) > file.size())
    return fail("the section table does not fit the file");
  return header;
}

/// The section of one table entry; `end` is where the one before it ended, and is moved on.
static Result<Bytes> parseSection(Bytes file, const abi::SectionEntry &entry, size_t &end) {
  if (entry.offset % abi::kSectionAlignment != 0)
    return fail(fmt::format("offset {} is not a multiple of {}", entry.offset, abi::kSectionAlignment));
  if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset)
    return fail(fmt::format("offset {} with {} bytes leaves the file of {}", entry.offset, entry.bytes, file.size()));
  if (entry.offset < end)
    return fail(fmt::format("offset {} overlaps what comes before it, which ends at {}", entry.offset, end));
  if (!allZero(file.subspan(end, entry.offset - end)))
    return fail("the padding before it is not zero");
  Bytes section = file.subspan(entry.offset, entry.bytes);
  if (abi::fnv1a(section.data(), section.size()) != entry.fnv1a)
    return fail("its bytes do not have the hash that the section table says: the file is damaged");
  end = entry.offset + entry.bytes;
  return section;
}

Result<Sections> parseContainer(Bytes file) {
  QUANT_TRY_ASSIGN(abi::ModuleHeader header, parseHeader(file));
  Bytes table = file.subspan(sizeof header, header.sectionCount * sizeof(abi::SectionEntry));
  if (abi::fnv1a(table.data(), table.size()) != header.tableFnv1a)
    return fail("the section table does not have the hash that the header says: the file is damaged");

  Sections sections;
  size_t end = sizeof header + table.size();
  for (uint32_t i = 0; i < header.sectionCount; ++i) {
    abi::SectionEntry entry;
    std::memcpy(&entry, table.data() + i * sizeof entry, sizeof entry);
    std::string name(entry.name, strnlen(entry.name, sizeof entry.name));
    std::string where = fmt::format("section {} {}", i, quote(name));
    if (name.empty() || name.size() == sizeof entry.name)
      return fail(where + ": the name is empty or not NUL-terminated");
    Result<Bytes> section = parseSection(file, entry, end);
    if (!section)
      return tl::unexpected(section.error().in(where));
    if (!sections.emplace(name, *section).second)
      return fail(where + ": the name stands twice in the section table");
  }
  if (end != file.size())
    return fail(fmt::format("the last section ends at {}, the file at {}", end, file.size()));
  return sections;
}

uint64_t tableHash(Bytes file) {
  abi::ModuleHeader header;
  std::memcpy(&header, file.data(), sizeof header);
  return header.tableFnv1a;
}

} // namespace quant::runtime
