//===- common_test.cpp - what the tools share, and the plan of shards -----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/file.h"
#include "test_dir.h"
#include "tools/common/output_dir.h"
#include "tools/common/progress.h"
#include "tools/common/units.h"
#include "tools/quant-convert/schemes/shard_plan.h"

#include <thread>
#include <vector>

using namespace quant;
using namespace quant::tools;
using quant::models::TensorRole;
using quant::models::TensorSpec;

namespace {

TEST(Units, Bytes) {
  EXPECT_EQ(humanBytes(0), "0 B");
  EXPECT_EQ(humanBytes(999), "999 B");
  EXPECT_EQ(humanBytes(1500), "1.50 kB");
  EXPECT_EQ(humanBytes(999'499), "999 kB");
  EXPECT_EQ(humanBytes(999'999), "1.00 MB");
  EXPECT_EQ(humanBytes(688'586'727'753), "689 GB");
  EXPECT_EQ(humanBytes(UINT64_MAX), "18.4 EB");
}

TEST(Units, Times) {
  EXPECT_EQ(humanTime(0), "0:00");
  EXPECT_EQ(humanTime(7.4), "0:07");
  EXPECT_EQ(humanTime(750), "12:30");
  EXPECT_EQ(humanTime(3723), "1:02:03");
  EXPECT_EQ(humanTime(1e300), "99:59:59");
}

TEST(Progress, Line) {
  EXPECT_EQ(progressLine("writing", 0, 1000, 0), "writing [........................]   0%  0 B of 1.00 kB");
  EXPECT_EQ(progressLine("writing", 500, 1000, 5),
            "writing [############............]  50%  500 B of 1.00 kB  100 B/s  ETA 0:05");
  EXPECT_EQ(progressLine("writing", 0, 0, 1), "writing [########################] 100%  0 B of 0 B");
}

TEST(Progress, DrawsFromManyThreadsAndClearsItsLine) {
  std::FILE *terminal = std::tmpfile();
  {
    Progress progress("x", 4000, terminal);
    std::vector<std::thread> workers;
    for (int worker = 0; worker < 4; ++worker)
      workers.emplace_back([&] {
        for (int i = 0; i < 10; ++i) {
          progress.add(100);
          std::this_thread::sleep_for(std::chrono::milliseconds(15));
        }
      });
    for (std::thread &worker : workers)
      worker.join();
  }
  std::string drawn(static_cast<size_t>(std::ftell(terminal)), '\0');
  std::rewind(terminal);
  ASSERT_EQ(std::fread(drawn.data(), 1, drawn.size(), terminal), drawn.size());
  std::fclose(terminal);
  EXPECT_NE(drawn.find("x ["), std::string::npos);
  EXPECT_TRUE(drawn.ends_with("\r\x1b[K"));
}

TEST(OutputDir, RefusesAFile) {
  test::TestDir dir;
  std::ofstream(dir / "file") << "x";
  auto ready = prepareOutputDir(dir / "file", 1, true);
  ASSERT_FALSE(ready);
  EXPECT_EQ(ready.error().message, (dir / "file").string() + ": is not a folder; choose another --output");
  EXPECT_FALSE(prepareOutputDir(dir / "file" / "below", 1, true));
}

TEST(OutputDir, CreatesAndChecksTheRoom) {
  test::TestDir dir;
  EXPECT_TRUE(prepareOutputDir(dir / "a" / "b", 1, false));
  EXPECT_TRUE(std::filesystem::is_directory(dir / "a" / "b"));
  EXPECT_TRUE(prepareOutputDir(dir / "a" / "b", 1, false)) << "empty is fine";
  EXPECT_FALSE(prepareOutputDir(dir / "c", UINT64_MAX, false));
  EXPECT_FALSE(std::filesystem::exists(dir / "c"));
}

/// What killed runs leave behind goes away; nothing else does.
TEST(OutputDir, LeftoversDoNotCount) {
  test::TestDir dir;
  const char *leftovers[] = {".model-00001-of-00002.safetensors.123-0.tmp", ".config.json.7-12.tmp",
                             ".model.safetensors.index.json.1-3.tmp"};
  auto leave = [&] {
    for (const char *name : leftovers)
      std::ofstream(dir / name) << "half";
  };
  leave();
  auto ready = prepareOutputDir(dir.path, 1, false);
  ASSERT_TRUE(ready) << ready.error().message;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path));
  leave();
  for (const char *name : {".tmp", ".x.tmp", ".x.1-.tmp", ".x.-1.tmp", ".x.1.tmp", "x.1-1.tmp", ".x.1-1.tmp2", ".1-1.tmp"})
    std::ofstream(dir / name) << "somebody else's";
  EXPECT_FALSE(prepareOutputDir(dir.path, 1, false));
  EXPECT_TRUE(std::filesystem::exists(dir / leftovers[0])) << "refused, and yet removed something";
  ready = prepareOutputDir(dir.path, 1, true);
  ASSERT_TRUE(ready) << ready.error().message;
  for (const char *name : leftovers)
    EXPECT_FALSE(std::filesystem::exists(dir / name)) << name;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path), {}), 8);
}

TEST(OutputDir, RefusesAFolderThatIsBeingWrittenTo) {
  test::TestDir dir;
  auto file = checkpoint::AtomicFile::create(dir / "model.safetensors");
  ASSERT_TRUE(file);
  for (bool force : {false, true}) {
    auto ready = prepareOutputDir(dir.path, 1, force);
    ASSERT_FALSE(ready);
    EXPECT_NE(ready.error().message.find(": another process is writing to it ('.model.safetensors."), std::string::npos)
        << ready.error().message;
  }
  ASSERT_TRUE(file->commit());
  EXPECT_TRUE(prepareOutputDir(dir.path, 1, true));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path));
}

TEST(ShardPlan, KeepsWeightAndScaleTogether) {
  auto weight = [](const char *name, int64_t bytes) {
    return TensorSpec{name, DType::F8E4M3FN, {bytes}, TensorRole::Linear};
  };
  auto scale = [](const char *name) { return TensorSpec{name, DType::F32, {1}, TensorRole::Scale}; };
  std::vector<TensorSpec> tensors = {weight("a", 40),     scale("a.s"),    weight("b", 60), scale("b.s"),
                                     weight("huge", 500), scale("huge.s"), weight("c", 1)};
  auto shards = convert::planShards(tensors, 105);
  ASSERT_EQ(shards.size(), 4u);
  EXPECT_EQ(shards[0].file, "model-00001-of-00004.safetensors");
  EXPECT_EQ(shards[0].bytes, 44u) << "b fits without its scale only";
  EXPECT_EQ(shards[2].begin, 4u);
  EXPECT_EQ(shards[2].end, 6u);
  EXPECT_EQ(shards[3].end, tensors.size());
}

} // namespace
