//===- mechanism_kernels.cu - one kernel per mechanism -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// test/tools/quant-sim/compile-cuda.sh makes ptx/mechanism_kernels.ptx of this. mechanism_test.cpp knows what each must compute.
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/hopper.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

//===----------------------------------------------------------------------===//
// TMA
//===----------------------------------------------------------------------===//

constexpr int kBoxBytes = 8192;

/// Initialises `full`, lets thread 0 `issue` loads of `bytes`, and copies what they bring to `out`.
template <typename F>
__device__ void dumpBox(char *box, uint64_t *full, char *out, int bytes, F issue) {
  if (threadIdx.x == 0) {
    initBarrier(full, 1);
    fenceInit();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    expectBytes(full, bytes);
    issue();
  }
  waitParity(full, 0);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x)
    out[i] = box[i];
}

extern "C" __global__ void box1d(const __grid_constant__ Map map, char *out, int bytes, int x) {
  __shared__ alignas(1024) char box[kBoxBytes];
  __shared__ uint64_t full;
  dumpBox(box, &full, out, bytes, [&] {
    asm volatile("cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2}], [%3];" ::"r"(
                     sharedAddress(box)),
                 "l"(&map), "r"(x), "r"(sharedAddress(&full))
                 : "memory");
  });
}

extern "C" __global__ void box2d(const __grid_constant__ Map map, char *out, int bytes, int x, int y) {
  __shared__ alignas(1024) char box[kBoxBytes];
  __shared__ uint64_t full;
  dumpBox(box, &full, out, bytes, [&] { loadTile(box, &map, x, y, &full); });
}

extern "C" __global__ void box3d(const __grid_constant__ Map map, char *out, int bytes, int x, int y, int z) {
  __shared__ alignas(1024) char box[kBoxBytes];
  __shared__ uint64_t full;
  dumpBox(box, &full, out, bytes, [&] {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(
                     sharedAddress(box)),
                 "l"(&map), "r"(x), "r"(y), "r"(z), "r"(sharedAddress(&full))
                 : "memory");
  });
}

extern "C" __global__ void box5d(const __grid_constant__ Map map, char *out, int bytes, int x, int y, int z, int v, int w) {
  __shared__ alignas(1024) char box[kBoxBytes];
  __shared__ uint64_t full;
  dumpBox(box, &full, out, bytes, [&] {
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3, %4, %5, %6}], [%7];" ::"r"(sharedAddress(box)),
                 "l"(&map), "r"(x), "r"(y), "r"(z), "r"(v), "r"(w), "r"(sharedAddress(&full))
                 : "memory");
  });
}

/// Adds 32 x 8 floats to the tensor at (x, y), and the first 16 of them to `sums`.
extern "C" __global__ void reduceBulk(const __grid_constant__ Map map, float *sums, int x, int y) {
  __shared__ alignas(128) float tile[8][32];
  for (int row = 0; row < 8; ++row)
    tile[row][threadIdx.x] = static_cast<float>(row * 32 + threadIdx.x);
  fenceAsync();
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map), "r"(x),
                 "r"(y), "r"(sharedAddress(tile))
                 : "memory");
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], 64;" ::"l"(sums),
                 "r"(sharedAddress(tile))
                 : "memory");
    commitStores();
    waitStores();
  }
}

//===----------------------------------------------------------------------===//
// cp.async, clusters' asynchronous stores
//===----------------------------------------------------------------------===//

/// Doubles 2 x 128 words; the second half is under way while the first is used.
extern "C" __global__ void copyAsync(const int4 *in, int *out) {
  __shared__ alignas(16) int words[2][128];
  for (int half = 0; half < 2; ++half) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(sharedAddress(&words[half][threadIdx.x * 4])),
                 "l"(in + half * 32 + threadIdx.x)
                 : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
  }
  asm volatile("cp.async.wait_group 1;" ::: "memory");
  __syncwarp();
  for (int i = threadIdx.x; i < 128; i += 32)
    out[i] = words[0][i ^ 127] * 2;
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncwarp();
  for (int i = threadIdx.x; i < 128; i += 32)
    out[128 + i] = words[1][i ^ 127] * 2;
}

/// Block 0 sends 32 words to block 1 by st.async, then 64 bytes in bulk; its mbarrier counts both.
extern "C" __global__ void __cluster_dims__(2, 1, 1) sendAsync(int *out) {
  __shared__ alignas(16) int words[32], bulk[16];
  __shared__ uint64_t full;
  uint32_t rank = clusterRank(), t = threadIdx.x;
  if (t == 0) {
    initBarrier(&full, 1);
    fenceInit();
    expectBytes(&full, 32 * 4 + 64);
  }
  if (t < 16 && rank == 0)
    bulk[t] = static_cast<int>(1000 + t);
  fenceAsync();
  __syncwarp();
  clusterSync();
  if (rank == 0) {
    uint32_t barrier = mapToRank(&full, 1);
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(mapToRank(&words[t], 1)),
                 "r"(t * 3), "r"(barrier)
                 : "memory");
    if (t == 0)
      asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], 64, [%2];" ::"r"(
                       mapToRank(bulk, 1)),
                   "r"(sharedAddress(bulk)), "r"(barrier)
                   : "memory");
  } else {
    waitParity(&full, 0);
    out[t] = words[t];
    if (t < 16)
      out[32 + t] = bulk[t];
  }
  // What block 0 sends from must last until it is sent.
  clusterSync();
}

