//===- resume_test.cpp - runs that are killed, repeated, or get in each other's way -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "run_convert.h"
#include "run_in_background.h"
#include "tools/common/output_dir.h"

#include <fcntl.h>
#include <functional>
#include <map>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace quant;
using namespace quant::test;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

/// Every file of a folder, which need not be there, and its bytes.
std::map<std::string, std::string> contents(const fs::path &dir) {
  std::map<std::string, std::string> files;
  std::error_code none;
  for (const auto &entry : fs::directory_iterator(dir, none))
    files[entry.path().filename().string()] = readAll(entry.path());
  return files;
}

/// Starts a run and kills it as soon as `there`. False: it was done before.
bool killWhen(const std::vector<std::string> &arguments, const std::function<bool()> &there) {
  Background run(arguments);
  while (!there() && run.isRunning())
    ::usleep(200);
  return run.kill();
}

class Resume : public testing::Test {
protected:
  void SetUp() override {
    convertOk(dir, "random --config " + config("toy_v3.json").string() + " --output " + fp8.string() + " --shard-size 700kB");
    convertOk(dir, "cast-bf16 --input-fp8-hf-path " + fp8.string() + " --output-bf16-hf-path " + bf16.string());
  }
  std::vector<std::string> command(const fs::path &out) const {
    return {"cast-fp8", "--input-bf16-hf-path", bf16.string(), "--output-fp8-hf-path", out.string()};
  }
  static std::string line(const std::vector<std::string> &command) {
    std::string text;
    for (const std::string &argument : command)
      text += argument + " ";
    return text;
  }
  std::string line(const fs::path &out) const { return line(command(out)); }
  void killAtRandomMoments(const std::function<std::vector<std::string>(const fs::path &out)> &command);
  fs::path state(const fs::path &out) const { return out / tools::kRunStateFileName; }

  TestDir dir;
  fs::path fp8 = dir / "fp8", bf16 = dir / "bf16";
};

/// Rounds of up to three kills and a run to the end; QUANT_KILL_ROUNDS says how many (2), QUANT_KILL_SEED repeats them.
void Resume::killAtRandomMoments(const std::function<std::vector<std::string>(const fs::path &out)> &command) {
  const char *asked = std::getenv("QUANT_KILL_ROUNDS"), *given = std::getenv("QUANT_KILL_SEED");
  int rounds = asked ? std::atoi(asked) : 2, killed = 0;
  unsigned seed = given ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
  SCOPED_TRACE("QUANT_KILL_SEED=" + std::to_string(seed));
  auto begin = std::chrono::steady_clock::now();
  convertOk(dir, line(command(dir / "whole")));
  auto once = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin).count();
  auto whole = contents(dir / "whole");
  std::mt19937 random(seed);
  for (int round = 0; round < rounds; ++round) {
    fs::path out = dir / ("out" + std::to_string(round));
    bool isDone = false;
    for (int i = 0; i < 3 && !isDone; ++i) {
      Background run(command(out));
      ::usleep(static_cast<useconds_t>(random() % static_cast<unsigned>(once)));
      isDone = !run.kill();
      killed += !isDone;
    }
    auto found = contents(out);
    if (!isDone && found != whole) { // the last kill may have come too late
      convertOk(dir, line(command(out)));
      found = contents(out);
    }
    ASSERT_EQ(found.size(), whole.size()) << "round " << round;
    for (const auto &[name, bytes] : whole)
      ASSERT_TRUE(found[name] == bytes) << name << " in round " << round;
    fs::remove_all(out);
  }
  std::printf("killed %d times in %d rounds\n", killed, rounds);
}

TEST_F(Resume, CastFp8KilledAtRandomMomentsComesToTheSame) {
  killAtRandomMoments([&](const fs::path &out) { return command(out); });
}

TEST_F(Resume, CastBf16KilledAtRandomMomentsComesToTheSame) {
  killAtRandomMoments([&](const fs::path &out) -> std::vector<std::string> {
    return {"cast-bf16", "--input-fp8-hf-path", fp8.string(), "--output-bf16-hf-path", out.string()};
  });
}

TEST_F(Resume, RandomKilledAtRandomMomentsComesToTheSame) {
  killAtRandomMoments([&](const fs::path &out) -> std::vector<std::string> {
    return {"random", "--config", config("toy_v3.json").string(), "--output", out.string(), "--shard-size", "700kB"};
  });
}

TEST_F(Resume, ShardKilledAtRandomMomentsComesToTheSame) {
  killAtRandomMoments([&](const fs::path &out) -> std::vector<std::string> {
    return {"shard", "--hf-ckpt-path",   fp8.string(), "--save-path", out.string(), "--n-experts",
            "16",    "--model-parallel", "4",          "--requantize"};
  });
}

TEST_F(Resume, QuantizeKilledAtRandomMomentsComesToTheSame) {
  killAtRandomMoments([&](const fs::path &out) -> std::vector<std::string> {
    return {"quantize", bf16.string(), "--policy=experts-int4", "--scheme=w8a8", "--method=mse", "-o", out.string()};
  });
}

