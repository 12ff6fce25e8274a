//===- cluster_test.cpp - clusters and multicast ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/cuda_case.h"

#include <gtest/gtest.h>

#include <numeric>

namespace quant::test {
namespace {

using sim::FindingKind;

CudaFile kernels() { return CudaFile("cluster_kernels"); }

TEST(Cluster, ReadsItsNeighbour) {
  std::vector<int> out(8 * 64);
  sim::Launch launch = launchOf("neighbour", 64, {bufferOf(out)});
  launch.grid[0] = 8;
  expectClean(runLaunch(kernels(), launch));
  for (int block = 0; block < 8; ++block)
    for (int i = 0; i < 64; ++i)
      EXPECT_EQ(out[block * 64 + i], (block / 4 * 4 + (block + 1) % 4) * 1000 + i);
}

TEST(Cluster, CooperativeGroups) {
  std::vector<int> out(4 * 32), counts(4);
  sim::Launch launch = launchOf("cooperative", 32, {bufferOf(out), bufferOf(counts)});
  launch.grid = {2, 2, 1};
  launch.cluster = {2, 2, 1};
  expectClean(runLaunch(kernels(), launch));
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(counts[rank], 2032);
    for (int i = 0; i < 32; ++i)
      EXPECT_EQ(out[rank * 32 + i], (rank ^ 3) * 100 + 31 - i);
  }
}

TEST(Cluster, ExchangesByRemoteArrivals) {
  std::vector<int> out(16);
  sim::Launch launch = launchOf("exchange", 32, {bufferOf(out)});
  launch.grid[0] = 4;
  expectClean(runLaunch(kernels(), launch));
  for (int rank = 0; rank < 4; ++rank)
    for (int t = 0; t < 4; ++t)
      EXPECT_EQ(out[rank * 4 + t], t * 10 + rank);
}

/// A fence before it makes a relaxed arrival release.
TEST(Cluster, RelaxedArrivalsBehindFences) {
  CudaFile file = kernels();
  for (int i = 0; i < 2; ++i)
    file.edit("neighbour", "barrier.cluster.arrive.release.aligned;",
              "fence.acq_rel.cluster; barrier.cluster.arrive.relaxed.aligned;");
  std::vector<int> out(4 * 64);
  sim::Launch launch = launchOf("neighbour", 64, {bufferOf(out)});
  launch.grid[0] = 4;
  expectClean(runLaunch(file, launch));
}

/// `multicast` on `tiles` tiles; `out` gets the sums.
sim::Report runMulticast(const CudaFile &file, int tiles, std::vector<int> &out) {
  std::vector<int> in(tiles * 32 * 32);
  std::iota(in.begin(), in.end(), 0);
  out.resize(64);
  sim::Launch launch;
  launch.kernel = "multicast";
  launch.grid[0] = 2;
  launch.block[0] = 64;
  launch.buffers = {bufferOf(in), bufferOf(out)};
  launch.arguments = {sim::TensorMapArgument{0, mapOf(4, 32, tiles * 32, 32, 16)}, sim::PointerArgument{1, 0},
                      sim::ScalarArgument{static_cast<uint64_t>(tiles)}};
  return runLaunch(file, launch);
}

TEST(Cluster, Multicast) {
  for (int tiles : {1, 2, 3, 7}) {
    std::vector<int> out;
    expectClean(runMulticast(kernels(), tiles, out));
    for (int rank = 0; rank < 2; ++rank)
      for (int lane = 0; lane < 32; ++lane) {
        int sum = 0;
        for (int row = 0; row < tiles * 32; ++row)
          sum += row * 32 + lane;
        EXPECT_EQ(out[rank * 32 + lane], sum * (rank + 1)) << tiles;
      }
  }
}

TEST(Cluster, WhatDoesNotFitIsRefused) {
  auto module = sim::Module::load(kernels().ptx);
  ASSERT_TRUE(module);
  std::vector<int> out(8 * 64);
  sim::Launch launch = launchOf("neighbour", 64, {bufferOf(out)});
  launch.grid[0] = 6;
  auto report = sim::run(**module, launch, {});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message, "a grid of 6 blocks in a dimension in which a cluster has 4");
  launch.grid[0] = 8;
  launch.cluster = {2, 1, 1};
  report = sim::run(**module, launch, {});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().message, "'neighbour' is for clusters of another size than the launch's");
}

//===----------------------------------------------------------------------===//
// Planted faults
//===----------------------------------------------------------------------===//

struct Fault {
  const char *name, *kernel;
  const char *from, *to;
  int nth;
  FindingKind kind;
  /// Text of the line the finding must name; empty: the line of the edit.
  const char *site;
  int siteNth;
};

void PrintTo(const Fault &fault, std::ostream *os) { *os << fault.name; }

