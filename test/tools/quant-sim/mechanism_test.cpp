//===- mechanism_test.cpp - one test per mechanism ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/cuda_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace quant::test {
namespace {

using sim::FindingKind;

const CudaFile &kernels() {
  static const CudaFile file("mechanism_kernels");
  return file;
}

//===----------------------------------------------------------------------===//
// TMA
//===----------------------------------------------------------------------===//

/// A load of a box of `tensor`, which the map describes, at `at` into `box`.
sim::Launch boxLaunch(const std::string &kernel, std::vector<uint8_t> &tensor, std::vector<uint8_t> &box,
                      const sim::TensorMap &map, const std::vector<int> &at) {
  box.assign(map.boxBytes(), 0xee);
  sim::Launch launch;
  launch.kernel = kernel;
  launch.block[0] = 128;
  launch.buffers = {bufferOf(tensor), bufferOf(box)};
  launch.arguments = {sim::TensorMapArgument{0, map}, sim::PointerArgument{1, 0}, sim::ScalarArgument{map.boxBytes()}};
  for (int coordinate : at)
    launch.arguments.push_back(sim::ScalarArgument{static_cast<uint32_t>(coordinate)});
  return launch;
}

/// What a box at `at` holds.
std::vector<uint8_t> loadBox(const std::string &kernel, std::vector<uint8_t> &tensor, const sim::TensorMap &map,
                             std::vector<int> at) {
  std::vector<uint8_t> box;
  expectClean(runLaunch(kernels(), boxLaunch(kernel, tensor, box, map, at)));
  return box;
}

/// Bytes that differ from each other nearby, and are not 0.
std::vector<uint8_t> pattern(size_t bytes) {
  std::vector<uint8_t> data(bytes);
  for (size_t i = 0; i < bytes; ++i)
    data[i] = static_cast<uint8_t>(1 + (i * 37 + i / 251) % 255);
  return data;
}

/// The figures of PTX ISA, "Swizzling modes", as a formula of their own: 16-byte chunk c of line l (of the swizzle's bytes) lies
/// where the chunk's number is exclusive-ored with that of its 128-byte row, taken modulo the chunks of a line.
uint64_t swizzledPlace(uint64_t line, uint64_t byte, uint64_t swizzle) {
  uint64_t chunk = byte / 16, chunks = swizzle / 16, row = line * swizzle / 128;
  return line * swizzle + (chunk ^ (row % chunks)) * 16 + byte % 16;
}

TEST(Tma, EverySwizzleAgainstEveryElementSize) {
  constexpr int kLines = 64;
  for (uint32_t element : {1, 2, 4, 8})
    for (uint32_t swizzle : {0, 32, 64, 128}) {
      uint32_t line = swizzle ? swizzle : 64, columns = line / element;
      std::vector<uint8_t> tensor = pattern(2 * line * kLines);
      auto box =
          loadBox("box2d", tensor, mapOf(element, 2 * columns, kLines, columns, kLines, swizzle), {static_cast<int>(columns), 0});
      int wrong = 0;
      for (uint64_t y = 0; y < kLines; ++y)
        for (uint64_t byte = 0; byte < line; ++byte)
          wrong += box[swizzle ? swizzledPlace(y, byte, swizzle) : y * line + byte] != tensor[(2 * y + 1) * line + byte];
      EXPECT_EQ(wrong, 0) << element << " bytes, swizzle " << swizzle;
    }
}

TEST(Tma, FillsWithZerosOutside) {
  constexpr int kColumns = 20, kRows = 10, kBox = 16;
  std::vector<uint8_t> tensor = pattern(kColumns * kRows * 4);
  for (int x : {-20, -3, 0, 8, 25})
    for (int y : {-17, -5, 0, 4, 11}) {
      auto box = loadBox("box2d", tensor, mapOf(4, kColumns, kRows, kBox, kBox), {x, y});
      for (int row = 0; row < kBox; ++row)
        for (int column = 0; column < kBox; ++column) {
          bool inside = x + column >= 0 && x + column < kColumns && y + row >= 0 && y + row < kRows;
          uint32_t got, want = 0;
          std::memcpy(&got, &box[(row * kBox + column) * 4], 4);
          if (inside)
            std::memcpy(&want, &tensor[((y + row) * kColumns + x + column) * 4], 4);
          ASSERT_EQ(got, want) << x << ", " << y << ": " << row << ", " << column;
        }
    }
}

/// A tensor of `dims` bytes, innermost first, in boxes of `box`; each row of 16 bytes at least.
void checkRank(const std::string &kernel, std::vector<uint64_t> dims, std::vector<uint32_t> box, std::vector<int> at) {
  sim::TensorMap map;
  map.rank = static_cast<uint32_t>(dims.size());
  map.elementBytes = 1;
  uint64_t bytes = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    map.dim[i] = dims[i];
    map.stride[i] = bytes;
    map.box[i] = box[i];
    bytes *= dims[i];
  }
  std::vector<uint8_t> tensor = pattern(bytes);
  auto got = loadBox(kernel, tensor, map, at);
  for (size_t i = 0; i < got.size(); ++i) {
    uint64_t rest = i, place = 0;
    bool inside = true;
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      int64_t coordinate = at[axis] + static_cast<int64_t>(rest % box[axis]);
      rest /= box[axis];
      inside &= coordinate >= 0 && coordinate < static_cast<int64_t>(dims[axis]);
      place += static_cast<uint64_t>(coordinate) * map.stride[axis];
    }
    ASSERT_EQ(got[i], inside ? tensor[place] : 0) << kernel << " " << i;
  }
}

