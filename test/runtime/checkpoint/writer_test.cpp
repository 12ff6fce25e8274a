//===- writer_test.cpp - writing files that are whole or absent -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/writer.h"

#include "runtime/checkpoint/checkpoint.h"
#include "test_files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

using quant::DType;
using namespace quant::checkpoint;
using namespace quant::checkpoint::test;

namespace {

std::vector<std::string> entries(const TempDir &dir) {
  std::vector<std::string> names;
  for (const auto &entry : fs::directory_iterator(dir.path()))
    names.push_back(entry.path().filename());
  return names;
}

/// Runs `body` in a child process that `body` may limit or kill; true if it ended with exit code 0.
bool inChild(const std::function<bool()> &body) {
  pid_t child = ::fork();
  if (child == 0)
    ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Writer, BytesOfAFile) {
  TempDir dir;
  auto writer = SafetensorsWriter::create(dir / "m", {{"w", DType::U8, {2, 1}}, {"s", DType::F32, {}}, {"e", DType::BF16, {0}}});
  ASSERT_TRUE(writer) << errorOf(writer);
  ASSERT_TRUE(writer->append("w", bytesOf("ww")));
  ASSERT_TRUE(writer->append("s", bytesOf("ssss")));
  EXPECT_EQ(entries(dir).size(), 1u);
  EXPECT_FALSE(fs::exists(dir / "m"));
  auto finished = writer->finish();
  ASSERT_TRUE(finished) << errorOf(finished);
  EXPECT_EQ(entries(dir), std::vector<std::string>{"m"});
  EXPECT_EQ(get(dir / "m"), safetensors("{\"__metadata__\":{\"format\":\"pt\"},"
                                        "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                                        "\"e\":{\"dtype\":\"BF16\",\"shape\":[0],\"data_offsets\":[4,4]},"
                                        "\"w\":{\"dtype\":\"U8\",\"shape\":[2,1],\"data_offsets\":[4,6]}}",
                                        "ssssww"));
}

TEST(Writer, EveryDTypeGoesThereAndBack) {
  TempDir dir;
  std::vector<TensorSpec> specs;
  for (int i = 0; i <= static_cast<int>(DType::U64); ++i)
    specs.push_back({"tensor \"" + std::to_string(i) + "\" é\n", static_cast<DType>(i), {4, 3, 2}});
  auto writer = SafetensorsWriter::create(dir / "m", specs, {});
  ASSERT_TRUE(writer) << errorOf(writer);
  uint64_t total = 0;
  for (const TensorSpec &spec : specs) {
    std::string data(static_cast<size_t>(24 * bitWidth(spec.dtype) / 8), static_cast<char>('A' + static_cast<int>(spec.dtype)));
    ASSERT_TRUE(writer->append(spec.name, bytesOf(data)));
    total += data.size();
  }
  EXPECT_EQ(writer->dataBytes(), total);
  ASSERT_TRUE(writer->finish());
  auto file = SafetensorsFile::open(dir / "m");
  ASSERT_TRUE(file) << errorOf(file);
  EXPECT_TRUE(file->metadata().empty());
  ASSERT_EQ(file->tensors().size(), specs.size());
  for (const TensorSpec &spec : specs) {
    const TensorInfo *info = file->find(spec.name);
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->dtype, spec.dtype);
    EXPECT_EQ(info->shape, spec.shape);
    EXPECT_EQ(textOf(file->data(*info)), std::string(info->bytes(), static_cast<char>('A' + static_cast<int>(spec.dtype))));
  }
}

TEST(Writer, TensorsAreAlignedToTheirElements) {
  TempDir dir;
  std::vector<TensorSpec> specs = {{"b", DType::U8, {3}}, {"w", DType::BF16, {3}}, {"c", DType::U8, {1}}, {"s", DType::F64, {1}}};
  auto writer = SafetensorsWriter::create(dir / "m", specs, {{"padded", "odd"}});
  ASSERT_TRUE(writer) << errorOf(writer);
  std::string order;
  for (const TensorInfo &info : writer->tensors()) {
    order += info.name;
    EXPECT_EQ(info.begin % (static_cast<uint64_t>(bitWidth(info.dtype)) / 8), 0u) << info.name;
  }
  EXPECT_EQ(order, "swbc");
}

TEST(Writer, ChunksMayInterleave) {
  TempDir dir;
  auto writer = SafetensorsWriter::create(dir / "m", {{"a", DType::U8, {6}}, {"b", DType::U8, {3}}});
  ASSERT_TRUE(writer) << errorOf(writer);
  for (auto [name, bytes] : {std::pair("b", "1"), {"a", "ab"}, {"b", "23"}, {"a", ""}, {"a", "cdef"}})
    ASSERT_TRUE(writer->append(name, bytesOf(bytes)));
  ASSERT_TRUE(writer->finish());
  auto file = SafetensorsFile::open(dir / "m");
  ASSERT_TRUE(file) << errorOf(file);
  EXPECT_EQ(textOf(file->data(*file->find("a"))), "abcdef");
  EXPECT_EQ(textOf(file->data(*file->find("b"))), "123");
}

