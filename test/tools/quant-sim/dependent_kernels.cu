//===- dependent_kernels.cu - kernels of programmatic launches ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// test/tools/quant-sim/compile-cuda.sh makes ptx/dependent_kernels.ptx of this. dependent_test.cpp takes their waits away.
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/hopper.cuh"

__device__ inline void waitForGrids() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ inline void launchDependents() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ inline int load(const int *from) {
  int value;
  asm volatile("ld.global.b32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}
__device__ inline void store(int *to, int value) { asm volatile("st.global.b32 [%0], %1;" ::"l"(to), "r"(value) : "memory"); }

/// out = in * weight; the weight is read while the kernel in front may still run.
extern "C" __global__ void scale(const int *in, const int *weight, int *out) {
  int factor = load(weight + threadIdx.x);
  waitForGrids();
  launchDependents();
  store(out + threadIdx.x, load(in + threadIdx.x) * factor);
}

/// One thread waits, a barrier passes it on.
extern "C" __global__ void waitBehindBarrier(const int *in, int *out) {
  if (threadIdx.x == 40)
    waitForGrids();
  __syncthreads();
  store(out + threadIdx.x, load(in + threadIdx.x));
}

/// One thread waits, its warp's barrier passes it on.
extern "C" __global__ void waitBehindWarpBarrier(const int *in, int *out) {
  if (threadIdx.x % 32 == 3)
    waitForGrids();
  __syncwarp();
  store(out + threadIdx.x, load(in + threadIdx.x));
}

/// One thread waits, an mbarrier passes it on.
extern "C" __global__ void waitBehindMbarrier(const int *in, int *out) {
  __shared__ uint64_t ready;
  if (threadIdx.x == 0) {
    initBarrier(&ready, 1);
    fenceInit();
  }
  __syncthreads();
  if (threadIdx.x == 1) {
    waitForGrids();
    arrive(&ready);
  }
  waitParity(&ready, 0);
  store(out + threadIdx.x, load(in + threadIdx.x));
}

/// A thread of one block waits, the cluster's barrier passes it on.
extern "C" __global__ void waitBehindClusterBarrier(const int *in, int *out) {
  if (clusterRank() == 1 && threadIdx.x == 7)
    waitForGrids();
  clusterSync();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  store(out + i, load(in + i));
}

/// Each way to reach global memory, by one thread.
extern "C" __global__ void everyAccess(const __grid_constant__ Map map, int *data) {
  __shared__ alignas(128) int tile[144];
  __shared__ uint64_t full;
  initBarrier(&full, 1);
  fenceInit();
  expectBytes(&full, 512 + 64);
  asm volatile("prefetch.global.L2 [%0];" ::"l"(data) : "memory");
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(&map), "r"(0), "r"(0) : "memory");
  waitForGrids();
  loadTile(tile, &map, 0, 0, &full);
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], 64, [%2];" ::"r"(sharedAddress(tile + 128)),
      "l"(data), "r"(sharedAddress(&full))
      : "memory");
  waitParity(&full, 0);
  storeTile(&map, tile, 0, 0);
  asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map), "r"(0),
               "r"(0), "r"(sharedAddress(tile))
               : "memory");
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], 64;" ::"l"(data), "r"(sharedAddress(tile)) : "memory");
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.s32 [%0], [%1], 64;" ::"l"(data), "r"(sharedAddress(tile))
               : "memory");
  commitStores();
  waitStores();
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"(sharedAddress(tile)), "l"(data) : "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
  int old;
  asm volatile("atom.global.add.s32 %0, [%1], 1;" : "=r"(old) : "l"(data) : "memory");
  asm volatile("red.global.add.s32 [%0], 1;" ::"l"(data) : "memory");
  store(data, load(data) + old);
}

/// The first `count` blocks wait; the others have nothing to do.
extern "C" __global__ void waitInSomeBlocks(int count) {
  if (blockIdx.x < count)
    waitForGrids();
}