TEST(Tma, OtherRanks) {
  checkRank("box1d", {1000}, {64}, {960});
  checkRank("box1d", {1000}, {64}, {-8});
  checkRank("box3d", {48, 6, 5}, {32, 4, 3}, {32, -1, 3});
  checkRank("box5d", {32, 3, 4, 2, 5}, {16, 2, 3, 2, 2}, {16, 2, 1, -1, 3});
}

TEST(Tma, Reductions) {
  constexpr int kColumns = 40, kRows = 12;
  std::vector<float> tensor(kColumns * kRows, 0.5f), sums(16, 1);
  sim::TensorMap map = mapOf(4, kColumns, kRows, 32, 8);
  map.kind = sim::ElementKind::Float;
  sim::Launch launch;
  launch.kernel = "reduceBulk";
  launch.grid[0] = 2;
  launch.block[0] = 32;
  launch.buffers = {bufferOf(tensor), bufferOf(sums)};
  launch.arguments = {sim::TensorMapArgument{0, map}, sim::PointerArgument{1, 0}, sim::ScalarArgument{16},
                      sim::ScalarArgument{3}};
  expectClean(runLaunch(kernels(), launch));
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < kColumns; ++column) {
      bool touched = row >= 3 && row < 11 && column >= 16;
      EXPECT_EQ(tensor[row * kColumns + column], 0.5f + (touched ? 2.f * ((row - 3) * 32 + column - 16) : 0.f));
    }
  for (int i = 0; i < 16; ++i)
    EXPECT_EQ(sums[i], 1 + 2.f * i);
}

TEST(Tma, StoresBeginWithinTheTensor) {
  std::vector<float> tensor(40 * 12), sums(16);
  sim::TensorMap map = mapOf(4, 40, 12, 32, 8);
  map.kind = sim::ElementKind::Float;
  sim::Launch launch;
  launch.kernel = "reduceBulk";
  launch.block[0] = 32;
  launch.buffers = {bufferOf(tensor), bufferOf(sums)};
  launch.arguments = {sim::TensorMapArgument{0, map}, sim::PointerArgument{1, 0}, sim::ScalarArgument{0xfffffff0},
                      sim::ScalarArgument{0}};
  expectFinding(runLaunch(kernels(), launch), FindingKind::TmaOutOfBounds,
                kernels().lineOf("reduceBulk", "cp.reduce.async.bulk.tensor"));
}

//===----------------------------------------------------------------------===//
// Asynchronous copies and stores
//===----------------------------------------------------------------------===//

sim::Report runCopyAsync(const CudaFile &file, std::vector<int> &out) {
  std::vector<int> in(256);
  std::iota(in.begin(), in.end(), 5);
  out.assign(256, 0);
  return runLaunch(file, launchOf("copyAsync", 32, {bufferOf(in), bufferOf(out)}));
}

