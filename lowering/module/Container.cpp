//===- Container.cpp - laying out a module file ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/module/Container.h"

#include "runtime/abi/module_format.h"

#include <cassert>
#include <cstring>

using namespace quant;

static uint64_t alignUp(uint64_t value) { return (value + abi::kSectionAlignment - 1) / abi::kSectionAlignment * abi::kSectionAlignment; }

std::string quant::layOutModule(const std::vector<ModuleSection> &sections) {
  std::vector<abi::SectionEntry> table(sections.size());
  uint64_t tableBytes = table.size() * sizeof(abi::SectionEntry);
  uint64_t end = sizeof(abi::ModuleHeader) + tableBytes;
  for (size_t index = 0; index < sections.size(); ++index) {
    const ModuleSection &section = sections[index];
    abi::SectionEntry &entry = table[index];
    assert(section.name.size() < sizeof(entry.name) && "section name too long");
    std::memset(&entry, 0, sizeof(entry));
    section.name.copy(entry.name, sizeof(entry.name) - 1);
    entry.offset = alignUp(end);
    entry.bytes = section.bytes.size();
    entry.fnv1a = abi::fnv1a(section.bytes.data(), section.bytes.size());
    end = entry.offset + entry.bytes;
  }
  abi::ModuleHeader header = {};
  std::memcpy(header.magic, abi::kMagic, sizeof(header.magic));
  header.version = abi::kContainerVersion;
  header.fileBytes = end;
  header.sectionCount = sections.size();
  header.tableFnv1a = abi::fnv1a(table.data(), tableBytes);
  std::string file(end, '\0');
  std::memcpy(file.data(), &header, sizeof(header));
  std::memcpy(file.data() + sizeof(header), table.data(), tableBytes);
  for (size_t index = 0; index < sections.size(); ++index)
    std::memcpy(file.data() + table[index].offset, sections[index].bytes.data(), sections[index].bytes.size());
  return file;
}