//===----------------------------------------------------------------------===//
// Barriers, warps
//===----------------------------------------------------------------------===//

/// Two warps fill a buffer, two others read it: eight rounds of bar.arrive and bar.sync.
extern "C" __global__ void namedBarriers(int *out) {
  __shared__ int buffer[64];
  int t = static_cast<int>(threadIdx.x) % 64;
  int sum = 0;
#pragma unroll 1
  for (int round = 0; round < 8; ++round) {
    if (threadIdx.x < 64) {
      if (round > 0)
        asm volatile("bar.sync 2, 128;" ::: "memory");
      buffer[t] = round * 100 + t;
      asm volatile("bar.arrive 1, 128;" ::: "memory");
    } else {
      asm volatile("bar.sync 1, 128;" ::: "memory");
      sum += buffer[63 - t];
      if (round < 7)
        asm volatile("bar.arrive 2, 128;" ::: "memory");
    }
  }
  if (threadIdx.x >= 64)
    out[t] = sum;
}

/// Shuffles, votes and elections among the lanes that a branch leaves together. 12 results a lane.
extern "C" __global__ void warpOps(int *out) {
  int lane = static_cast<int>(threadIdx.x);
  int *to = out + lane * 12;
  auto all = [&](unsigned mask, int base) {
    to[0] = __shfl_sync(mask, lane * 10, lane ^ 2);
    to[1] = __shfl_up_sync(mask, lane, 2);
    to[2] = __shfl_down_sync(mask, lane, 2, 8);
    to[3] = __shfl_xor_sync(mask, lane, 2);
    to[4] = static_cast<int>(__ballot_sync(mask, lane & 4));
    to[5] = __any_sync(mask, lane == base) * 2 + __all_sync(mask, lane % 2 == base);
    to[6] = static_cast<int>(__match_any_sync(mask, lane / 8));
    to[7] = static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(lane)));
    unsigned leader, isLeader;
    asm volatile("{\n.reg .pred p;\nelect.sync %0|p, %2;\nselp.u32 %1, 1, 0, p;\n}" : "=r"(leader), "=r"(isLeader) : "r"(mask));
    to[8] = static_cast<int>(leader);
    to[9] = static_cast<int>(isLeader);
    to[10] = static_cast<int>(__activemask());
    to[11] = static_cast<int>(__reduce_max_sync(mask, static_cast<unsigned>(lane)));
  };
  if (lane % 2)
    all(0xaaaaaaaa, 1);
  else
    all(0x55555555, 0);
}

//===----------------------------------------------------------------------===//
// ldmatrix, stmatrix, mma
//===----------------------------------------------------------------------===//

#define MATRIX(NAME, COUNT, TRANS)                                                                                               \
  extern "C" __global__ void NAME(const uint16_t *in, uint32_t *loaded, uint16_t *stored) {                                      \
    __shared__ alignas(16) uint16_t from[COUNT * 64], to[COUNT * 64];                                                            \
    int lane = threadIdx.x;                                                                                                      \
    for (int i = lane; i < COUNT * 64; i += 32)                                                                                  \
      from[i] = in[i];                                                                                                           \
    __syncwarp();                                                                                                                \
    uint32_t r[4] = {}, row = lane % (COUNT * 8) * 8;                                                                            \
    MATRIX_##COUNT(TRANS, r, sharedAddress(from + row), sharedAddress(to + row));                                                \
    __syncwarp();                                                                                                                \
    for (int i = 0; i < COUNT; ++i)                                                                                              \
      loaded[i * 32 + lane] = r[i];                                                                                              \
    for (int i = lane; i < COUNT * 64; i += 32)                                                                                  \
      stored[i] = to[i];                                                                                                         \
  }
#define MATRIX_1(TRANS, r, from, to)                                                                                             \
  asm volatile("ldmatrix.sync.aligned.m8n8.x1" TRANS ".shared.b16 {%0}, [%1];\nstmatrix.sync.aligned.m8n8.x1" TRANS              \
               ".shared.b16 [%2], {%0};"                                                                                         \
               : "+r"(r[0])                                                                                                      \
               : "r"(from), "r"(to)                                                                                              \
               : "memory")
#define MATRIX_2(TRANS, r, from, to)                                                                                             \
  asm volatile("ldmatrix.sync.aligned.m8n8.x2" TRANS ".shared.b16 {%0, %1}, [%2];\nstmatrix.sync.aligned.m8n8.x2" TRANS          \
               ".shared.b16 [%3], {%0, %1};"                                                                                     \
               : "+r"(r[0]), "+r"(r[1])                                                                                          \
               : "r"(from), "r"(to)                                                                                              \
               : "memory")
