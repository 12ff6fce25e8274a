//===- safetensors_test.cpp - opening and mapping one file ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/safetensors.h"

#include "test_files.h"

#include <sys/stat.h>

#include <chrono>

using namespace quant::checkpoint;
using namespace quant::checkpoint::test;

namespace {

TEST(SafetensorsFile, MapsTheData) {
  TempDir dir;
  put(dir / "m.safetensors",
      safetensors("{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]},"
                  "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}",
                  "aaabb"));
  auto file = SafetensorsFile::open(dir / "m.safetensors");
  ASSERT_TRUE(file) << errorOf(file);
  EXPECT_EQ(file->path(), dir / "m.safetensors");
  EXPECT_EQ(file->metadata().at("format"), "pt");
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(textOf(file->data(file->tensors()[0])), "aaa");
  EXPECT_EQ(textOf(file->data(*file->find("b"))), "bb");
  EXPECT_EQ(file->find("c"), nullptr);
  EXPECT_TRUE(file->verifyUnchanged());
}

TEST(SafetensorsFile, MoveKeepsPointersAndSpans) {
  TempDir dir;
  put(dir / "m", oneTensor("a"));
  auto first = SafetensorsFile::open(dir / "m");
  ASSERT_TRUE(first) << errorOf(first);
  const TensorInfo *info = first->find("a");
  auto data = first->data(*info);
  SafetensorsFile second = std::move(*first);
  EXPECT_EQ(second.find("a"), info);
  EXPECT_EQ(second.data(*info).data(), data.data());
  EXPECT_EQ(textOf(data), "data");
}

/// Also a file that was moved since, and not one that is closed.
TEST(SafetensorsFile, ALostPageIsAnErrorThatNamesTheFile) {
  TempDir dir;
  std::string header = R"({"a":{"dtype":"U8","shape":[1000000],"data_offsets":[0,1000000]}})";
  for (const char *name : {"closed", "cut"})
    put(dir / name, safetensors(header, std::string(1000000, 'a')));
  auto touch = [&] {
    exitOnLostPages("some-tool");
    auto first = SafetensorsFile::open(dir / "cut");
    SafetensorsFile file = std::move(*first);
    (void)SafetensorsFile::open(dir / "closed");
    fs::resize_file(dir / "cut", 4096);
    volatile std::byte last = file.data(*file.find("a")).back();
    (void)last;
  };
  EXPECT_EXIT(touch(), testing::ExitedWithCode(1),
              "^some-tool: error: .*/cut: was cut short while it was read, or the disk failed; restore the file and run again");
}

TEST(SafetensorsFile, RefusesWhatIsNotARegularFile) {
  TempDir dir;
  std::string base = dir.path().native();
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  fs::create_symlink("fifo", dir / "to-fifo");
  fs::create_symlink("nowhere", dir / "dangling");
  fs::create_symlink("loop", dir / "loop");
  EXPECT_ERROR(SafetensorsFile::open(dir / "fifo"), base + "/fifo: is a FIFO, not a regular file");
  EXPECT_ERROR(SafetensorsFile::open(dir / "to-fifo"), base + "/to-fifo: is a FIFO, not a regular file");
  EXPECT_ERROR(SafetensorsFile::open(dir / "dangling"), base + "/dangling: is a symlink to a file that is not there");
  EXPECT_ERROR(SafetensorsFile::open(dir / "loop"), base + "/loop: cannot open: Too many levels of symbolic links");
  EXPECT_ERROR(SafetensorsFile::open(dir.path()), base + ": is a directory, not a regular file");
  EXPECT_ERROR(SafetensorsFile::open(dir / "none"), base + "/none: cannot open: No such file or directory");
  EXPECT_ERROR(SafetensorsFile::open("/dev/full"), "/dev/full: is a device, not a regular file");
}

TEST(SafetensorsFile, ErrorsNameTheFile) {
  TempDir dir;
  std::string base = dir.path().native();
  put(dir / "empty", "");
  put(dir / "cut", oneTensor("a", "dat"));
  put(dir / "html", "<!DOCTYPE html><html>");
  EXPECT_ERROR(SafetensorsFile::open(dir / "empty"), base + "/empty: too short for a safetensors file: 0 bytes");
  EXPECT_ERROR(SafetensorsFile::open(dir / "cut"),
               base + "/cut: truncated: tensor 'a' ends at byte 4 of the data, but the file holds 3");
  EXPECT_ERROR(SafetensorsFile::open(dir / "html"),
               base + "/html: header length 5789751444030890300 is beyond the format's limit");
}

TEST(SafetensorsFile, AHugeSparseFileIsNotRead) {
  TempDir dir;
  put(dir / "sparse", safetensors("{\"a\":{\"dtype\":\"U8\",\"shape\":[68719476736],\"data_offsets\":[0,68719476736]}}"));
  fs::resize_file(dir / "sparse", fs::file_size(dir / "sparse") + (uint64_t{64} << 30));
  auto file = SafetensorsFile::open(dir / "sparse");
  ASSERT_TRUE(file) << errorOf(file);
  EXPECT_EQ(file->data(file->tensors()[0]).size(), uint64_t{64} << 30);
  EXPECT_EQ(file->data(file->tensors()[0]).back(), std::byte{0});
}

TEST(SafetensorsFile, TellsThatItChanged) {
  TempDir dir;
  put(dir / "m", oneTensor("a"));
  auto file = SafetensorsFile::open(dir / "m");
  ASSERT_TRUE(file) << errorOf(file);
  fs::last_write_time(dir / "m", fs::last_write_time(dir / "m") + std::chrono::seconds(2));
  EXPECT_ERROR(file->verifyUnchanged(), (dir / "m").native() + ": was written to while it was open");
  uint64_t size = fs::file_size(dir / "m");
  fs::resize_file(dir / "m", size - 4);
  EXPECT_ERROR(file->verifyUnchanged(), (dir / "m").native() + ": changed while it was open: it had " + std::to_string(size) +
                                            " bytes and now has " + std::to_string(size - 4));
}

TEST(SafetensorsFile, AReplacedFileKeepsItsOldBytes) {
  TempDir dir;
  put(dir / "m", oneTensor("a", "old!"));
  auto file = SafetensorsFile::open(dir / "m");
  ASSERT_TRUE(file) << errorOf(file);
  put(dir / "new", oneTensor("a", "new!"));
  fs::rename(dir / "new", dir / "m");
  EXPECT_EQ(textOf(file->data(file->tensors()[0])), "old!");
  EXPECT_TRUE(file->verifyUnchanged());
}

} // namespace