TEST_F(Resume, GoesOnBehindTheLastWholeShard) {
  fs::path out = dir / "out";
  // Killed as soon as two shards are there.
  auto shards = [&] {
    int count = 0;
    std::error_code ignored;
    for (fs::directory_iterator it(out, ignored), end; !ignored && it != end; it.increment(ignored))
      count += it->path().extension() == ".safetensors";
    return count;
  };
  if (!killWhen(command(out), [&] { return shards() >= 2; }))
    GTEST_SKIP() << "too fast to be caught";
  EXPECT_FALSE(fs::exists(out / "model.safetensors.index.json")) << "it claims to be whole";

  // Neither other options, nor other inputs, nor another command may go on.
  Outcome other = runConvert(dir, line(out) + "--scale-fmt ue8m0");
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.err.find(": holds an unfinished run of 'cast-fp8' with other inputs or options; finish it with those; choose "
                           "another --output-fp8-hf-path or start over with --force"),
            std::string::npos)
      << other.err;
  EXPECT_EQ(runConvert(dir, "cast-bf16 --input-fp8-hf-path " + fp8.string() + " --output-bf16-hf-path " + out.string()).code, 1);

  json summary = json::parse(convertOk(dir, line(out) + "--json --verify --threads 1").out);
  EXPECT_GE(summary["shards_kept"], 1);
  EXPECT_EQ(summary["shards_kept"].get<int>() + summary["shards_written"].get<int>(), summary["shards"].size());
  EXPECT_FALSE(fs::exists(state(out)));
  convertOk(dir, line(dir / "whole"));
  EXPECT_EQ(contents(out), contents(dir / "whole"));
}

TEST_F(Resume, AShardThatWasTouchedIsMadeAnew) {
  fs::path out = dir / "out";
  convertOk(dir, line(out));
  auto whole = contents(out);
  // As if killed before the state was removed.
  json done = json::object();
  for (const auto &[name, bytes] : whole)
    if (name.ends_with(".safetensors")) {
      struct stat status;
      ASSERT_EQ(::stat((out / name).c_str(), &status), 0);
      done[name] = {status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
    }
  if (!killWhen(command(dir / "twin"), [&] { return fs::exists(state(dir / "twin")); }) || !fs::exists(state(dir / "twin")))
    GTEST_SKIP() << "too fast to be caught"; // the twin's state has the fingerprint
  json kept = json::parse(readAll(state(dir / "twin")));
  kept["done"] = done;
  writeText(state(out), kept.dump());
  std::string first = done.begin().key();
  std::ofstream(out / first, std::ios::app) << "x";
  json summary = json::parse(convertOk(dir, line(out) + "--json").out);
  EXPECT_EQ(summary["shards_written"], 1);
  EXPECT_EQ(contents(out), whole);
}

TEST_F(Resume, AnInputThatChangedStartsNoRun) {
  fs::path out = dir / "out";
  if (!killWhen(command(out), [&] { return fs::exists(state(out)); }) || !fs::exists(state(out)))
    GTEST_SKIP() << "too fast to be caught";
  fs::path shard;
  for (const auto &entry : fs::directory_iterator(bf16))
    if (entry.path().extension() == ".safetensors")
      shard = entry.path();
  fs::last_write_time(shard, fs::last_write_time(shard) + std::chrono::seconds(1));
  EXPECT_EQ(runConvert(dir, line(out)).code, 1);
  convertOk(dir, line(out) + "--force");
  EXPECT_FALSE(fs::exists(state(out)));
}

TEST_F(Resume, AFolderInUseOrWithABadStateIsRefused) {
  fs::path out = dir / "out";
  fs::create_directories(out);
  int folder = ::open(out.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(::flock(folder, LOCK_EX), 0);
  Outcome busy = runConvert(dir, line(out));
  EXPECT_EQ(busy.code, 1);
  EXPECT_NE(busy.err.find(": another process is writing to it"), std::string::npos) << busy.err;
  ::close(folder);
  for (const char *text : {"", "[]", "{\"fingerprint\": 1}", "{\"fingerprint\": \"x\"}"}) {
    writeText(state(out), text);
    Outcome outcome = runConvert(dir, line(out));
    EXPECT_EQ(outcome.code, 1) << text;
    EXPECT_NE(outcome.err.find("start over with --force"), std::string::npos) << outcome.err;
  }
  convertOk(dir, line(out) + "--force");
  EXPECT_FALSE(fs::exists(state(out)));
}

TEST_F(Resume, LeftoversOfKilledRunsGo) {
  fs::path out = dir / "out";
  fs::create_directories(out);
  writeText(out / ".model-00001-of-00009.safetensors.12-0.tmp", "half");
  convertOk(dir, line(out));
  EXPECT_FALSE(fs::exists(out / ".model-00001-of-00009.safetensors.12-0.tmp"));
  Outcome again = runConvert(dir, line(out));
  EXPECT_EQ(again.code, 1);
  EXPECT_NE(again.err.find("is not empty; choose another --output-fp8-hf-path"), std::string::npos) << again.err;
}

} // namespace
