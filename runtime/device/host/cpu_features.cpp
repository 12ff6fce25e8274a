//===- cpu_features.cpp - what the CPU and the system can run -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/host/cpu_features.h"

#include <algorithm>
#include <cpuid.h>
#include <cstdint>
#include <iterator>
#include <sys/syscall.h>
#include <unistd.h>

namespace quant::runtime {

namespace {
enum Register { Eax, Ebx, Ecx, Edx };

/// Bits of XCR0 that the system must have set for the extension's registers to survive a context switch.
constexpr uint64_t kAvxState = 0x6;
constexpr uint64_t kAvx512State = kAvxState | 0xe0;
constexpr uint64_t kAmxState = 0x60000;

struct Feature {
  const char *name;
  uint32_t leaf, subleaf;
  Register reg;
  int bit;
  uint64_t state;
};
} // namespace

/// Intel SDM volume 2, CPUID.
static constexpr Feature kFeatures[] = {
    {"sse4_2", 1, 0, Ecx, 20, 0},
    {"popcnt", 1, 0, Ecx, 23, 0},
    {"fma", 1, 0, Ecx, 12, kAvxState},
    {"avx", 1, 0, Ecx, 28, kAvxState},
    {"f16c", 1, 0, Ecx, 29, kAvxState},
    {"bmi1", 7, 0, Ebx, 3, 0},
    {"avx2", 7, 0, Ebx, 5, kAvxState},
    {"bmi2", 7, 0, Ebx, 8, 0},
    {"avx_vnni", 7, 1, Eax, 4, kAvxState},
    {"avx512f", 7, 0, Ebx, 16, kAvx512State},
    {"avx512dq", 7, 0, Ebx, 17, kAvx512State},
    {"avx512ifma", 7, 0, Ebx, 21, kAvx512State},
    {"avx512cd", 7, 0, Ebx, 28, kAvx512State},
    {"avx512bw", 7, 0, Ebx, 30, kAvx512State},
    {"avx512vl", 7, 0, Ebx, 31, kAvx512State},
    {"avx512vbmi", 7, 0, Ecx, 1, kAvx512State},
    {"avx512_vbmi2", 7, 0, Ecx, 6, kAvx512State},
    {"gfni", 7, 0, Ecx, 8, 0},
    {"avx512_vnni", 7, 0, Ecx, 11, kAvx512State},
    {"avx512_bitalg", 7, 0, Ecx, 12, kAvx512State},
    {"avx512_vpopcntdq", 7, 0, Ecx, 14, kAvx512State},
    {"avx512_fp16", 7, 0, Edx, 23, kAvx512State},
    {"avx512_bf16", 7, 1, Eax, 5, kAvx512State},
    {"amx_bf16", 7, 0, Edx, 22, kAmxState},
    {"amx_tile", 7, 0, Edx, 24, kAmxState},
    {"amx_int8", 7, 0, Edx, 25, kAmxState},
    {"amx_fp16", 7, 1, Eax, 21, kAmxState},
};

/// XCR0, or 0 where the system does not use XSAVE.
static uint64_t enabledState() {
  uint32_t regs[4];
  constexpr uint32_t kOsxsave = 1u << 27;
  if (!__get_cpuid(1, &regs[Eax], &regs[Ebx], &regs[Ecx], &regs[Edx]) || !(regs[Ecx] & kOsxsave))
    return 0;
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

/// Linux hands out AMX tile data on request only: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
static bool requestTiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

static std::set<std::string, std::less<>> detect() {
  std::set<std::string, std::less<>> names;
  uint64_t state = enabledState();
  if ((state & kAmxState) == kAmxState && !requestTiles())
    state &= ~kAmxState;
  for (const Feature &feature : kFeatures) {
    uint32_t regs[4];
    if (!__get_cpuid_count(feature.leaf, feature.subleaf, &regs[Eax], &regs[Ebx], &regs[Ecx], &regs[Edx]))
      continue;
    if ((regs[feature.reg] >> feature.bit & 1) && (state & feature.state) == feature.state)
      names.insert(feature.name);
  }
  return names;
}

const CpuFeatures &CpuFeatures::host() {
  static const CpuFeatures features(detect());
  return features;
}

std::vector<std::string> CpuFeatures::missing(const std::vector<std::string> &required) const {
  std::vector<std::string> result;
  std::ranges::copy_if(required, std::back_inserter(result), [&](const std::string &name) { return !has(name); });
  return result;
}

} // namespace quant::runtime