constexpr const char *kArrive = "barrier.cluster.arrive.release.aligned;", *kWait = "barrier.cluster.wait.acquire.aligned;";
constexpr const char *kTryWait = "mbarrier.try_wait";
constexpr const char *kRemoteArrive = "mbarrier.arrive.release.cluster.shared::cluster.b64";
constexpr const char *kMulticast =
    "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster";

const Fault kFaults[] = {
    // The neighbour may not have written yet; it may not have begun.
    {"ReadsBeforeTheBarrier", "neighbour", kArrive, "barrier.cluster.arrive.relaxed.aligned;", 0, FindingKind::Race,
     "ld.shared::cluster", 0},
    {"EndsWhileOthersRead", "neighbour", kArrive, "barrier.cluster.arrive.relaxed.aligned;", 1, FindingKind::ClusterUse,
     "ld.shared::cluster", 0},
    {"ArrivesTwice", "neighbour", kWait, "barrier.cluster.arrive.aligned;", 0, FindingKind::BarrierCount, "", 0},
    {"WaitsWithoutArriving", "neighbour", kArrive, "", 0, FindingKind::BarrierCount, kWait, 0},
    {"RankThatThereIsNot", "neighbour", "ld.shared::cluster.b32 %r6, [%r3];", "ld.shared::cluster.b32 %r6, [%r3+67108864];", 0,
     FindingKind::OutOfBounds, "", 0},
    {"NotMapped", "neighbour", "ld.shared::cluster.b32", "ld.shared::cta.b32", 0, FindingKind::ClusterUse, "", 0},
    {"InitNotFenced", "exchange", "fence.mbarrier_init.release.cluster;", "", 0, FindingKind::MbarrierUse, kRemoteArrive, 0},
    {"NobodyArrivesAtOne", "exchange", "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];",
     "setp.gt.u32 %p2, %r2, 0; @%p2 mbarrier.arrive.shared::cluster.b64 _, [remote];", 0, FindingKind::Deadlock,
     "mbarrier.try_wait", 0},
    {"WaitsAtAnothers", "exchange", "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];",
     "mbarrier.test_wait.shared::cta.b64 %p1, [remote], 0;", 0, FindingKind::ClusterUse, "", 0},
    {"RelaxedWait", "exchange", "try_wait.parity.acquire.cluster", "try_wait.parity.relaxed.cluster", 0, FindingKind::Race,
     "ld.shared.u32", 0},
    {"RelaxedArrival", "exchange", "mbarrier.arrive.release.cluster", "mbarrier.arrive.relaxed.cluster", 0, FindingKind::Race,
     "ld.shared.u32", 0},
    {"EmptyWantsOneBlock", "multicast", "mov.u32 \t%r33, 2;", "mov.u32 %r33, 1;", 0, FindingKind::StageInUse, kMulticast, 0},
    {"EndsBeforeTheLastArrivals", "multicast", "$L__BB3_13:", "$L__BB3_13: bra $L__BB3_15;", 0, FindingKind::ClusterUse,
     kRemoteArrive, 0},
    {"MaskNamesNobody", "multicast", "mov.u16 \t%rs1, 3;", "mov.u16 %rs1, 5;", 0, FindingKind::ClusterUse, kMulticast, 0},
    {"MaskForgetsTheOther", "multicast", "mov.u16 \t%rs1, 3;", "mov.u16 %rs1, 1;", 0, FindingKind::ByteCount, kTryWait, 2},
    {"BothLoadTheSameHalf", "multicast", "shl.b32 \t%r137, %r12, 7;", "mov.u32 %r137, 0;", 0, FindingKind::UninitializedShared,
     "ld.shared.u32", 16},
};

class ClusterFaults : public testing::TestWithParam<Fault> {};

TEST_P(ClusterFaults, IsCaught) {
  const Fault &fault = GetParam();
  CudaFile file = kernels();
  file.edit(fault.kernel, fault.from, fault.to, fault.nth);
  std::vector<int> out(8 * 64);
  sim::Report report;
  if (std::string(fault.kernel) == "multicast") {
    report = runMulticast(file, 7, out);
  } else {
    sim::Launch launch = launchOf(fault.kernel, std::string(fault.kernel) == "exchange" ? 32 : 64, {bufferOf(out)});
    launch.grid[0] = 4;
    report = runLaunch(file, launch);
  }
  expectFinding(report, fault.kind, *fault.site ? file.lineOf(fault.kernel, fault.site, fault.siteNth) : file.line);
}

INSTANTIATE_TEST_SUITE_P(Clusters, ClusterFaults, testing::ValuesIn(kFaults), [](const auto &info) { return info.param.name; });

} // namespace
} // namespace quant::test