#define MATRIX_4(TRANS, r, from, to)                                                                                             \
  asm volatile("ldmatrix.sync.aligned.m8n8.x4" TRANS                                                                             \
               ".shared.b16 {%0, %1, %2, %3}, [%4];\nstmatrix.sync.aligned.m8n8.x4" TRANS ".shared.b16 [%5], {%0, %1, %2, %3};"  \
               : "+r"(r[0]), "+r"(r[1]), "+r"(r[2]), "+r"(r[3])                                                                  \
               : "r"(from), "r"(to)                                                                                              \
               : "memory")
MATRIX(matrix1, 1, "")
MATRIX(matrix2, 2, "")
MATRIX(matrix4, 4, "")
MATRIX(matrix1t, 1, ".trans")
MATRIX(matrix2t, 2, ".trans")
MATRIX(matrix4t, 4, ".trans")

/// D[16][8] of one mma; every fragment register of a lane is loaded from memory by the layouts of the PTX manual. BITS: of an
/// element of A and B, K: in elements.
#define MMA(NAME, SHAPE, TYPES, BITS, K, ASM_A, ASM_B, ASM_C)                                                                    \
  extern "C" __global__ void NAME(const uint32_t *a, const uint32_t *b, float *d) {                                              \
    constexpr int kEach = 32 / BITS, kWords = K / kEach, kHalves = kWords / 4;                                                   \
    int g = threadIdx.x / 4, t = threadIdx.x % 4;                                                                                \
    uint32_t ra[4] = {}, rb[2] = {};                                                                                             \
    float c[4] = {1, 2, 3, 4};                                                                                                   \
    for (int i = 0; i < 2 * kHalves; ++i)                                                                                        \
      ra[i] = a[(g + i % 2 * 8) * kWords + t + i / 2 * 4];                                                                       \
    for (int i = 0; i < kHalves; ++i)                                                                                            \
      rb[i] = b[g * kWords + t + i * 4];                                                                                         \
    asm volatile("mma.sync.aligned." SHAPE ".row.col.f32." TYPES ".f32 {%0, %1, %2, %3}, " ASM_A ", " ASM_B                      \
                 ", {%0, %1, %2, %3};"                                                                                           \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                                \
                 : "r"(ra[0]), "r"(ra[1]), "r"(ra[2]), "r"(ra[3]), "r"(rb[0]), "r"(rb[1]));                                      \
    for (int i = 0; i < 4; ++i)                                                                                                  \
      d[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = c[i];                                                                             \
  }
MMA(mmaBf16, "m16n8k16", "bf16.bf16", 16, 16, "{%4, %5, %6, %7}", "{%8, %9}", "")
MMA(mmaF16, "m16n8k16", "f16.f16", 16, 16, "{%4, %5, %6, %7}", "{%8, %9}", "")
MMA(mmaF16k8, "m16n8k8", "f16.f16", 16, 8, "{%4, %5}", "{%8}", "")
MMA(mmaE4m3, "m16n8k32", "e4m3.e4m3", 8, 32, "{%4, %5, %6, %7}", "{%8, %9}", "")
MMA(mmaE5m2, "m16n8k32", "e5m2.e5m2", 8, 32, "{%4, %5, %6, %7}", "{%8, %9}", "")
MMA(mmaTf32, "m16n8k8", "tf32.tf32", 32, 8, "{%4, %5, %6, %7}", "{%8, %9}", "")

//===----------------------------------------------------------------------===//
// Atomics
//===----------------------------------------------------------------------===//

/// Every atomic once by each of 64 threads, on words that the host has set.
extern "C" __global__ void atomics(unsigned *words, unsigned long long *longs, float *floats, double *doubles, __half2 *halves,
                                   __nv_bfloat16 *bfloats, int *old) {
  __shared__ unsigned shared[2];
  unsigned t = threadIdx.x;
  if (t < 2)
    shared[t] = t * 1000;
  __syncthreads();
  atomicAdd(&words[0], t);
  atomicMin(&words[1], t + 5);
  atomicMax(reinterpret_cast<int *>(&words[2]), static_cast<int>(t) - 40);
  atomicAnd(&words[3], ~(1u << (t % 32)));
  atomicOr(&words[4], 1u << (t / 2));
  atomicXor(&words[5], 1u << (t % 7));
  atomicInc(&words[6], 9);
  atomicDec(&words[7], 9);
  atomicExch(&words[8], 77);
  for (unsigned seen = words[9], expected = ~seen; seen != expected;) {
    expected = seen;
    seen = atomicCAS(&words[9], expected, expected + 3);
  }
  atomicAdd(&longs[0], 1ull << 33);
  atomicMax(&longs[1], t * (1ull << 40));
  atomicAdd(&floats[0], 0.5f);
  atomicAdd(&doubles[0], 0.25);
  atomicAdd(&halves[0], __floats2half2_rn(1, 2));
  atomicAdd(&bfloats[0], __float2bfloat16(2));
  old[t] = static_cast<int>(atomicAdd(&shared[0], 1));
  atomicAdd(&shared[1], 2);
  __syncthreads();
  if (t < 2)
    words[10 + t] = shared[t];
}
