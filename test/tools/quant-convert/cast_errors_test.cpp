//===- cast_errors_test.cpp - what the converting commands refuse ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "cast_oracle.h"
#include "run_convert.h"

#include <limits>
#include <sys/stat.h>

using namespace quant;
using namespace quant::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

class CastErrors : public testing::Test {
protected:
  std::string bf16(const fs::path &in) const {
    return "cast-bf16 --input-fp8-hf-path " + in.string() + " --output-bf16-hf-path " + out.string() + " ";
  }
  std::string fp8(const fs::path &in) const {
    return "cast-fp8 --input-bf16-hf-path " + in.string() + " --output-fp8-hf-path " + out.string() + " --weights-list " +
           list.string() + " ";
  }
  /// Exit status 1 and these words.
  void refused(const std::string &arguments, const std::string &words, const std::string &prefix = "") {
    Outcome outcome = runConvert(dir, arguments, prefix);
    EXPECT_EQ(outcome.code, 1) << arguments;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err << "lacks: " << words;
  }
  /// A checkpoint with an FP8 weight of 1 x 200, all codes `code`, and scales.
  fs::path scaled(std::vector<float> scales, char code = 0x38) {
    fs::remove_all(dir / "in");
    writeCheckpoint(dir / "in", {{{"a.weight", DType::F8E4M3FN, {1, 200}}, std::string(200, code)},
                                 {{"a.weight_scale_inv", DType::F32, {1, int64_t(scales.size())}}, bytesOf(scales)}});
    return dir / "in";
  }
  /// A checkpoint with a BF16 weight of 2 x 100 to be cast, one element of it set.
  fs::path plain(uint16_t bits = 0x3F80) {
    fs::remove_all(dir / "in");
    std::vector<uint16_t> weights(200, 0x3F80);
    weights[142] = bits;
    writeCheckpoint(dir / "in", {{{"a.weight", DType::BF16, {2, 100}}, bytesOf(weights)}});
    writeText(list, "a.weight\n");
    return dir / "in";
  }

  TestDir dir;
  fs::path out = dir / "out", list = dir / "list";
};

//===----------------------------------------------------------------------===//
// Weights and scales
//===----------------------------------------------------------------------===//

TEST_F(CastErrors, MissingAndOrphanScales) {
  writeCheckpoint(dir / "in", {{{"a.weight", DType::F8E4M3FN, {1, 4}}, "1234"}});
  refused(bf16(dir / "in"),
          "model.safetensors: tensor 'a.weight': is FP8 and its scale 'a.weight_scale_inv' is in no shard; is the "
          "download complete? --keep-unscaled leaves such weights FP8");
  json summary = json::parse(convertOk(dir, bf16(dir / "in") + "--keep-unscaled --json").out);
  EXPECT_EQ(summary["unscaled"], 1);
  expectSameTensors(dir / "in", out);
  fs::remove_all(out);

  writeCheckpoint(dir / "orphan", {{{"a.weight_scale_inv", DType::F32, {1, 1}}, "1234"}});
  refused(bf16(dir / "orphan"), "tensor 'a.weight_scale_inv': is a scale, and its weight 'a.weight' is in no shard");
  writeCheckpoint(dir / "plain",
                  {{{"a.weight_scale_inv", DType::F32, {1, 1}}, "1234"}, {{"a.weight", DType::BF16, {1, 2}}, "1234"}});
  refused(bf16(dir / "plain"), "tensor 'a.weight_scale_inv': is a scale, and its weight 'a.weight' is not FP8");
}

TEST_F(CastErrors, ScalesThatAreNone) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  refused(bf16(scaled({1, 2, 3})),
          "tensor 'a.weight_scale_inv': has shape [1, 3], the weight's [1, 200] in blocks of 128x128 needs "
          "[1, 2]; is weight_block_size in config.json right?");
  refused(bf16(scaled({1, NAN})), "tensor 'a.weight_scale_inv': block [0, 1] has scale nan, scales are finite and not negative");
  refused(bf16(scaled({inf, 1})), "block [0, 0] has scale inf");
  refused(bf16(scaled({1, -0.5f})), "block [0, 1] has scale -0.5");
  EXPECT_FALSE(fs::exists(out)) << "scales are looked at before anything is written";
  convertOk(dir, bf16(scaled({1, 0}))); // a block of zeros
}

