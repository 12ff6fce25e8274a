//===- gpu_memory_test.cpp - what of a program a GPU is given ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/memory.h"
#include "runtime/module/module.h"

#include "toy_model.h"

#include <gtest/gtest.h>

namespace quant::runtime::test {
namespace {

/// Notes what it is asked for. Addresses are far apart and point to nothing.
class FakeDevice : public GpuDevice {
public:
  const std::string &isa() const override { return name; }
  int64_t multiprocessors() const override { return 1; }
  Result<void> reserve(const MemoryNeeds &asked) override {
    needs = asked;
    return {};
  }
  Result<Region> allocate(uint64_t bytes, const std::string &) override {
    allocated += gpuAligned(bytes);
    return region(bytes);
  }
  Result<Region> constant(std::span<const std::span<const std::byte>> parts) override {
    uint64_t bytes = 0;
    for (std::span<const std::byte> part : parts)
      bytes += part.size();
    constants += gpuAligned(bytes);
    ++constantCalls;
    return region(bytes);
  }
  Result<std::byte *> hostMemory(uint64_t, const std::string &) override { return fail("nothing is exchanged here"); }
  Result<void> write(const Region &, const std::byte *) override { return {}; }
  Result<void> read(std::byte *, const Region &) override { return {}; }
  Result<void> synchronize() override { return {}; }
  Result<std::unique_ptr<PreparedLaunch>> prepare(const LaunchPlan &) override { return fail("nothing is launched here"); }

  MemoryNeeds needs;
  uint64_t allocated = 0, constants = 0;
  int constantCalls = 0;

private:
  Region region(uint64_t bytes) { return {nextAddress += uint64_t(1) << 32, bytes}; }

  std::string name = "fake";
  uint64_t nextAddress = 0;
};

/// The toy's program, with one more name for its embedding.
class GpuMemoryTest : public testing::Test {
protected:
  GpuMemoryTest()
      : toy([](TestModule &parts) { parts.program["values"].push_back(again(parts.program["values"][kEmbedding])); }) {
    module = std::make_unique<Module>(*openModule(toy.module()));
    weights = std::make_unique<checkpoint::Checkpoint>(*checkpoint::Checkpoint::open(toy.weights()));
    memory = std::make_unique<GpuMemory>(module->find("host")->program, kToyMaxContext);
    EXPECT_TRUE(memory->findWeights(*weights));
  }
  static nlohmann::json again(nlohmann::json value) {
    value["aliases"] = {value["name"]};
    value["name"] = "head.weight";
    return value;
  }
  void place() {
    Result<void> placed = memory->place(device);
    EXPECT_TRUE(placed) << placed.error().message;
    EXPECT_EQ(device.constants, device.needs.constants);
    EXPECT_EQ(device.allocated, device.needs.workspace + device.needs.caches + device.needs.inputsAndOutputs);
  }

  enum Index { kTokens, kLogits, kEmbedding, kExperts, kCache, kHidden, kHead = 10 };

  ToyModel toy;
  std::unique_ptr<Module> module;
  std::unique_ptr<checkpoint::Checkpoint> weights;
  std::unique_ptr<GpuMemory> memory;
  FakeDevice device;
};

TEST_F(GpuMemoryTest, IsAsMuchAsWasReserved) {
  for (int value : {kEmbedding, kExperts, kCache, kHidden})
    EXPECT_TRUE(memory->use({{value}}));
  place();
  EXPECT_EQ(device.needs.constants, 512u + 3 * 256 + 256); // the embedding, three experts, their table
  EXPECT_EQ(device.needs.caches, 8192u);
  EXPECT_EQ(memory->of({{kTokens}}).region.bytes, 16u);
  EXPECT_EQ(memory->of({{kLogits}}).region.bytes, 256u);
  EXPECT_EQ(memory->of({{kExperts}}).pointees.size(), 3u);
}

TEST_F(GpuMemoryTest, HoldsATensorOnce) {
  for (int value : {kEmbedding, kHead})
    EXPECT_TRUE(memory->use({{value}}));
  place();
  EXPECT_EQ(device.constantCalls, 1);
  EXPECT_EQ(memory->of({{kEmbedding}}).region.address, memory->of({{kHead}}).region.address);
}

TEST_F(GpuMemoryTest, HoldsJoinedWeightsInTheirBufferAlone) {
  EXPECT_TRUE(memory->use({{kEmbedding, kHead}}));
  place();
  EXPECT_EQ(device.constantCalls, 1);
  EXPECT_EQ(memory->of({{kEmbedding, kHead}}).region.bytes, 1024u);
}

TEST_F(GpuMemoryTest, JoinsWeightsAlone) {
  Result<void> used = memory->use({{kEmbedding, kHidden}});
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().message, "the launch recipe joins workspace 'hidden', which is no weight");
}

TEST_F(GpuMemoryTest, StacksExpertsInOneBuffer) {
  EXPECT_TRUE(memory->use({{kExperts}, true}));
  EXPECT_TRUE(memory->use({{kExperts, kExperts}, true}));
  place();
  EXPECT_EQ(device.constantCalls, 2);
  GpuMemory::Place once = memory->of({{kExperts}, true}), twice = memory->of({{kExperts, kExperts}, true});
  EXPECT_TRUE(once.pointees.empty());
  EXPECT_EQ(twice.region.bytes, 2 * once.region.bytes);
}

TEST_F(GpuMemoryTest, StacksWeightGroupsAlone) {
  Result<void> used = memory->use({{kEmbedding}, true});
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().message, "the launch recipe stacks weight 'embed.weight', which is no weight group");
}

TEST_F(GpuMemoryTest, KnowsTheScales) { EXPECT_EQ(memory->scales().size(), 3u); }

} // namespace
} // namespace quant::runtime::test
