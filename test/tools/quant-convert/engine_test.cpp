//===- engine_test.cpp - plans, writing at positions, reading back --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/engine/engine.h"

#include "run_convert.h"
#include "tools/quant-convert/engine/verify.h"

using namespace quant;
using namespace quant::convert;
using namespace quant::test;
using checkpoint::SafetensorsWriter;
namespace fs = std::filesystem;

namespace {

std::span<const std::byte> asBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(WriteAt, AnyOrderEachByteOnce) {
  TestDir dir;
  auto writer = SafetensorsWriter::create(dir / "a.safetensors", {{"x", DType::U8, {6}}, {"y", DType::U8, {2}}});
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->writeAt("x", 4, asBytes("ef")));
  ASSERT_TRUE(writer->append("y", asBytes("yy")));
  ASSERT_TRUE(writer->writeAt("x", 0, asBytes("abcd")));
  EXPECT_TRUE(writer->writeAt("x", 6, {}));
  auto beyond = writer->writeAt("x", 5, asBytes("zz"));
  ASSERT_FALSE(beyond);
  EXPECT_NE(beyond.error().message.find("tensor 'x' takes 6 bytes, given 2 at byte 5"), std::string::npos)
      << beyond.error().message;
  EXPECT_FALSE(writer->writeAt("x", UINT64_MAX, asBytes("z")));
  EXPECT_FALSE(writer->writeAt("z", 0, asBytes("z")));
  ASSERT_TRUE(writer->finish());
  EXPECT_FALSE(writer->writeAt("x", 0, asBytes("a")));
  auto file = checkpoint::SafetensorsFile::open(dir / "a.safetensors");
  ASSERT_TRUE(file);
  EXPECT_TRUE(std::ranges::equal(file->data(*file->find("x")), asBytes("abcdef")));
}

TEST(WriteAt, MissingBytesAreToldAtTheEnd) {
  TestDir dir;
  auto writer = SafetensorsWriter::create(dir / "a.safetensors", {{"x", DType::U8, {6}}});
  ASSERT_TRUE(writer && writer->writeAt("x", 1, asBytes("bcdef")));
  EXPECT_NE(writer->finish().error().message.find("tensor 'x' takes 6 bytes, given only 5"), std::string::npos);
}

/// A tensor of `steps` bytes, byte i made by step i; step `bad` fails.
Job countingJob(int64_t steps, int64_t bad = -1) {
  auto run = [=](int64_t step, Sink &sink) -> Result<void> {
    if (bad >= 0 && step >= bad)
      return fail("step " + std::to_string(step));
    auto byte = static_cast<std::byte>(step);
    return sink.put("t", static_cast<uint64_t>(step), std::span(&byte, 1));
  };
  return {{{"t", DType::U8, {steps}}}, steps, run};
}

Plan countingPlan(int64_t steps, int64_t bad = -1) {
  Plan plan;
  plan.command = "test";
  plan.shards = {{"model.safetensors", {countingJob(steps, bad)}}};
  return plan;
}

TEST(Engine, WritesVerifiesAndTellsTheFirstError) {
  TestDir dir;
  auto report = execute(countingPlan(200), {dir / "out", "--out", 4, false, true});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->written, 1u);
  EXPECT_EQ(report->bytesWritten, 200u);
  auto failed = execute(countingPlan(200, 7), {dir / "bad", "--out", 1, false, false});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "step 7");
  EXPECT_FALSE(fs::exists(dir / "bad" / "model.safetensors"));
}

TEST(Engine, UnsafeNamesOfShards) {
  for (const char *name : {"config.json", ".hidden.safetensors"}) {
    Plan plan = countingPlan(1);
    plan.shards[0].file = name;
    EXPECT_FALSE(checkPlan(plan, {"out", "--out"})) << name;
  }
}

TEST(Engine, VerifyFindsTheByteThatChanged) {
  TestDir dir;
  Plan plan = countingPlan(200);
  ASSERT_TRUE(execute(plan, {dir / "out", "--out"}));
  fs::path path = dir / "out" / "model.safetensors";
  tools::Progress progress("verifying", 200, nullptr);
  EXPECT_TRUE(verifyShard(plan.shards[0], path, 2, progress));
  std::string bytes = readAll(path);
  bytes[bytes.size() - 150] = 77;
  std::ofstream(path, std::ios::binary) << bytes;
  auto found = verifyShard(plan.shards[0], path, 1, progress);
  ASSERT_FALSE(found);
  EXPECT_NE(
      found.error().message.find("model.safetensors: tensor 't': byte 50 is 77 on the disk, written was 50; check the disk and "
                                 "run again"),
      std::string::npos)
      << found.error().message;
  auto other = verifyShard(countingPlan(199).shards[0], path, 1, progress);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().message.find("tensor 't' has another dtype or shape; run again"), std::string::npos);
  EXPECT_FALSE(verifyShard(plan.shards[0], dir / "nowhere", 1, progress));
}

} // namespace