TEST_F(CastErrors, CodesThatHaveNoValue) {
  refused(bf16(scaled({1, 1}, 0x7F)), "tensor 'a.weight': element [0, 0] is NaN; is the file damaged?");
  fs::remove_all(out);
  refused(bf16(scaled({1, 1e37f}, 0x7E)), "tensor 'a.weight': element [0, 128] times its scale does not fit into bf16");
  fs::remove_all(out);
  writeCheckpoint(dir / "e5m2",
                  {{{"a.weight", DType::F8E5M2, {1, 4}}, "1234"}, {{"a.weight_scale_inv", DType::F32, {1, 1}}, "1234"}});
  refused(bf16(dir / "e5m2"), "tensor 'a.weight': is F8_E5M2, only F8_E4M3 can be converted");
}

TEST_F(CastErrors, WeightsThatHaveNoCode) {
  refused(fp8(plain(0x7FC0)), "tensor 'a.weight': element [1, 42] is NaN, which has no FP8 form; leave the weight as it is with "
                              "--ignore");
  fs::remove_all(out);
  refused(fp8(plain(0xFF80)), "tensor 'a.weight': element [1, 42] is infinite, which has no FP8 form");
  EXPECT_FALSE(fs::exists(out / "model.safetensors"));
  convertOk(dir, fp8(plain(0x7FC0)) + "--ignore a"); // a run that failed before its first shard leaves nothing behind
}

TEST_F(CastErrors, ListsThatDoNotFit) {
  fs::path in = plain();
  writeText(list, "a.weight\nb.weight\n");
  refused(fp8(in), "tensor 'b.weight', which is to be cast according to " + list.string() +
                       ", is in no shard; leave it out with --ignore");
  convertOk(dir, fp8(in) + "--ignore b");
  fs::remove_all(out);
  writeText(list, "\n# nothing\n");
  refused(fp8(in), "list: names no weight");
  writeText(list, "a.weight\n");
  refused(fp8(in) + "--ignore '('", "--ignore '(': is no regular expression");
  refused(fp8(scaled({1, 1})),
          "tensor 'a.weight': is F8_E4M3, only BF16, F16 and F32 can be cast; is this an FP8 checkpoint already?");
  writeCheckpoint(dir / "one", {{{"a.weight", DType::F32, {1}}, "1234"}});
  refused(fp8(dir / "one"), "tensor 'a.weight': has 1 dimensions, block scales need two");
  std::string noConfig = "cast-fp8 --input-bf16-hf-path " + plain().string() + " --output-fp8-hf-path " + out.string();
  refused(noConfig, "say which weights to cast: --input-fp8-hf-path or --weights-list");
  refused(noConfig + " --input-fp8-hf-path " + (dir / "one").string(),
          "holds no scale ('*.weight_scale_inv' or '*.weight_scale'); is it an FP8 checkpoint?");
}

TEST_F(CastErrors, WrongCallsExitWith2) {
  for (const char *call : {"cast-fp8", "cast-fp8 --input-bf16-hf-path x", "cast-fp8 --output-fp8-hf-path x",
                           "cast-fp8 --input-fp8-hf-path x --reuse-scales", "cast-bf16", "cast-bf16 --input-fp8-hf-path x",
                           "cast-fp8 --input-bf16-hf-path x --output-fp8-hf-path y --reuse-scales",
                           "cast-fp8 --input-bf16-hf-path x --output-fp8-hf-path y --scale-fmt e5m2",
                           "cast-fp8 --input-bf16-hf-path x --output-fp8-hf-path y --block-size 0,128",
                           "cast-fp8 --input-bf16-hf-path x --output-fp8-hf-path y --block-size 128", "shard --hf-ckpt-path x"}) {
    Outcome outcome = runConvert(dir, call);
    EXPECT_EQ(outcome.code, 2) << call << outcome.err;
    EXPECT_EQ(outcome.err.rfind("quant-convert: error: ", 0), 0u) << outcome.err;
  }
}

//===----------------------------------------------------------------------===//
// Folders and disks
//===----------------------------------------------------------------------===//

TEST_F(CastErrors, OutputEqualToInput) {
  fs::path in = scaled({1, 2});
  std::string before = readAll(in / "model.safetensors");
  fs::create_directory_symlink(in, dir / "link");
  for (const fs::path &same : {in, in / ".", dir / "link", in / ".." / "in"})
    for (const char *more : {"", "--force", "--dry-run"})
      refused("cast-bf16 --input-fp8-hf-path " + in.string() + " --output-bf16-hf-path " + same.string() + " " + more,
              ": is the folder that is read from; choose another --output-bf16-hf-path");
  EXPECT_EQ(readAll(in / "model.safetensors"), before);
  fs::path reference = in;
  writeCheckpoint(dir / "plain", {{{"a.weight", DType::BF16, {1, 200}}, std::string(400, 1)}});
  refused("cast-fp8 --force --input-bf16-hf-path " + (dir / "plain").string() + " --output-fp8-hf-path " + reference.string() +
              " --input-fp8-hf-path " + reference.string(),
          ": is the folder that is read from");
}