TEST(CopyAsync, Groups) {
  std::vector<int> out;
  expectClean(runCopyAsync(kernels(), out));
  for (int i = 0; i < 256; ++i)
    EXPECT_EQ(out[i], 2 * ((i ^ 127) + 5));
}

TEST(CopyAsync, MissingWaitsAreCaught) {
  for (const char *wait : {"cp.async.wait_group 1;", "cp.async.wait_all;"}) {
    CudaFile file = kernels();
    file.edit("copyAsync", wait, "");
    std::vector<int> out;
    sim::Report report = runCopyAsync(file, out);
    ASSERT_FALSE(report.findings.empty()) << wait;
    EXPECT_EQ(report.findings[0].kind, FindingKind::Race);
    EXPECT_TRUE(report.findings[0].instruction.starts_with("ld.shared")) << report.findings[0].toString();
  }
}

sim::Report runSend(const CudaFile &file, std::vector<int> &out) {
  out.assign(48, 0);
  sim::Launch launch = launchOf("sendAsync", 32, {bufferOf(out)});
  launch.grid[0] = 2;
  return runLaunch(file, launch);
}

TEST(Cluster, AsynchronousStores) {
  std::vector<int> out;
  expectClean(runSend(kernels(), out));
  for (int i = 0; i < 32; ++i)
    EXPECT_EQ(out[i], 3 * i);
  for (int i = 0; i < 16; ++i)
    EXPECT_EQ(out[32 + i], 1000 + i);
}

/// The barrier lets the receiver go when the first bytes are in.
TEST(Cluster, AsynchronousStoresThatNobodyExpects) {
  CudaFile file = kernels();
  file.edit("sendAsync", "mov.u32 \t%r9, 192;", "mov.u32 %r9, 128;");
  std::vector<int> out;
  sim::Report report = runSend(file, out);
  expectFinding(report, FindingKind::Race, 0);
  expectFinding(report, FindingKind::ClusterUse, file.lineOf("sendAsync", "cp.async.bulk.shared::cluster.shared::cta"));
}

//===----------------------------------------------------------------------===//
// Barriers, warps
//===----------------------------------------------------------------------===//

TEST(NamedBarriers, ProducersAndConsumers) {
  std::vector<int> out(64);
  expectClean(runLaunch(kernels(), launchOf("namedBarriers", 128, {bufferOf(out)})));
  for (int t = 0; t < 64; ++t)
    EXPECT_EQ(out[t], 2800 + 8 * (63 - t));
}

TEST(NamedBarriers, WithoutTheWayBack) {
  CudaFile file = kernels();
  file.edit("namedBarriers", "bar.sync 2, 128;", "");
  std::vector<int> out(64);
  sim::Report report = runLaunch(file, launchOf("namedBarriers", 128, {bufferOf(out)}));
  // The producers arrive twice for the consumers' once.
  expectFinding(report, FindingKind::Deadlock, file.lineOf("namedBarriers", "bar.sync 1, 128;"));
}

TEST(WarpOps, AmongTheLanesThatABranchLeaves) {
  std::vector<int> out(32 * 12);
  expectClean(runLaunch(kernels(), launchOf("warpOps", 32, {bufferOf(out)})));
  for (int lane = 0; lane < 32; ++lane) {
    bool odd = lane % 2;
    uint32_t mask = odd ? 0xaaaaaaaa : 0x55555555;
    int base = odd;
    const int *got = &out[lane * 12];
    int sum = odd ? 256 : 240;
    const int want[] = {(lane ^ 2) * 10,
                        lane < 2 ? lane : lane - 2,
                        lane % 8 < 6 ? lane + 2 : lane,
                        lane ^ 2,
                        static_cast<int>(mask & 0xf0f0f0f0),
                        3,
                        static_cast<int>(mask & 0xffu << lane / 8 * 8),
                        sum,
                        base,
                        lane == base,
                        static_cast<int>(mask),
                        30 + base};
    for (int i = 0; i < 12; ++i)
      EXPECT_EQ(got[i], want[i]) << "lane " << lane << ", result " << i;
  }
}

//===----------------------------------------------------------------------===//
// ldmatrix, stmatrix, mma
//===----------------------------------------------------------------------===//