TEST(Writer, NoTensors) {
  TempDir dir;
  auto writer = SafetensorsWriter::create(dir / "m", {}, {});
  ASSERT_TRUE(writer) << errorOf(writer);
  ASSERT_TRUE(writer->finish());
  EXPECT_EQ(get(dir / "m"), safetensors("{}      "));
}

TEST(Writer, RefusesBadDeclarations) {
  TempDir dir;
  std::string path = (dir / "m").native();
  auto create = [&](std::vector<TensorSpec> specs) { return errorOf(SafetensorsWriter::create(path, specs)); };
  EXPECT_EQ(create({{"a", DType::U8, {1}}, {"a", DType::F32, {1}}}), path + ": tensor 'a' is given twice");
  EXPECT_EQ(create({{"a", DType::U8, {2, -1}}}), path + ": tensor 'a': shape [2, -1] has a negative dimension");
  EXPECT_EQ(create({{"a", DType::F4E2M1FN, {3}}}), path + ": tensor 'a': shape [3] of F4 does not fill whole bytes");
  EXPECT_EQ(create({{"a", DType::U8, {1l << 32, 1l << 32}}}),
            path + ": tensor 'a': shape [4294967296, 4294967296] of U8 overflows 64 bits");
  EXPECT_EQ(create(std::vector<TensorSpec>(5, {"a", DType::U8, {1l << 60}})),
            path + ": tensor 'a': the file would pass 2^62 bytes");
  EXPECT_EQ(create({{"\xFF", DType::U8, {1}}}), path + ": tensor name: '\\xFF' is not UTF-8");
  EXPECT_EQ(create({{std::string("a\0b", 3), DType::U8, {1}}}).rfind(path + ": header: line 1, column ", 0), 0u);
  EXPECT_ERROR(SafetensorsWriter::create(path, {}, {{"a", "\xFF"}}), path + ": metadata is not UTF-8");
  EXPECT_TRUE(entries(dir).empty());
}

TEST(Writer, RefusesBadAppends) {
  TempDir dir;
  std::string path = (dir / "m").native();
  auto writer = SafetensorsWriter::create(path, {{"a", DType::U8, {4}}});
  ASSERT_TRUE(writer) << errorOf(writer);
  EXPECT_ERROR(writer->append("b", {}), path + ": tensor 'b' was not declared");
  EXPECT_TRUE(writer->append("a", bytesOf("abc")));
  EXPECT_ERROR(writer->append("a", bytesOf("de")), path + ": tensor 'a' takes 4 bytes, given 3 and then 2");
  EXPECT_ERROR(writer->finish(), path + ": tensor 'a' takes 4 bytes, given only 3");
  EXPECT_TRUE(writer->append("a", bytesOf("d")));
  EXPECT_TRUE(writer->finish());
  EXPECT_ERROR(writer->finish(), path + ": is finished already");
  EXPECT_ERROR(writer->append("a", {}), path + ": tensor 'a': bytes come after the file was finished");
}

TEST(Writer, UnfinishedLeavesNothingAndKeepsTheOldFile) {
  TempDir dir;
  put(dir / "m", "old");
  {
    auto writer = SafetensorsWriter::create(dir / "m", {{"a", DType::U8, {4}}});
    ASSERT_TRUE(writer) << errorOf(writer);
    SafetensorsWriter moved = std::move(*writer);
    ASSERT_TRUE(moved.append("a", bytesOf("abcd")));
    EXPECT_EQ(entries(dir).size(), 2u);
  }
  EXPECT_EQ(entries(dir), std::vector<std::string>{"m"});
  EXPECT_EQ(get(dir / "m"), "old");
}

TEST(Writer, ReplacesAFileThatIsMapped) {
  TempDir dir;
  put(dir / "m", oneTensor("a", "old!"));
  auto input = SafetensorsFile::open(dir / "m");
  ASSERT_TRUE(input) << errorOf(input);
  auto writer = SafetensorsWriter::create(dir / "m", {{"a", DType::U8, {8}}});
  ASSERT_TRUE(writer) << errorOf(writer);
  for (int i = 0; i < 2; ++i)
    ASSERT_TRUE(writer->append("a", input->data(*input->find("a"))));
  ASSERT_TRUE(writer->finish());
  EXPECT_EQ(textOf(input->data(*input->find("a"))), "old!");
  EXPECT_EQ(textOf(SafetensorsFile::open(dir / "m")->data({"a", DType::U8, {8}, 0, 8})), "old!old!");
}

TEST(Writer, ReplacesASymlinkNotItsTarget) {
  TempDir dir;
  put(dir / "blob", "blob");
  fs::create_symlink("blob", dir / "m");
  ASSERT_TRUE(writeFileAtomically(dir / "m", "new"));
  EXPECT_FALSE(fs::is_symlink(dir / "m"));
  EXPECT_EQ(get(dir / "m"), "new");
  EXPECT_EQ(get(dir / "blob"), "blob");
}

