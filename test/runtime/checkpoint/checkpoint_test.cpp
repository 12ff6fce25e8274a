//===- checkpoint_test.cpp - a folder: one file, or an index and shards ---===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/checkpoint.h"

#include "runtime/checkpoint/writer.h"
#include "test_files.h"

#include <cstring>
#include <sys/stat.h>

using namespace quant::checkpoint;
using namespace quant::checkpoint::test;

namespace {

/// Shards s1 (tensor a) and s2 (tensor b), and an index with that weight_map.
struct TwoShards : TempDir {
  explicit TwoShards(const std::string &weightMap = R"({"a":"s1","b":"s2"})") {
    put(*this / "s1", oneTensor("a", "aaaa"));
    put(*this / "s2", oneTensor("b", "bbbb"));
    index(R"({"metadata":{"total_size":8},"weight_map":)" + weightMap + "}");
  }
  void index(const std::string &text) const { put(*this / indexFileName, text); }
  std::string error() const { return errorOf(Checkpoint::open(path())); }
  std::string indexPath() const { return (*this / indexFileName).native(); }
};

TEST(Checkpoint, SingleFile) {
  TempDir dir;
  put(dir / "model.safetensors", oneTensor("a"));
  auto checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(checkpoint) << errorOf(checkpoint);
  EXPECT_EQ(checkpoint->dir(), dir.path());
  ASSERT_NE(checkpoint->find("a"), nullptr);
  EXPECT_EQ(textOf(checkpoint->find("a")->data), "data");
  EXPECT_EQ(checkpoint->find("b"), nullptr);
}

TEST(Checkpoint, Shards) {
  TwoShards dir;
  auto opened = Checkpoint::open(dir.path());
  ASSERT_TRUE(opened) << errorOf(opened);
  Checkpoint checkpoint = std::move(*opened);
  ASSERT_EQ(checkpoint.tensors().size(), 2u);
  EXPECT_EQ(checkpoint.files().size(), 2u);
  EXPECT_EQ(checkpoint.tensors()[0].info->name, "a");
  const Checkpoint::Tensor *b = checkpoint.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(textOf(b->data), "bbbb");
  EXPECT_EQ(b->file->path().filename(), "s2");
  EXPECT_EQ(b->file, &checkpoint.files()[1]);
  EXPECT_TRUE(checkpoint.verifyUnchanged());
  fs::resize_file(dir / "s2", 10);
  EXPECT_ERROR(checkpoint.verifyUnchanged(), "s2: changed while it was open");
}

TEST(Checkpoint, FilesTheIndexDoesNotNameAreLeftAlone) {
  TwoShards dir;
  put(dir / "stray.safetensors", "not even one");
  EXPECT_TRUE(Checkpoint::open(dir.path()));
}

TEST(Checkpoint, HuggingFaceCache) {
  TempDir root;
  fs::create_directories(root / "models/blobs");
  fs::create_directories(root / "models/snapshots/abc");
  fs::path snapshot = root / "models/snapshots/abc";
  put(root / "models/blobs/1111", oneTensor("a", "blob"));
  put(root / "models/blobs/2222", R"({"weight_map":{"a":"model-00001-of-00001.safetensors"}})");
  put(root / "models/blobs/3333", R"({"model_type":"deepseek_v3"})");
  fs::create_symlink("../../blobs/1111", snapshot / "model-00001-of-00001.safetensors");
  fs::create_symlink("../../blobs/2222", snapshot / indexFileName);
  fs::create_symlink("../../blobs/3333", snapshot / "config.json");
  auto checkpoint = Checkpoint::open(snapshot);
  ASSERT_TRUE(checkpoint) << errorOf(checkpoint);
  EXPECT_EQ(textOf(checkpoint->find("a")->data), "blob");
  EXPECT_EQ((*checkpoint->config())["model_type"], "deepseek_v3");
  fs::remove(root / "models/blobs/1111");
  EXPECT_ERROR(Checkpoint::open(snapshot),
               "model-00001-of-00001.safetensors: is a symlink to a file that is not there; download it again");
}

TEST(Checkpoint, Config) {
  TwoShards dir;
  auto checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(checkpoint) << errorOf(checkpoint);
  std::string path = (dir / "config.json").native();
  EXPECT_ERROR(checkpoint->config(), path + ": cannot open: No such file or directory");
  put(path, "[]");
  EXPECT_ERROR(checkpoint->config(), path + ": must be an object, found array");
  put(path, R"({"n_group":8,"n_group":1})");
  EXPECT_ERROR(checkpoint->config(), path + ": line 1, column 22: key 'n_group' is given twice");
  put(path, R"({"n_group":8})");
  EXPECT_EQ((*checkpoint->config())["n_group"], 8);
}

TEST(Checkpoint, NotACheckpoint) {
  TempDir dir;
  std::string base = dir.path().native();
  EXPECT_ERROR(Checkpoint::open(dir / "none"), base + "/none: cannot open: No such file or directory");
  put(dir / "file", "");
  EXPECT_ERROR(Checkpoint::open(dir / "file"), base + "/file: is a regular file, not the folder of a checkpoint");
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_ERROR(Checkpoint::open(dir / "fifo"), base + "/fifo: is a FIFO, not the folder of a checkpoint");
  EXPECT_ERROR(Checkpoint::open(dir.path()), base + ": holds neither model.safetensors nor model.safetensors.index.json");
}

TEST(Checkpoint, SingleFileBesideAnIndex) {
  TwoShards dir;
  put(dir / "model.safetensors", oneTensor("a"));
  EXPECT_EQ(dir.error(), dir.path().native() +
                             ": holds both model.safetensors and an model.safetensors.index.json that does not name it; "
                             "remove the one that is stale");
  dir.index(R"({"weight_map":{"a":"model.safetensors"}})");
  EXPECT_EQ(dir.error(), "(no error)");
}

TEST(Checkpoint, ShardsThatAreNotFiles) {
  TwoShards dir;
  fs::remove(dir / "s2");
  EXPECT_EQ(dir.error(), dir.path().native() + ": shard 's2', which the index names for tensor 'b', is missing; download it");
  fs::create_directory(dir / "s2");
  EXPECT_EQ(dir.error(), (dir / "s2").native() + ": is a directory, not a regular file");
  fs::remove(dir / "s2");
  ASSERT_EQ(::mkfifo((dir / "s2").c_str(), 0600), 0);
  EXPECT_EQ(dir.error(), (dir / "s2").native() + ": is a FIFO, not a regular file");
}

TEST(Checkpoint, IndexThatIsNotAFile) {
  TwoShards dir;
  fs::remove(dir / indexFileName);
  ASSERT_EQ(::mkfifo(dir.indexPath().c_str(), 0600), 0);
  EXPECT_EQ(dir.error(), dir.indexPath() + ": is a FIFO, not a regular file");
}

TEST(Checkpoint, BrokenShard) {
  TwoShards dir;
  put(dir / "s2", oneTensor("b", "bbb"));
  EXPECT_EQ(dir.error(), (dir / "s2").native() +
                             ": truncated: tensor 'b' ends at byte 4 of the data, but the file holds 3; download it again");
}

TEST(Checkpoint, IndexAndShardsDisagree) {
  TwoShards absent(R"({"a":"s1","b":"s2","c":"s1"})");
  EXPECT_EQ(absent.error(), absent.indexPath() + ": tensor 'c' is not in 's1' nor in any other shard");
  TwoShards swapped(R"({"a":"s2","b":"s1"})");
  EXPECT_EQ(swapped.error(), swapped.indexPath() + ": tensor 'a' is in 's1', not in 's2'");
  TwoShards twice;
  put(twice / "s2", oneTensor("a"));
  EXPECT_EQ(twice.error(), twice.path().native() + ": tensor 'a' is in two shards, 's1' and 's2'");
  TwoShards stale(R"({"a":"s1"})");
  put(stale / "s1", safetensors(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                R"("x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                "ax"));
  EXPECT_EQ(stale.error(), stale.indexPath() + ": tensor 'x' of 's1' is not in the index, which is stale; download it again");
}

/// The index is the authority when it is right about every tensor: an edited model's overlay beside the base shard.
TEST(Checkpoint, AnOverlayReplacesTensors) {
  TwoShards dir;
  std::string both =
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
  put(dir / "s1", safetensors(both, "old1old2"));
  put(dir / "s2", oneTensor("b", "new2"));
  auto checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  ASSERT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(std::memcmp(checkpoint->find("b")->data.data(), "new2", 4), 0);
  EXPECT_EQ(std::memcmp(checkpoint->find("a")->data.data(), "old1", 4), 0);
  dir.index(R"({"weight_map":{"a":"s1","b":"s1"}})");
  checkpoint = Checkpoint::open(dir.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(std::memcmp(checkpoint->find("b")->data.data(), "old2", 4), 0);
}

TEST(Checkpoint, OneFileUnderTwoNames) {
  TwoShards dir;
  fs::remove(dir / "s2");
  fs::create_hard_link(dir / "s1", dir / "s2");
  EXPECT_EQ(dir.error(), dir.path().native() + ": tensor 'a' is in two shards, 's1' and 's2'");
}

struct BadText {
  const char *what;
  const char *text;
  const char *error;

  friend void PrintTo(const BadText &bad, std::ostream *out) { *out << bad.what; }
};

class BadIndex : public testing::TestWithParam<BadText> {};

TEST_P(BadIndex, IsRefused) {
  EXPECT_ERROR(parseIndex(GetParam().text), GetParam().error);
  TwoShards dir;
  dir.index(GetParam().text);
  EXPECT_EQ(dir.error().rfind(dir.indexPath() + ": ", 0), 0u) << dir.error();
}

INSTANTIATE_TEST_SUITE_P(
    Index, BadIndex,
    testing::Values(
        BadText{"Empty", "", "line 1, column 1: syntax error"}, BadText{"Array", "[]", "index must be an object, found array"},
        BadText{"NoMap", "{}", "weight_map is missing"},
        BadText{"NullMap", R"({"weight_map":null})", "weight_map must be an object from tensor to file, found null"},
        BadText{"ArrayMap", R"({"weight_map":["s1"]})", "weight_map must be an object from tensor to file, found array"},
        BadText{"EmptyMap", R"({"weight_map":{}})", "weight_map names no tensor"},
        BadText{"NumberFile", R"({"weight_map":{"a":1}})", "weight_map: tensor 'a' must name a file, found number"},
        BadText{"ObjectFile", R"({"weight_map":{"a":{}}})", "weight_map: tensor 'a' must name a file, found object"},
        BadText{"TensorTwice", R"({"weight_map":{"a":"s1","\u0061":"s2"}})", "key 'a' is given twice in this object"},
        BadText{"MapTwice", R"({"weight_map":{"a":"s1"},"weight_map":{"a":"s1"}})", "key 'weight_map' is given twice"},
        BadText{"MetadataArray", R"({"metadata":[],"weight_map":{"a":"s1"}})", "metadata must be an object, found array"},
        BadText{"TotalSizeText", R"({"metadata":{"total_size":"8"},"weight_map":{"a":"s1"}})",
                "metadata.total_size must be a number of bytes, found string"},
        BadText{"Parent", R"({"weight_map":{"a":"../s1"}})",
                "weight_map: tensor 'a' is in '../s1', which is not the plain name of a file in the checkpoint's folder"},
        BadText{"Absolute", R"({"weight_map":{"a":"/etc/passwd"}})",
                "tensor 'a' is in '/etc/passwd', which is not the plain name"},
        BadText{"Subfolder", R"({"weight_map":{"a":"sub/s1"}})", "tensor 'a' is in 'sub/s1', which is not the plain name"},
        BadText{"Backslash", R"({"weight_map":{"a":"..\\s1"}})", "tensor 'a' is in '..\\s1', which is not the plain name"},
        BadText{"DotDot", R"({"weight_map":{"a":".."}})", "tensor 'a' is in '..', which is not the plain name"},
        BadText{"Dot", R"({"weight_map":{"a":"."}})", "tensor 'a' is in '.', which is not the plain name"},
        BadText{"NoName", R"({"weight_map":{"a":""}})", "tensor 'a' is in '', which is not the plain name"},
        BadText{"NulName", R"({"weight_map":{"a":"s1\u0000x"}})", "tensor 'a' is in 's1\\x00x', which is not the plain name"}),
    [](const auto &info) { return info.param.what; });

TEST(Index, MetadataMayBeAbsentOrLie) {
  EXPECT_TRUE(parseIndex(R"({"weight_map":{"a":"s1"}})"));
  EXPECT_TRUE(parseIndex(R"({"metadata":{},"weight_map":{"a":"s1"}})"));
  EXPECT_TRUE(parseIndex(R"({"metadata":{"total_size":1.5e12},"weight_map":{"a":"s1"}})"));
}

} // namespace