TEST_F(CastErrors, HardLinksAndSymlinksToTheInputStayAsTheyAre) {
  fs::path in = scaled({1, 2});
  std::string before = readAll(in / "model.safetensors");
  fs::create_directories(out);
  fs::create_hard_link(in / "model.safetensors", out / "model.safetensors");
  convertOk(dir, bf16(in) + "--force");
  EXPECT_EQ(readAll(in / "model.safetensors"), before);
  EXPECT_NE(readAll(out / "model.safetensors"), before);
  fs::remove_all(out);
  fs::create_directories(out);
  fs::create_symlink(in / "model.safetensors", out / "model.safetensors");
  convertOk(dir, bf16(in) + "--force");
  EXPECT_EQ(readAll(in / "model.safetensors"), before);
  EXPECT_FALSE(fs::is_symlink(out / "model.safetensors"));
}

TEST_F(CastErrors, Fifos) {
  fs::path in = scaled({1, 2});
  ASSERT_EQ(::mkfifo((in / "tokenizer.json").c_str(), 0600), 0);
  refused(bf16(in), "tokenizer.json: is a FIFO, not a regular file");
  fs::remove(in / "tokenizer.json");
  ASSERT_EQ(::mkfifo((in / "config.json").c_str(), 0600), 0);
  refused(bf16(in), "config.json: is a FIFO, not a regular file");
  fs::remove(in / "config.json");
  ASSERT_EQ(::mkfifo(out.c_str(), 0600), 0);
  refused(bf16(in), "out: is not a folder; choose another --output-bf16-hf-path");
  fs::remove(out);
  fs::create_directories(out);
  ASSERT_EQ(::mkfifo((out / "config.json").c_str(), 0600), 0);
  writeText(in / "config.json", "{}");
  refused(bf16(in) + "--force", "config.json: is a FIFO and will not be replaced by a file");
}

/// A file size limit is to a writer what a full disk is.
TEST_F(CastErrors, NoRoomForAShard) {
  std::vector<uint16_t> weights(1 << 20, 0x3F80);
  writeCheckpoint(dir / "in", {{{"a.weight", DType::BF16, {1024, 1024}}, bytesOf(weights)}});
  writeText(list, "a.weight\n");
  refused(fp8(dir / "in"), "cannot reserve 10", "ulimit -f 100; ");
  EXPECT_FALSE(fs::exists(out / "model.safetensors"));
  EXPECT_FALSE(fs::exists(out / "model.safetensors.index.json"));
  EXPECT_TRUE(fs::is_empty(out)) << "no half-written file stays";
  convertOk(dir, fp8(dir / "in")); // with room it goes on
}

TEST_F(CastErrors, DryRunWritesNothingAndTellsAll) {
  fs::path in = scaled({1, 2});
  writeText(in / "config.json", "{}");
  json plan = json::parse(convertOk(dir, bf16(in) + "--dry-run --json").out);
  EXPECT_FALSE(fs::exists(out));
  EXPECT_EQ(plan["bytes"], 400);
  EXPECT_EQ(plan["tensors"], 1);
  EXPECT_EQ(plan["cast"], 1);
  EXPECT_EQ(plan["shards"][0]["file"], "model.safetensors");
  EXPECT_EQ(plan["files"], (json{"config.json"}));
  EXPECT_GT(plan["free_bytes"], 0);
  Outcome words = convertOk(dir, bf16(in) + "--dry-run");
  EXPECT_NE(words.out.find("would write 1 tensor, 400 B, in 1 shard to "), std::string::npos) << words.out;
  EXPECT_NE(words.out.find(" are free there"), std::string::npos) << words.out;
}

TEST_F(CastErrors, FilesOfTheIndexThatAreNoShards) {
  fs::create_directories(dir / "in");
  writeTensors(dir / "in" / "config.json", {{{"a.weight", DType::BF16, {1}}, "12"}});
  ASSERT_TRUE(checkpoint::writeIndex(dir / "in", {{"a.weight", "config.json"}}, 2));
  Outcome outcome = runConvert(dir, bf16(dir / "in"));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_FALSE(fs::exists(out));
}

} // namespace