TEST(Writer, RelativePath) {
  TempDir dir;
  EXPECT_TRUE(inChild([&] {
    fs::current_path(dir.path());
    return writeFileAtomically("m", "new").has_value();
  }));
  EXPECT_EQ(get(dir / "m"), "new");
}

TEST(Writer, RefusesTargets) {
  TempDir dir;
  std::string base = dir.path().native();
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  fs::create_directory(dir / "sub");
  EXPECT_ERROR(writeFileAtomically(dir / "fifo", "x"), base + "/fifo: is a FIFO and will not be replaced by a file");
  EXPECT_ERROR(writeFileAtomically(dir / "sub", "x"), base + "/sub: is a directory and will not be replaced by a file");
  EXPECT_ERROR(writeFileAtomically("/dev/full", "x"), "/dev/full: is a device and will not be replaced by a file");
  EXPECT_ERROR(writeFileAtomically(dir / "sub/", "x"), base + "/sub/' names no file to write");
  EXPECT_ERROR(writeFileAtomically(dir / "none/m", "x"), "cannot create: No such file or directory");
  EXPECT_ERROR(writeFileAtomically(dir / "fifo/m", "x"), base + "/fifo/m: cannot stat: Not a directory");
  EXPECT_EQ(entries(dir).size(), 2u);
}

TEST(Writer, ATargetThatBecomesAFolderIsNotLost) {
  TempDir dir;
  auto writer = SafetensorsWriter::create(dir / "m", {});
  ASSERT_TRUE(writer) << errorOf(writer);
  fs::create_directory(dir / "m");
  EXPECT_ERROR(writer->finish(), (dir / "m").native() + ": cannot rename its temporary file: Is a directory");
}

/// A full disk, as far as one can have it without root: the kernel refuses bytes beyond the limit in the same place. Its SIGXFSZ,
/// which would kill the process, does not come through.
TEST(Writer, NoSpace) {
  TempDir dir;
  put(dir / "m", "old");
  std::string path = (dir / "m").native();
  EXPECT_TRUE(inChild([&] {
    rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return errorOf(SafetensorsWriter::create(path, {{"a", DType::U8, {1 << 20}}})).find(": cannot reserve 10486") !=
               std::string::npos &&
           errorOf(writeFileAtomically(path, std::string(5000, 'x'))) == path + ": cannot reserve 5000 bytes: File too large";
  }));
  EXPECT_TRUE(inChild([&] {
    auto file = AtomicFile::create(path);
    rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::string data(5000, 'x');
    // The first 4096 bytes go through, so the error tells of the rest.
    return errorOf(file->writeAt(bytesOf(data), 0)) == path + ": cannot write 904 bytes at byte 4096: File too large";
  }));
  // _exit skipped that AtomicFile's destructor, as a kill does.
  for (const std::string &name : entries(dir))
    EXPECT_TRUE(name == "m" || name.ends_with(".tmp")) << name;
  EXPECT_EQ(get(dir / "m"), "old");
}

TEST(Writer, KilledMidWriteKeepsTheOldFile) {
  TempDir dir;
  put(dir / "model.safetensors", oneTensor("a", "old!"));
  EXPECT_FALSE(inChild([&] {
    auto writer = SafetensorsWriter::create(dir / "model.safetensors", {{"a", DType::U8, {8}}});
    (void)writer->append("a", bytesOf("half"));
    ::raise(SIGKILL);
    return true;
  }));
  EXPECT_EQ(entries(dir).size(), 2u);
  auto checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(checkpoint) << errorOf(checkpoint);
  EXPECT_EQ(textOf(checkpoint->find("a")->data), "old!");
}

TEST(Writer, ShardsAndIndexMakeACheckpoint) {
  TempDir dir;
  WeightMap weights;
  for (std::string name : {"a", "b"}) {
    std::string shard = "model-" + name + ".safetensors";
    auto writer = SafetensorsWriter::create(dir / shard, {{name, DType::U8, {1}}});
    ASSERT_TRUE(writer) << errorOf(writer);
    ASSERT_TRUE(writer->append(name, bytesOf(name)));
    ASSERT_TRUE(writer->finish());
    weights[name] = shard;
  }
  ASSERT_TRUE(writeIndex(dir.path(), weights, 2));
  EXPECT_EQ(get(dir / indexFileName), R"({
  "metadata": {
    "total_size": 2
  },
  "weight_map": {
    "a": "model-a.safetensors",
    "b": "model-b.safetensors"
  }
}
)");
  auto checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(checkpoint) << errorOf(checkpoint);
  EXPECT_EQ(textOf(checkpoint->find("b")->data), "b");
}

TEST(Writer, IndexRefuses) {
  TempDir dir;
  std::string path = (dir / indexFileName).native();
  EXPECT_ERROR(writeIndex(dir.path(), {{"a", "../s1"}}, 1), path + ": tensor 'a' is in '../s1', which is not a plain file name");
  EXPECT_ERROR(writeIndex(dir.path(), {{"\xFF", "s1"}}, 1), path + ": a name in the weight map is not UTF-8");
  EXPECT_TRUE(entries(dir).empty());
}

} // namespace
