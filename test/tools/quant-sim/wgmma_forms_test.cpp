//===- wgmma_forms_test.cpp - wgmma's operands, from memory and registers ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// One wgmma of one warpgroup, D[64, N] = A[64, K] * B[N, K]^T. The host lays A and B out in an image of shared memory by the
// canonical layouts of PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory Layout", with formulas of its own; the kernel
// copies the image, multiplies and stores the fragments.
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/cuda_case.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>

namespace quant::test {
namespace {

constexpr int kRows = 64, kMostBytes = 32768;

/// How a matrix lies in shared memory.
enum class Layout { Registers, K, Mn };

struct Form {
  const char *name, *type, *element;
  int n;
  Layout a = Layout::K, b = Layout::K;
  int swizzle = 0;
  int scaleA = 1;
};

void PrintTo(const Form &form, std::ostream *os) { *os << form.name; }

bool isInteger(const Form &f) { return std::string(f.type) == "s32"; }
bool isHalf(const Form &f) { return std::string(f.type) == "f16"; }
int bitsOf(const Form &f) { return std::string(f.element) == "bf16" || std::string(f.element) == "f16" ? 16 : 8; }
int kOf(const Form &f) { return 256 / bitsOf(f); }

/// The code of -2 ... 2.
uint32_t codeOf(int value, const std::string &element) {
  if (element == "s8" || element == "u8")
    return static_cast<uint8_t>(value);
  if (value == 0)
    return 0;
  int mantissa = element == "e4m3" ? 3 : element == "e5m2" ? 2 : element == "bf16" ? 7 : 10;
  int bits = element[0] == 'e' ? 8 : 16, bias = element == "e4m3" ? 7 : element == "bf16" ? 127 : 15;
  return (value < 0 ? 1u << (bits - 1) : 0u) | static_cast<uint32_t>(bias + (std::abs(value) == 2)) << mantissa;
}

int valueA(const Form &f, int row, int k) {
  int value = (row * 5 + k * 3) % 5 - 2;
  return std::string(f.element) == "u8" ? std::abs(value) : value;
}
int valueB(const Form &f, int column, int k) {
  int value = (column * 3 + k * 7 + column * k) % 5 - 2;
  return std::string(f.element) == "u8" ? std::abs(value) : value;
}

//===----------------------------------------------------------------------===//
// Shared memory
//===----------------------------------------------------------------------===//

/// Byte strides of a descriptor.
struct Strides {
  int leading, stride;
};

Strides stridesOf(const Form &f, Layout layout, int rows) {
  if (layout == Layout::K)
    return f.swizzle ? Strides{16, 8 * f.swizzle} : Strides{128, 256};
  // Transposed: along the rows first. Groups of 8 of K follow all of them.
  int line = f.swizzle ? f.swizzle : 16, along = 8 * line, groups = rows * 2 / line * along;
  return f.swizzle ? Strides{along, groups} : Strides{groups, along};
}

/// Where element (row, k) lies, in bytes.
int placeOf(const Form &f, Layout layout, int rows, int row, int k) {
  int bytes = bitsOf(f) / 8;
  Strides s = stridesOf(f, layout, rows);
  if (layout == Layout::K && !f.swizzle)
    return row / 8 * s.stride + k * bytes / 16 * s.leading + row % 8 * 16 + k * bytes % 16;
  int line = f.swizzle ? f.swizzle : 16, chunks = line / 16;
  if (layout == Layout::K) {
    int chunk = k * bytes / 16 ^ (row % 8 * line / 128) % chunks;
    return row / 8 * s.stride + row % 8 * line + chunk * 16 + k * bytes % 16;
  }
  int perLine = line / 2, within = row % perLine * 2;
  int chunk = f.swizzle ? (within / 16 ^ (k % 8 * line / 128) % chunks) : 0;
  int outer = f.swizzle ? row / perLine * s.leading + k / 8 * s.stride : row / perLine * s.stride + k / 8 * s.leading;
  return outer + k % 8 * line + chunk * 16 + within % 16;
}

uint64_t descriptorOf(const Form &f, Layout layout, int rows, int start) {
  Strides s = stridesOf(f, layout, rows);
  uint64_t mode = f.swizzle == 128 ? 1 : f.swizzle == 64 ? 2 : f.swizzle == 32 ? 3 : 0;
  return mode << 62 | uint64_t(s.stride / 16) << 32 | uint64_t(s.leading / 16) << 16 | static_cast<uint64_t>(start / 16);
}

//===----------------------------------------------------------------------===//
// The kernel
//===----------------------------------------------------------------------===//

std::string list(const char *prefix, int n) {
  std::string text = "{";
  for (int i = 0; i < n; ++i)
    text += (i ? ", " : "") + std::string(prefix) + std::to_string(i);
  return text + "}";
}

std::string kernelText(const Form &f) {
  int accumulators = f.n / 2 / (isHalf(f) ? 2 : 1);
  std::string scales = isInteger(f) ? "" : ", " + std::to_string(f.scaleA) + ", 1";
  if (bitsOf(f) == 16 && f.a != Layout::Registers)
    scales += f.a == Layout::Mn ? ", 1" : ", 0";
  if (bitsOf(f) == 16)
    scales += f.b == Layout::Mn ? ", 1" : ", 0";
  std::string a = f.a == Layout::Registers ? list("%f", 4) : "%rd3", out;
  for (int i = 0; i < accumulators; ++i)
    out += "st.global.b32 [%rd8+" + std::to_string(4 * i) + "], %a" + std::to_string(i) + ";\n";
  return ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 image, .param .u64 fragments, .param "
         ".u64 "
         "out, .param .u64 da, .param .u64 db)\n.maxntid 128, 1, 1\n{\n.shared .align 1024 .b8 tile[" +
         std::to_string(kMostBytes) + "];\n.reg .pred %p<3>;\n.reg .b32 %r<9>;\n.reg .b32 %f<4>;\n.reg .b32 %a<" +
         std::to_string(accumulators) +
         ">;\n.reg .b64 %rd<14>;\nmov.u32 %r1, %tid.x;\nld.param.u64 %rd1, [image];\nmov.u32 %r2, tile;\nshl.b32 %r3, %r1, 2;\n"
         "COPY:\ncvt.u64.u32 %rd2, %r3;\nadd.s64 %rd2, %rd1, %rd2;\nld.global.b32 %r4, [%rd2];\nadd.s32 %r5, %r2, %r3;\n"
         "st.shared.b32 [%r5], %r4;\nadd.s32 %r3, %r3, 512;\nsetp.lt.u32 %p1, %r3, " +
         std::to_string(kMostBytes) +
         ";\n@%p1 bra COPY;\nfence.proxy.async.shared::cta;\nbar.sync 0;\nld.param.u64 %rd3, [da];\nld.param.u64 %rd4, [db];\n"
         "shr.u32 %r6, %r2, 4;\ncvt.u64.u32 %rd5, %r6;\nadd.s64 %rd3, %rd3, %rd5;\nadd.s64 %rd4, %rd4, %rd5;\n"
         "ld.param.u64 %rd6, [fragments];\nmul.wide.u32 %rd7, %r1, 16;\nadd.s64 %rd6, %rd6, %rd7;\n"
         "ld.global.v4.b32 {%f0, %f1, %f2, %f3}, [%rd6];\nwgmma.fence.sync.aligned;\nsetp.ne.u32 %p2, 0, 0;\n"
         "wgmma.mma_async.sync.aligned.m64n" +
         std::to_string(f.n) + "k" + std::to_string(kOf(f)) + "." + f.type + "." + f.element + "." + f.element + " " +
         list("%a", accumulators) + ", " + a + ", %rd4, %p2" + scales +
         ";\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nld.param.u64 %rd8, [out];\nmul.wide.u32 %rd9, "
         "%r1, " +
         std::to_string(4 * accumulators) + ";\nadd.s64 %rd8, %rd8, %rd9;\n" + out + "ret;\n}\n";
}

/// Registers of A: lane l of warp w holds rows 16 w + l / 4 and 8 further, by PTX ISA, "Register Fragments for wgmma".
std::vector<uint32_t> fragmentsOf(const Form &f) {
  std::vector<uint32_t> fragments(128 * 4);
  int each = 32 / bitsOf(f);
  for (int thread = 0; thread < 128; ++thread)
    for (int i = 0; i < 4; ++i)
      for (int e = 0; e < each; ++e) {
        int row = thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8, k = thread % 4 * each + i / 2 * 4 * each + e;
        fragments[thread * 4 + i] |= codeOf(valueA(f, row, k), f.element) << (bitsOf(f) * e);
      }
  return fragments;
}

std::vector<uint8_t> imageOf(const Form &f, int startB) {
  std::vector<uint8_t> image(kMostBytes);
  auto put = [&](int place, uint32_t code) { std::memcpy(&image[place], &code, bitsOf(f) / 8); };
  for (int k = 0; k < kOf(f); ++k) {
    for (int row = 0; row < kRows && f.a != Layout::Registers; ++row)
      put(placeOf(f, f.a, kRows, row, k), codeOf(valueA(f, row, k), f.element));
    for (int column = 0; column < f.n; ++column)
      put(startB + placeOf(f, f.b, f.n, column, k), codeOf(valueB(f, column, k), f.element));
  }
  return image;
}

/// Element (row, column) of what the threads have stored.
float resultOf(const Form &f, const std::vector<uint32_t> &out, int row, int column) {
  int thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2, i = column / 8 * 4 + row % 16 / 8 * 2 + column % 2;
  int perThread = f.n / 2 / (isHalf(f) ? 2 : 1);
  uint32_t bits = out[thread * perThread + (isHalf(f) ? i / 2 : i)];
  if (isInteger(f))
    return static_cast<float>(static_cast<int32_t>(bits));
  if (!isHalf(f))
    return std::bit_cast<float>(bits);
  uint32_t half = bits >> (i % 2 * 16) & 0xffff; // A small integer, so neither subnormal nor infinite.
  if ((half & 0x7fff) == 0)
    return 0;
  return std::bit_cast<float>((half & 0x8000) << 16 | ((half >> 10 & 31) + 112) << 23 | (half & 0x3ff) << 13);
}

class WgmmaForms : public testing::TestWithParam<Form> {};

TEST_P(WgmmaForms, Multiplies) {
  const Form &f = GetParam();
  constexpr int kStartB = 8192;
  std::vector<uint8_t> image = imageOf(f, kStartB);
  std::vector<uint32_t> fragments = fragmentsOf(f), out(kRows * f.n);
  CudaFile file("mechanism_kernels");
  file.ptx = kernelText(f);
  sim::Launch launch = launchOf("k", 128, {bufferOf(image), bufferOf(fragments), bufferOf(out)});
  launch.arguments.push_back(sim::ScalarArgument{descriptorOf(f, f.a == Layout::Registers ? Layout::K : f.a, kRows, 0)});
  launch.arguments.push_back(sim::ScalarArgument{descriptorOf(f, f.b, f.n, kStartB)});
  expectClean(runLaunch(file, launch));
  int wrong = 0;
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < f.n; ++column) {
      int sum = 0;
      for (int k = 0; k < kOf(f); ++k)
        sum += f.scaleA * valueA(f, row, k) * valueB(f, column, k);
      wrong += resultOf(f, out, row, column) != static_cast<float>(sum);
    }
  EXPECT_EQ(wrong, 0);
}

const Form kForms[] = {
    {"RegistersBf16", "f32", "bf16", 64, Layout::Registers},
    {"RegistersF16", "f32", "f16", 8, Layout::Registers},
    {"RegistersE4m3", "f32", "e4m3", 16, Layout::Registers},
    {"RegistersS8", "s32", "s8", 32, Layout::Registers},
    {"RegistersMnB", "f32", "bf16", 128, Layout::Registers, Layout::Mn, 128},
    {"NoSwizzleF16", "f32", "f16", 8},
    {"NoSwizzleE5m2", "f32", "e5m2", 256},
    {"NoSwizzleU8", "s32", "u8", 96},
    {"Negated", "f32", "e4m3", 64, Layout::K, Layout::K, 0, -1},
    {"HalfAccumulatorsF16", "f16", "f16", 32},
    {"HalfAccumulatorsE4m3", "f16", "e4m3", 192},
    {"MnMajor", "f32", "bf16", 128, Layout::Mn, Layout::Mn},
    {"MnMajor32", "f32", "f16", 128, Layout::Mn, Layout::Mn, 32},
    {"MnMajor64", "f32", "bf16", 64, Layout::Mn, Layout::Mn, 64},
    {"MnMajor128", "f32", "bf16", 256, Layout::Mn, Layout::Mn, 128},
    {"MixedMajor128", "f32", "f16", 128, Layout::Mn, Layout::K, 128},
    {"MixedMajor64", "f32", "bf16", 24, Layout::K, Layout::K, 64},
};

INSTANTIATE_TEST_SUITE_P(Wgmma, WgmmaForms, testing::ValuesIn(kForms), [](const auto &info) { return info.param.name; });

} // namespace
} // namespace quant::test
