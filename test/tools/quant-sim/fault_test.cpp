//===- fault_test.cpp - planted faults, each caught by name and line -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// Each fault is one edit of the text of a kernel that runs without a finding (gemm_test.cpp).
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/gemm_case.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quant::test {
namespace {

using sim::FindingKind;

constexpr const char *kKernel = "sm90_fp8_gemm_1d2d_n384_k2000_bm128_bn128";

struct Fault {
  const char *name;
  const char *from, *to;
  int nth;
  FindingKind kind;
  /// Text of the line the finding must name: its `siteNth` place; empty: the line of the edit.
  const char *site;
  int siteNth;
};

void PrintTo(const Fault &fault, std::ostream *os) { *os << fault.name; }

constexpr const char *kLoad = "cp.async.bulk.tensor.2d.shared::cluster.global";
constexpr const char *kStore = "cp.async.bulk.tensor.2d.global.shared::cta";
constexpr const char *kTryWait = "mbarrier.try_wait";
constexpr const char *kWgmma = "wgmma.mma_async";

const Fault kFaults[] = {
    {"NoProxyFence", "fence.proxy.async.shared::cta;", "", 0, FindingKind::MissingProxyFence, kStore, 0},
    {"NoMbarrierInitFence", "fence.mbarrier_init.release.cluster;", "", 0, FindingKind::MissingProxyFence, kLoad, 0},
    {"NoBarrierAfterInit", "bar.sync \t0;", "", 0, FindingKind::MbarrierUse, kTryWait, 2},
    {"EmptyBarrierWantsTooMany", "mov.b32 \t%r30, 8;", "mov.b32 %r30, 9;", 0, FindingKind::ArrivalCount, kTryWait, 1},
    {"EmptyBarrierWantsTooFew", "mov.b32 \t%r30, 8;", "mov.b32 %r30, 7;", 0, FindingKind::StageInUse, kLoad, 3},
    {"ExpectsTooFewBytes", "33280;", "33264;", 0, FindingKind::ByteCount, kLoad, 2},
    {"ExpectsTooManyBytes", "33280;", "33296;", 0, FindingKind::ByteCount, kTryWait, 2},
    {"FullBarrierNeverArmed", "mbarrier.arrive.expect_tx.shared.b64 %rd52, [%rd51+199168], %r191;", "", 0, FindingKind::Deadlock,
     kTryWait, 2},
    {"EmptyBarrierNeverArrived", "@%p6 mbarrier.arrive.shared::cta.b64 _, [%r122];", "", 0, FindingKind::Deadlock, kTryWait, 1},
    {"ConsumerPhaseNotFlipped", "xor.b32 \t%r210, %r210, %r135;", "", 0, FindingKind::Deadlock, kTryWait, 2},
    {"ProducerPhaseNotFlipped", "xor.b32 \t%r184, %r207, 1;", "mov.b32 %r184, 1;", 0, FindingKind::Deadlock, kTryWait, 0},
    {"ProducerDoesNotWait", "@P1 bra.uni DONE;", "bra.uni DONE;", 0, FindingKind::StageInUse, kLoad, 0},
    {"StageOffByOne", "add.s32 \t%r183, %r189, 199208;", "add.s32 %r183, %r189, 199216;", 0, FindingKind::MbarrierUse, kTryWait,
     0},
    {"StageBeyondTheLast", "setp.eq.b32 \t%p7, %r134, 5;", "setp.eq.b32 %p7, %r134, 10;", 0, FindingKind::OutOfBounds,
     "ld.shared.b32", 0},
    // 64-byte swizzle instead of 128.
    {"DescriptorSwizzle", "or.b64 \t%rd32, %rd46, 4611686293305294848;", "or.b64 %rd32, %rd46, 0x8000004000010000;", 0,
     FindingKind::BadDescriptor, kWgmma, 0},
    {"DescriptorStride", "or.b64 \t%rd33, %rd47, 4611686293305294848;", "or.b64 %rd33, %rd47, 0x4000002000010000;", 0,
     FindingKind::BadDescriptor, kWgmma, 0},
    {"NoWgmmaWait", "wgmma.wait_group.sync.aligned 0;", "", 0, FindingKind::AccumulatorInFlight, "fma.rn.f32", 0},
    {"WgmmaWaitsForTooFew", "wgmma.wait_group.sync.aligned 0;", "wgmma.wait_group.sync.aligned 1;", 0,
     FindingKind::AccumulatorInFlight, "fma.rn.f32", 0},
    {"NoWgmmaFence", "wgmma.fence.sync.aligned;", "", 0, FindingKind::MissingWgmmaFence, kWgmma, 0},
    {"BoxOutsideOfTheTensor", "add.s32 \t%r190, %r206, -128;", "add.s32 %r190, %r206, 4096;", 0, FindingKind::TmaOutOfBounds,
     kLoad, 0},
    {"TmaAddressMisaligned", "add.s64 \t%rd55, %rd54, 32768;", "add.s64 %rd55, %rd54, 32784;", 0, FindingKind::Misaligned, kLoad,
     0},
    {"NotAnMbarrier", "add.s32 \t%r56, %r125, 199168;", "add.s32 %r56, %r125, 199172;", 0, FindingKind::MbarrierUse, kTryWait, 2},
    {"NoWaitBeforeExit", "cp.async.bulk.wait_group \t0;", "", 0, FindingKind::StoreNotAwaited, kStore, 1},
    {"NoWaitBeforeStagingIsReused", "cp.async.bulk.wait_group.read \t0;", "", 0, FindingKind::StageInUse, "stmatrix", 0},
    {"NoBarrierBeforeStore", "bar.sync \t%r14, 128;", "", 1, FindingKind::Race, kStore, 0},
    {"BarrierFor100Threads", "bar.sync \t%r14, 128;", "bar.sync %r14, 100;", 0, FindingKind::BarrierCount, "", 0},
    {"BarrierForTooMany", "bar.sync \t%r14, 128;", "bar.sync %r14, 256;", 0, FindingKind::Deadlock, "", 0},
    {"StagingNotWritten", "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%rd5]", "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%rd4]", 0,
     FindingKind::UninitializedShared, kStore, 0},
    {"TooManyRegisters", "setmaxnreg.inc.sync.aligned.u32 \t232;", "setmaxnreg.inc.sync.aligned.u32 240;", 0,
     FindingKind::RegisterBudget, "", 0},
    {"FewerRegistersThanBefore", "setmaxnreg.inc.sync.aligned.u32 \t232;",
     "setmaxnreg.inc.sync.aligned.u32 232; setmaxnreg.inc.sync.aligned.u32 40;", 0, FindingKind::RegisterBudget, "", 0},
    {"DivergentCommit", "wgmma.commit_group.sync.aligned;", "@%p6 wgmma.commit_group.sync.aligned;", 0, FindingKind::DivergentOp,
     "", 0},
    {"GlobalOutOfBounds", "ld.global.nc.b32 \t%r278, [%rd13];", "ld.global.nc.b32 %r278, [%rd13+65536];", 0,
     FindingKind::OutOfBounds, "", 0},
    {"GlobalMisaligned", "ld.global.nc.b32 \t%r278, [%rd13];", "ld.global.nc.b32 %r278, [%rd13+2];", 0, FindingKind::Misaligned,
     "", 0},
    {"SharedOutOfBounds", "ld.shared.b32 \t%r127, [%rd45+196608];", "ld.shared.b32 %r127, [%rd45+1966080];", 0,
     FindingKind::OutOfBounds, "", 0},
};

int lineOf(const std::string &text, const std::string &what, int nth) {
  size_t at = text.find(what);
  for (int i = 0; i < nth && at != std::string::npos; ++i)
    at = text.find(what, at + 1);
  EXPECT_NE(at, std::string::npos) << what;
  return 1 +
         static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min(at, text.size())), '\n'));
}

class Faults : public testing::TestWithParam<Fault> {};

TEST_P(Faults, IsCaught) {
  const Fault &fault = GetParam();
  GemmKernel kernel(kKernel);
  std::string ptx = kernel.mutated(fault.from, fault.to, fault.nth);
  sim::Options options;
  options.threads = 1;
  GemmResult result = runGemm(kernel, ptx, 100, options, /*sms=*/1);
  int line = *fault.site ? lineOf(ptx, fault.site, fault.siteNth) : kernel.line;
  EXPECT_EQ(result.error, "");
  EXPECT_TRUE(result.has(fault.kind, line)) << "wanted " << sim::nameOf(fault.kind) << " at line " << line << ", got\n"
                                            << result.toString();
}

INSTANTIATE_TEST_SUITE_P(Gemm, Faults, testing::ValuesIn(kFaults), [](const auto &info) { return info.param.name; });

TEST(Faults, StepLimit) {
  GemmKernel kernel(kKernel);
  sim::Options options;
  options.maxSteps = 1000;
  EXPECT_TRUE(runGemm(kernel, kernel.ptx, 1, options).has(FindingKind::StepLimit, 0));
}

} // namespace
} // namespace quant::test
