//===- container_test.cpp - damaged module files --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test_module.h"

#include "runtime/abi/module_format.h"
#include "runtime/module/module.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <sys/stat.h>
#include <unistd.h>

namespace quant::runtime::test {
namespace {

abi::ModuleHeader *header(std::string &file) { return reinterpret_cast<abi::ModuleHeader *>(file.data()); }
abi::SectionEntry *entry(std::string &file, int i) {
  return reinterpret_cast<abi::SectionEntry *>(file.data() + sizeof(abi::ModuleHeader)) + i;
}

struct BadFile {
  const char *what;
  std::function<void(std::string &)> spoil;
  bool repair; ///< the hashes, so that what stands behind them is looked at
  const char *error;
};

/// One hash tells whether two files are the same, byte for byte: it is of the table that has those of the sections.
TEST(Container, HasOneHash) {
  std::string file = toyModule().build(), other = file;
  other.back() ^= 1;
  repairHashes(other);
  Result<Module> module = parseModule(bytesOf(file), "toy.qmod");
  ASSERT_TRUE(module) << module.error().message;
  EXPECT_EQ(module->hash, header(file)->tableFnv1a);
  EXPECT_NE(module->hash, header(other)->tableFnv1a);
}

class BadContainer : public testing::TestWithParam<BadFile> {};

TEST_P(BadContainer, IsRefused) {
  std::string file = toyModule().build();
  GetParam().spoil(file);
  if (GetParam().repair)
    repairHashes(file);
  Result<Module> module = parseModule(bytesOf(file), "toy.qmod");
  ASSERT_FALSE(module);
  EXPECT_TRUE(module.error().message.starts_with("toy.qmod: ")) << module.error().message;
  EXPECT_NE(module.error().message.find(GetParam().error), std::string::npos) << module.error().message;
}

const BadFile kBadFiles[] = {
    {"empty", [](std::string &file) { file.clear(); }, false, "0 bytes, too few for a module's header"},
    {"short_header", [](std::string &file) { file.resize(63); }, false, "63 bytes, too few"},
    {"magic", [](std::string &file) { file[0] = 'q'; }, false, "does not begin with 'QMOD'"},
    {"version", [](std::string &file) { header(file)->version = 2; }, false, "container version 2, this runtime reads version 1"},
    {"truncated", [](std::string &file) { file.resize(file.size() - 1); }, false, "truncated or damaged"},
    {"trailing", [](std::string &file) { file += '\0'; }, false, "truncated or damaged"},
    {"reserved", [](std::string &file) { header(file)->reserved[31] = 1; }, false, "reserved header fields"},
    {"zero", [](std::string &file) { header(file)->zero = 1; }, false, "reserved header fields"},
    {"many_sections", [](std::string &file) { header(file)->sectionCount = 0xffffffff; }, false, "4294967295 sections"},
    {"table_beyond_file", [](std::string &file) { header(file)->sectionCount = 1024; }, false, "section table does not fit"},
    {"table_hash", [](std::string &file) { entry(file, 1)->fnv1a ^= 1; }, false, "table does not have the hash"},
    {"section_hash", [](std::string &file) { file.back() ^= 1; }, false,
     "section 3 'code.host.baseline': its bytes do not have the hash"},
    {"offset_unaligned", [](std::string &file) { entry(file, 2)->offset += 64; }, true, "'code.host.future': offset"},
    {"offset_wrap", [](std::string &file) { entry(file, 2)->offset = ~0ull - 4095; }, true,
     "section 2 'code.host.future': offset 18446744073709547520 with"},
    {"bytes_wrap", [](std::string &file) { entry(file, 2)->bytes = ~0ull; }, true,
     "with 18446744073709551615 bytes leaves the file"},
    {"beyond_file", [](std::string &file) { entry(file, 3)->bytes += 1; }, true, "leaves the file"},
    {"overlap", [](std::string &file) { entry(file, 2)->offset = entry(file, 1)->offset; }, true, "overlaps what comes before"},
    {"overlaps_table", [](std::string &file) { entry(file, 0)->offset = 0; }, true, "overlaps what comes before"},
    {"padding", [](std::string &file) { file[entry(file, 1)->offset - 1] = 1; }, true, "padding before it is not zero"},
    {"name_twice", [](std::string &file) { std::strcpy(entry(file, 3)->name, "code.host.future"); }, true, "stands twice"},
    {"name_endless", [](std::string &file) { std::memset(entry(file, 3)->name, 'x', 48); }, true, "not NUL-terminated"},
    {"name_empty", [](std::string &file) { entry(file, 3)->name[0] = 0; }, true, "name is empty"},
    {"end", [](std::string &file) { header(file)->fileBytes += 1, file += '\0'; }, true, "the last section ends at"},
    {"no_manifest", [](std::string &file) { entry(file, 0)->name[0] = 'x'; }, true, "there is no section 'manifest.json'"},
    {"not_json", [](std::string &file) { file[entry(file, 0)->offset] = '}'; }, true, "manifest.json: line 1, column 1"},
};

INSTANTIATE_TEST_SUITE_P(Module, BadContainer, testing::ValuesIn(kBadFiles), [](const auto &info) { return info.param.what; });

TEST(Module, CannotBeOpened) {
  auto dir = std::filesystem::temp_directory_path();
  std::string fifo = dir / ("quant_module_test_fifo_" + std::to_string(getpid()));
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_FALSE(openModule(fifo));
  std::filesystem::remove(fifo);
  EXPECT_FALSE(openModule(dir));
  EXPECT_FALSE(openModule("/dev/null"));
  Result<Module> absent = openModule("/nonexistent.qmod");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().message, "/nonexistent.qmod: cannot open: No such file or directory");
}

} // namespace
} // namespace quant::runtime::test
