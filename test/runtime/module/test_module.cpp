//===- test_module.cpp - module files made by hand ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_module.h"

#include "runtime/abi/module_format.h"

#include <algorithm>
#include <cstring>

namespace quant::runtime::test {

using nlohmann::json;

static void padTo(std::string &text, size_t alignment) { text.resize((text.size() + alignment - 1) / alignment * alignment); }

std::string buildContainer(const std::vector<std::pair<std::string, std::string>> &sections) {
  std::string file(sizeof(abi::ModuleHeader) + sections.size() * sizeof(abi::SectionEntry), '\0');
  std::string table;
  for (const auto &[name, bytes] : sections) {
    padTo(file, abi::kSectionAlignment);
    abi::SectionEntry entry = {};
    name.copy(entry.name, sizeof entry.name);
    entry.offset = file.size();
    entry.bytes = bytes.size();
    table.append(reinterpret_cast<const char *>(&entry), sizeof entry);
    file += bytes;
  }
  abi::ModuleHeader header = {};
  std::memcpy(header.magic, abi::kMagic, sizeof header.magic);
  header.version = abi::kContainerVersion;
  header.fileBytes = file.size();
  header.sectionCount = static_cast<uint32_t>(sections.size());
  std::memcpy(file.data(), &header, sizeof header);
  table.copy(file.data() + sizeof header, table.size());
  repairHashes(file);
  return file;
}

void repairHashes(std::string &file) {
  abi::ModuleHeader header;
  if (file.size() < sizeof header)
    return;
  std::memcpy(&header, file.data(), sizeof header);
  size_t count =
      std::min<size_t>({header.sectionCount, abi::kMaxSections, (file.size() - sizeof header) / sizeof(abi::SectionEntry)});
  for (size_t i = 0; i < count; ++i) {
    char *where = file.data() + sizeof header + i * sizeof(abi::SectionEntry);
    abi::SectionEntry entry;
    std::memcpy(&entry, where, sizeof entry);
    if (entry.offset > file.size() || entry.bytes > file.size() - entry.offset)
      continue;
    entry.fnv1a = abi::fnv1a(file.data() + entry.offset, entry.bytes);
    std::memcpy(where, &entry, sizeof entry);
  }
  header.tableFnv1a = abi::fnv1a(file.data() + sizeof header, count * sizeof(abi::SectionEntry));
  std::memcpy(file.data(), &header, sizeof header);
}

std::string TestModule::build() const {
  std::vector<std::pair<std::string, std::string>> sections = {{"manifest.json", manifest.dump()},
                                                               {"program.host.json", program.dump()}};
  sections.insert(sections.end(), code.begin(), code.end());
  return buildContainer(sections);
}

static json toyProgram() {
  return json::parse(R"({
    "format": 3, "dims": ["tokens", "sequences", "outputs", "context"],
    "limits": {"tokens": 4, "context": 256, "vocab": 16},
    "workspace_bytes": 128,
    "values": [
      {"name": "tokens", "kind": "input", "dtype": "i32", "shape": ["tokens"]},
      {"name": "logits", "kind": "output", "dtype": "f32", "shape": ["outputs", 16]},
      {"name": "embed.weight", "aliases": ["tied.weight"], "kind": "weight", "dtype": "f32", "shape": [16, 8]},
      {"name": "experts.{}.weight_scale_inv", "kind": "weight_group", "count": 3, "dtype": "f32", "shape": [8],
       "role": "scale"},
      {"name": "kv.0", "kind": "cache", "dtype": "f32", "shape": ["context", 8]},
      {"name": "hidden", "kind": "workspace", "dtype": "f32", "shape": ["tokens", 8], "offset": 0},
      {"name": "positions", "kind": "input", "dtype": "i32", "shape": ["tokens"]},
      {"name": "sequences", "kind": "input", "dtype": "i32", "shape": ["tokens"]},
      {"name": "pages", "kind": "input", "dtype": "i32", "shape": ["sequences", 4]},
      {"name": "selected", "kind": "input", "dtype": "i32", "shape": ["outputs"]}],
    "dispatches": [
      {"kernel": "embed", "grid": "tokens", "operands": [0, 2, 5], "label": "embedding"},
      {"kernel": "mix", "grid": ["ceildiv", ["*", "tokens", 8], 8], "operands": [3, 5], "label": "experts"},
      {"kernel": "store", "grid": "tokens", "operands": [5, 4, 6, 7, 8]},
      {"kernel": "logits", "grid": "outputs", "operands": [4, 6, 7, 8, 9, 1], "label": "head"}]})");
}

static json toyKernels() {
  return json::parse(R"([
    {"name": "embed", "kind": "entry", "scratch_bytes": 0, "operands": [
      {"dtype": "i32", "access": "read"}, {"dtype": "f32", "access": "read"}, {"dtype": "f32", "access": "write"}]},
    {"name": "mix", "kind": "entry", "scratch_bytes": 32, "operands": [
      {"dtype": "f32", "access": "read", "count": 3}, {"dtype": "f32", "access": "readwrite", "shape": ["tokens", 8]}]},
    {"name": "store", "kind": "entry", "scratch_bytes": 0, "operands": [
      {"dtype": "f32", "access": "read"}, {"dtype": "f32", "access": "write"}, {"dtype": "i32", "access": "read"},
      {"dtype": "i32", "access": "read"}, {"dtype": "i32", "access": "read"}]},
    {"name": "logits", "kind": "entry", "scratch_bytes": 0, "operands": [
      {"dtype": "f32", "access": "read"}, {"dtype": "i32", "access": "read"}, {"dtype": "i32", "access": "read"},
      {"dtype": "i32", "access": "read"}, {"dtype": "i32", "access": "read"}, {"dtype": "f32", "access": "write"}]}])");
}

TestModule toyModule(const std::vector<std::string> &kernelCode) {
  constexpr size_t kTextOffset = 4096, kEntryAlignment = 64;
  TestModule module;
  module.program = toyProgram();
  json kernels = toyKernels(), entries;
  std::string image(kTextOffset, '\0');
  for (size_t i = 0; i < kernelCode.size(); ++i) {
    padTo(image, kEntryAlignment);
    entries[kernels[i]["name"]] = image.size();
    image += kernelCode[i];
  }
  json objects;
  for (const char *isa : {"future", "baseline"}) {
    json required = json::array();
    if (isa == std::string("future"))
      required = {"avx2", "warp_drive"};
    std::string section = std::string("code.host.") + isa;
    objects.push_back({{"isa", isa},
                       {"section", section},
                       {"requires", required},
                       {"text_offset", kTextOffset},
                       {"text_bytes", image.size() - kTextOffset},
                       {"entries", entries}});
    module.code.emplace_back(section, image);
  }
  json target = {{"name", "host"}, {"program", "program.host.json"}, {"kernels", kernels}, {"objects", objects}};
  module.manifest = {
      {"format", abi::kFormatVersion}, {"producer", "test"}, {"model", {{"model_type", "toy"}}}, {"targets", {target}}};
  return module;
}

} // namespace quant::runtime::test
