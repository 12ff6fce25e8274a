//===- Machine.cpp - what the machine could do at best --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Machine.h"

#include "dialects/machine/X86.h"
#include "runtime/device/common/memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <immintrin.h>
#include <sys/mman.h>

using namespace quant;
using namespace quant::bench;
using runtime::ThreadPool;

/// Bytes of one block of the read grid: as much as 128 weight rows of 7168 FP8 codes.
static constexpr int64_t kReadBlock = 128 * 7168;
static constexpr int64_t kPrefetchBytes = 1024;
static constexpr int kChains = 12;
static constexpr int64_t kMultiplyAddSteps = 20000;

/// Keeps a result alive that nobody reads.
template <typename T>
static void keep(const T &value) {
  asm volatile("" : : "m"(value) : "memory");
}

static bool isWide(const std::string &isa) { return machine::findX86Unit(isa)->registerBits >= 512; }

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

/// Reads of one block. Several long streams at a time are fetched faster than one by some processors, and slower by others.
using Read = void (*)(const std::byte *data, int64_t bytes);

template <int streams, bool prefetch>
[[gnu::target("avx512f")]] static void read512(const std::byte *data, int64_t bytes) {
  __m512i acc[2 * streams] = {};
  int64_t stride = bytes / streams / 128 * 128;
  for (int64_t offset = 0; offset < stride; offset += 128)
    for (int64_t i = 0; i < 2 * streams; ++i) {
      const std::byte *line = data + i / 2 * stride + offset + i % 2 * 64;
      if constexpr (prefetch)
        _mm_prefetch(reinterpret_cast<const char *>(line + kPrefetchBytes), _MM_HINT_T0);
      acc[i] = _mm512_or_si512(acc[i], _mm512_loadu_si512(line));
    }
  keep(acc);
}

template <int streams, bool prefetch>
[[gnu::target("avx2")]] static void read256(const std::byte *data, int64_t bytes) {
  __m256i acc[2 * streams] = {};
  int64_t stride = bytes / streams / 64 * 64;
  for (int64_t offset = 0; offset < stride; offset += 64)
    for (int64_t i = 0; i < 2 * streams; ++i) {
      const std::byte *line = data + i / 2 * stride + offset;
      if constexpr (prefetch)
        _mm_prefetch(reinterpret_cast<const char *>(line + kPrefetchBytes), _MM_HINT_T0);
      acc[i] = _mm256_or_si256(acc[i], _mm256_loadu_si256(reinterpret_cast<const __m256i *>(line + i % 2 * 32)));
    }
  keep(acc);
}

template <int streams>
static Read chooseRead(bool isWide, bool prefetch) {
  if (isWide)
    return prefetch ? read512<streams, true> : read512<streams, false>;
  return prefetch ? read256<streams, true> : read256<streams, false>;
}

static Read chooseRead(bool isWide, const ReadWay &way) {
  switch (way.streams) {
  case 1:
    return chooseRead<1>(isWide, way.prefetch);
  case 2:
    return chooseRead<2>(isWide, way.prefetch);
  case 4:
    return chooseRead<4>(isWide, way.prefetch);
  default:
    return chooseRead<8>(isWide, way.prefetch);
  }
}

std::string ReadWay::text() const {
  return fmt::format("{} stream{} {} prefetch, {} pages", streams, streams == 1 ? "" : "s", prefetch ? "with" : "without",
                     hugePages ? "huge" : "4 KB");
}

void quant::bench::readAll(ThreadPool &pool, const std::string &isa, const ReadWay &way, const std::byte *data, int64_t bytes) {
  Read read = chooseRead(isWide(isa), way);
  pool.run((bytes + kReadBlock - 1) / kReadBlock, [&](int, int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      read(data + block * kReadBlock, std::min(kReadBlock, bytes - block * kReadBlock));
  });
}

