//===- container.cpp - sections of a module file --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/module/container.h"
#include "runtime/checkpoint/text.h"

#include "runtime/abi/module_format.h"

#include <algorithm>
#include <cstring>

namespace quant::runtime {

static bool allZero(Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

static Result<abi::ModuleHeader> parseHeader(Bytes file) {
  abi::ModuleHeader header;
  if (file.size() < sizeof header)
    return fail("the file has " + std::to_string(file.size()) + " bytes, too few for a module's header of 64");
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.magic, abi::kMagic, sizeof header.magic) != 0)
    return fail("not a module: the file does not begin with 'QMOD'");
  if (header.version != abi::kContainerVersion)
    return fail("container version " + std::to_string(header.version) + ", this runtime reads version " +
                std::to_string(abi::kContainerVersion));
  if (header.fileBytes != file.size())
    return fail("the header says " + std::to_string(header.fileBytes) + " bytes, the file has " + std::to_string(file.size()) +
                ": truncated or damaged");
  if (header.zero != 0 || !allZero(std::as_bytes(std::span(header.reserved))))
    return fail("reserved header fields are not zero");
  if (header.sectionCount > abi::kMaxSections)
    return fail(std::to_string(header.sectionCount) + " sections, at most " + std::to_string(abi::kMaxSections) + " are allowed");
  if (sizeof header + header.sectionCount * sizeof(abi::SectionEntry) > file.size())
    return fail("the section table does not fit the file");
  return header;
}

/// The section of one table entry; `end` is where the one before it ended, and is moved on.
static Result<Bytes> parseSection(Bytes file, const abi::SectionEntry &entry, size_t &end) {
  if (entry.offset % abi::kSectionAlignment != 0)
    return fail("offset " + std::to_string(entry.offset) + " is not a multiple of " + std::to_string(abi::kSectionAlignment));
  if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset)
    return fail("offset " + std::to_string(entry.offset) + " with " + std::to_string(entry.bytes) + " bytes leaves the file of " +
                std::to_string(file.size()));
  if (entry.offset < end)
    return fail("offset " + std::to_string(entry.offset) + " overlaps what comes before it, which ends at " +
                std::to_string(end));
  if (!allZero(file.subspan(end, entry.offset - end)))
    return fail("the padding before it is not zero");
  Bytes section = file.subspan(entry.offset, entry.bytes);
  if (abi::fnv1a(section.data(), section.size()) != entry.fnv1a)
    return fail("its bytes do not have the hash that the section table says: the file is damaged");
  end = entry.offset + entry.bytes;
  return section;
}

Result<Sections> parseContainer(Bytes file) {
  Result<abi::ModuleHeader> header = parseHeader(file);
  if (!header)
    return tl::unexpected(header.error());
  Bytes table = file.subspan(sizeof *header, header->sectionCount * sizeof(abi::SectionEntry));
  if (abi::fnv1a(table.data(), table.size()) != header->tableFnv1a)
    return fail("the section table does not have the hash that the header says: the file is damaged");

  Sections sections;
  size_t end = sizeof *header + table.size();
  for (uint32_t i = 0; i < header->sectionCount; ++i) {
    abi::SectionEntry entry;
    std::memcpy(&entry, table.data() + i * sizeof entry, sizeof entry);
    std::string name(entry.name, strnlen(entry.name, sizeof entry.name));
    std::string where = "section " + std::to_string(i) + " " + checkpoint::quote(name);
    if (name.empty() || name.size() == sizeof entry.name)
      return fail(where + ": the name is empty or not NUL-terminated");
    Result<Bytes> section = parseSection(file, entry, end);
    if (!section)
      return tl::unexpected(section.error().in(where));
    if (!sections.emplace(name, *section).second)
      return fail(where + ": the name stands twice in the section table");
  }
  if (end != file.size())
    return fail("the last section ends at " + std::to_string(end) + ", the file at " + std::to_string(file.size()));
  return sections;
}

} // namespace quant::runtime