TEST(Matrices, LayoutsAndBack) {
  for (int count : {1, 2, 4})
    for (bool transposed : {false, true}) {
      std::string kernel = "matrix" + std::to_string(count) + (transposed ? "t" : "");
      std::vector<uint16_t> in(count * 64), stored(in.size());
      std::iota(in.begin(), in.end(), 100);
      std::vector<uint32_t> loaded(count * 32);
      expectClean(runLaunch(kernels(), launchOf(kernel, 32, {bufferOf(in), bufferOf(loaded), bufferOf(stored)})));
      EXPECT_EQ(in, stored) << kernel;
      for (int i = 0; i < count; ++i)
        for (int lane = 0; lane < 32; ++lane)
          for (int half = 0; half < 2; ++half) {
            int row = lane / 4, column = lane % 4 * 2 + half;
            int place = i * 64 + (transposed ? column * 8 + row : row * 8 + column);
            EXPECT_EQ(loaded[i * 32 + lane] >> (16 * half) & 0xffff, in[place]) << kernel;
          }
    }
}

/// Codes of the small integers -3 ... 3 in a format of `exponent` and `mantissa` bits.
uint32_t codeOf(int value, int bits, int exponent, int mantissa) {
  static const int kExponents[] = {0, 0, 1, 1};
  if (value == 0)
    return 0;
  int size = std::abs(value), bias = (1 << (exponent - 1)) - 1;
  uint32_t fraction = size == 3 ? 1u << (mantissa - 1) : 0;
  return (value < 0 ? 1u << (bits - 1) : 0u) | static_cast<uint32_t>(kExponents[size] + bias) << mantissa | fraction;
}

struct MmaFormat {
  const char *kernel;
  int bits, exponent, mantissa, k;
};

TEST(Mma, Fragments) {
  for (const MmaFormat &f :
       {MmaFormat{"mmaBf16", 16, 8, 7, 16}, MmaFormat{"mmaF16", 16, 5, 10, 16}, MmaFormat{"mmaF16k8", 16, 5, 10, 8},
        MmaFormat{"mmaE4m3", 8, 4, 3, 32}, MmaFormat{"mmaE5m2", 8, 5, 2, 32}, MmaFormat{"mmaTf32", 32, 8, 23, 8}}) {
    auto valueA = [](int row, int k) { return (row * 5 + k * 3) % 7 - 3; };
    auto valueB = [](int column, int k) { return (column * 3 + k * 11) % 5 - 2; };
    int bytes = f.bits / 8;
    std::vector<uint8_t> a(16 * f.k * bytes), b(8 * f.k * bytes);
    for (int k = 0; k < f.k; ++k) {
      for (int row = 0; row < 16; ++row) {
        uint32_t code = codeOf(valueA(row, k), f.bits, f.exponent, f.mantissa);
        std::memcpy(&a[(row * f.k + k) * bytes], &code, bytes);
      }
      for (int column = 0; column < 8; ++column) {
        uint32_t code = codeOf(valueB(column, k), f.bits, f.exponent, f.mantissa);
        std::memcpy(&b[(column * f.k + k) * bytes], &code, bytes);
      }
    }
    std::vector<float> d(16 * 8);
    expectClean(runLaunch(kernels(), launchOf(f.kernel, 32, {bufferOf(a), bufferOf(b), bufferOf(d)})));
    for (int row = 0; row < 16; ++row)
      for (int column = 0; column < 8; ++column) {
        int sum = 1 + row / 8 * 2 + column % 2;
        for (int k = 0; k < f.k; ++k)
          sum += valueA(row, k) * valueB(column, k);
        EXPECT_EQ(d[row * 8 + column], static_cast<float>(sum)) << f.kernel << " " << row << ", " << column;
      }
  }
}

//===----------------------------------------------------------------------===//
// Atomics
//===----------------------------------------------------------------------===//