/// Memory that has its pages: huge ones if the kernel gives them, or none of them.
static Result<runtime::Memory> touchedMemory(int64_t bytes, bool huge) {
  QUANT_TRY_ASSIGN(runtime::Memory memory, runtime::Memory::allocate(bytes, "measured read"));
  if (::madvise(memory.data(), memory.size(), huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0 && huge)
    return runtime::Memory();
  std::memset(memory.data(), 1, memory.size());
  return memory;
}

Result<BestRead> quant::bench::findBestRead(ThreadPool &pool, const std::string &isa) {
  constexpr int64_t bytes = int64_t{256} << 20; // well over a last-level cache
  std::vector<ReadWay> ways;
  std::vector<std::function<void()>> contenders;
  std::vector<runtime::Memory> memories;
  for (bool huge : {false, true}) {
    QUANT_TRY_ASSIGN(runtime::Memory memory, touchedMemory(bytes, huge));
    const std::byte *data = memory.data();
    memories.push_back(std::move(memory));
    if (!data)
      continue;
    for (int streams : {1, 2, 4, 8})
      for (bool prefetch : {true, false}) {
        ways.push_back({streams, prefetch, huge});
        contenders.emplace_back([&pool, &isa, way = ways.back(), data] { readAll(pool, isa, way, data, bytes); });
      }
  }
  auto times = interleave(contenders, 0);
  BestRead best;
  for (size_t i = 0; i < ways.size(); ++i) {
    double rate = static_cast<double>(bytes) / median(times[i]);
    if (ways[i].hugePages) {
      best.hugeBytesPerSecond = std::max(best.hugeBytesPerSecond, rate);
    } else if (rate > best.bytesPerSecond) {
      best.way = ways[i];
      best.bytesPerSecond = rate;
    }
  }
  return best;
}

//===----------------------------------------------------------------------===//
// Multiplying
//===----------------------------------------------------------------------===//

[[gnu::target("avx512f")]] static void multiplyAdd512() {
  __m512 acc[kChains], factor = _mm512_set1_ps(0.999f);
  std::fill_n(acc, kChains, factor);
  for (int64_t step = 0; step < kMultiplyAddSteps; ++step)
    for (__m512 &chain : acc)
      chain = _mm512_fmadd_ps(chain, factor, factor);
  keep(acc);
}

[[gnu::target("avx2,fma")]] static void multiplyAdd256() {
  __m256 acc[kChains], factor = _mm256_set1_ps(0.999f);
  std::fill_n(acc, kChains, factor);
  for (int64_t step = 0; step < kMultiplyAddSteps; ++step)
    for (__m256 &chain : acc)
      chain = _mm256_fmadd_ps(chain, factor, factor);
  keep(acc);
}

[[gnu::target("avx512f,avx512bf16")]] static void dotPairs() {
  __m512 acc[kChains] = {};
  auto pairs = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  for (int64_t step = 0; step < kMultiplyAddSteps; ++step)
    for (__m512 &chain : acc)
      chain = _mm512_dpbf16_ps(chain, pairs, pairs);
  keep(acc);
}

[[gnu::target("avx512f,avx512vnni")]] static void dotBytes() {
  __m512i acc[kChains] = {}, bytes = _mm512_set1_epi8(1);
  for (int64_t step = 0; step < kMultiplyAddSteps; ++step)
    for (__m512i &chain : acc)
      chain = _mm512_dpbusd_epi32(chain, bytes, bytes);
  keep(acc);
}

/// Four tiles of sums, as kernels have; a product of tiles takes as long as 16 vectors.
template <bool isInt8>
[[gnu::target("amx-tile,amx-bf16,amx-int8")]] static void multiplyTiles() {
  alignas(64) uint8_t config[64] = {1};
  for (int tile = 0; tile < 8; ++tile) {
    config[16 + 2 * tile] = 64;
    config[48 + tile] = 16;
  }
  _tile_loadconfig(config);
  alignas(64) static const std::byte zeros[1024] = {};
  _tile_loadd(4, zeros, 64);
  _tile_loadd(6, zeros, 64);
  for (int64_t step = 0; step < kMultiplyAddSteps / 16; ++step)
    if constexpr (isInt8) {
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 4, 6);
      _tile_dpbssd(2, 4, 6);
      _tile_dpbssd(3, 4, 6);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 6);
      _tile_dpbf16ps(2, 4, 6);
      _tile_dpbf16ps(3, 4, 6);
    }
  _tile_release();
}

namespace {
/// A loop, and the multiply-adds of a product that it does.
struct Loop {
  void (*run)();
  double multiplyAdds;
};
} // namespace

static Loop chooseLoop(const machine::X86Unit &unit, Inputs inputs) {
  constexpr double kTiles = 4 * 16 * 16 * kMultiplyAddSteps / 16, kVectors = 16.0 * kChains * kMultiplyAddSteps;
  if (inputs == Inputs::Int8 && unit.hasPackedDots)
    return unit.hasTiles ? Loop{multiplyTiles<true>, 64 * kTiles} : Loop{dotBytes, 4 * kVectors};
  auto parts = static_cast<double>(unit.partsOfInputs(inputs == Inputs::Bf16));
  if (parts > 0)
    return unit.hasTiles ? Loop{multiplyTiles<false>, 32 * kTiles / parts} : Loop{dotPairs, 2 * kVectors / parts};
  return unit.registerBits >= 512 ? Loop{multiplyAdd512, kVectors} : Loop{multiplyAdd256, kVectors / 2};
}

double quant::bench::multiplyAddAll(ThreadPool &pool, const std::string &isa, Inputs inputs) {
  Loop loop = chooseLoop(*machine::findX86Unit(isa), inputs);
  int64_t blocks = 8 * pool.size();
  pool.run(blocks, [&](int, int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      loop.run();
  });
  return 2 * loop.multiplyAdds * static_cast<double>(blocks);
}

//===----------------------------------------------------------------------===//
// Timing
//===----------------------------------------------------------------------===//

std::vector<std::vector<double>> quant::bench::interleave(const std::vector<std::function<void()>> &contenders, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kMinRounds = 5;
  std::vector<std::vector<double>> result(contenders.size());
  auto begin = Clock::now();
  for (const std::function<void()> &contender : contenders)
    contender();
  while (result[0].size() < kMinRounds || std::chrono::duration<double>(Clock::now() - begin).count() < seconds)
    for (size_t i = 0; i < contenders.size(); ++i) {
      auto start = Clock::now();
      contenders[i]();
      result[i].push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
  return result;
}

double quant::bench::median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double quant::bench::medianRatio(const std::vector<double> &a, const std::vector<double> &b) {
  std::vector<double> ratios(a.size());
  std::transform(a.begin(), a.end(), b.begin(), ratios.begin(), [](double x, double y) { return x / y; });
  return median(ratios);
}