TEST(Atomics, EveryOperation) {
  std::vector<uint32_t> words = {1, 100, 0x80000000, ~0u, 0, 0, 0, 0, 0, 10, 0, 0};
  std::vector<uint64_t> longs = {7, 3};
  std::vector<float> floats = {1};
  std::vector<double> doubles = {1};
  std::vector<uint16_t> halves = {0x3c00, 0x3c00}, bfloats = {0x3f80, 0x3f80}; // 1, 1.
  std::vector<int> old(64);
  expectClean(runLaunch(kernels(), launchOf("atomics", 64,
                                            {bufferOf(words), bufferOf(longs), bufferOf(floats), bufferOf(doubles),
                                             bufferOf(halves), bufferOf(bfloats), bufferOf(old)})));
  uint32_t bits = 0;
  for (int t = 0; t < 64; ++t)
    bits ^= 1u << (t % 7);
  // Inc counts 0 ... 9 and round; Dec from 0 to 9 and down.
  const uint32_t want[] = {1 + 2016, 5, 23, 0, ~0u, bits, 64 % 10, 6, 77, 10 + 3 * 64, 64, 1000 + 2 * 64};
  for (size_t i = 0; i < words.size(); ++i)
    EXPECT_EQ(words[i], want[i]) << i;
  EXPECT_EQ(longs[0], 7 + (64ull << 33));
  EXPECT_EQ(longs[1], 63ull << 40);
  EXPECT_EQ(floats[0], 33);
  EXPECT_EQ(doubles[0], 17);
  EXPECT_EQ(halves[0], 0x5410);  // 65.
  EXPECT_EQ(halves[1], 0x5808);  // 129.
  EXPECT_EQ(bfloats[0], 0x4301); // 129.
  EXPECT_EQ(bfloats[1], 0x3f80);
  std::sort(old.begin(), old.end());
  for (int t = 0; t < 64; ++t)
    EXPECT_EQ(old[t], t);
}

//===----------------------------------------------------------------------===//
// What works on hardware, and strict reports
//===----------------------------------------------------------------------===//

sim::Options strictly(bool strict) {
  sim::Options options;
  options.strict = strict;
  return options;
}

TEST(Strict, MbarrierInitBehindABarrierAlone) {
  CudaFile file = kernels();
  file.edit("box2d", "fence.mbarrier_init.release.cluster;", "");
  std::vector<uint8_t> tensor = pattern(64 * 64), box;
  sim::Launch launch = boxLaunch("box2d", tensor, box, mapOf(1, 64, 64, 64, 64), {0, 0});
  expectClean(runLaunch(file, launch));
  EXPECT_EQ(box, tensor);
  expectFinding(runLaunch(file, launch, strictly(true)), FindingKind::MissingProxyFence, 0);
}

/// Every thread of four warps stores to one place.
sim::Report storeTogether(const std::string &value, bool strict) {
  CudaFile file("mechanism_kernels");
  file.ptx = ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %r<3>;\n"
             ".shared .align 8 .b32 word;\nmov.u32 %r1, %tid.x;\nshr.u32 %r1, %r1, 5;\nmov.u32 %r2, 7;\nst.shared.b32 [word], " +
             value + ";\nret;\n}\n";
  return runLaunch(file, launchOf("k", 128, {}), strictly(strict));
}

TEST(Strict, WarpsThatStoreTheSame) {
  expectClean(storeTogether("%r2", false));
  expectFinding(storeTogether("%r2", true), FindingKind::Race, 0);
  expectFinding(storeTogether("%r1", false), FindingKind::Race, 0);
}

//===----------------------------------------------------------------------===//
// Branches by index
//===----------------------------------------------------------------------===//

TEST(Control, BranchByIndex) {
  CudaFile file("mechanism_kernels");
  file.ptx = ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 out)\n{\n.reg .b32 %r<5>;\n"
             ".reg .b64 %rd<4>;\nld.param.u64 %rd1, [out];\nmov.u32 %r1, %tid.x;\nrem.u32 %r2, %r1, 3;\n"
             "targets: .branchtargets ZERO, ONE, TWO;\nbrx.idx %r2, targets;\nZERO: mov.u32 %r3, 100;\nbra.uni END;\n"
             "ONE: mov.u32 %r3, 200;\nbra.uni END;\nTWO: mov.u32 %r3, 300;\nEND:\nmul.wide.u32 %rd2, %r1, 4;\n"
             "add.s64 %rd3, %rd1, %rd2;\nadd.u32 %r4, %r3, %r1;\nst.global.u32 [%rd3], %r4;\nret;\n}\n";
  std::vector<int> out(32);
  expectClean(runLaunch(file, launchOf("k", 32, {bufferOf(out)})));
  for (int t = 0; t < 32; ++t)
    EXPECT_EQ(out[t], 100 * (t % 3 + 1) + t);
}

} // namespace
} // namespace quant::test
