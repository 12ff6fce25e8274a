//===- cluster_kernels.cu - blocks that work together ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// test/tools/quant-sim/compile-cuda.sh makes ptx/cluster_kernels.ptx of this.
//
//===----------------------------------------------------------------------===//

#include "test/tools/quant-sim/hopper.cuh"

#include <cooperative_groups.h>

/// out[block][i]: what the next block of the cluster has in shared memory.
extern "C" __global__ void __cluster_dims__(4, 1, 1) neighbour(int *out) {
  __shared__ int own[64];
  int i = static_cast<int>(threadIdx.x);
  own[i] = static_cast<int>(blockIdx.x) * 1000 + i;
  clusterSync();
  out[blockIdx.x * 64 + i] = loadRemote(mapToRank(&own[i], (clusterRank() + 1) % clusterSize()));
  clusterSync();
}

/// The same in CUDA's own words, with generic addresses and a cluster of 2 x 2; a histogram by remote atomics beside it.
extern "C" __global__ void __cluster_dims__(2, 2, 1) cooperative(int *out, int *counts) {
  namespace cg = cooperative_groups;
  __shared__ int own[32], histogram;
  cg::cluster_group cluster = cg::this_cluster();
  unsigned rank = cluster.block_rank();
  own[threadIdx.x] = static_cast<int>(rank * 100 + threadIdx.x);
  if (threadIdx.x == 0)
    histogram = 0;
  cluster.sync();
  unsigned other = rank ^ 3;
  const int *remote = cluster.map_shared_rank(own, other);
  out[rank * 32 + threadIdx.x] = remote[31 - threadIdx.x];
  atomicAdd(cluster.map_shared_rank(&histogram, threadIdx.x % cluster.num_blocks()), 1);
  cluster.sync();
  if (threadIdx.x == 0)
    counts[rank] = histogram + static_cast<int>(cluster.dim_blocks().y * 1000);
}

/// Every block writes a word into every other and arrives there; a block goes on when all have.
extern "C" __global__ void __cluster_dims__(4, 1, 1) exchange(int *out) {
  __shared__ int words[4];
  __shared__ uint64_t ready;
  uint32_t rank = clusterRank(), t = threadIdx.x;
  if (t == 0) {
    initBarrier(&ready, 4);
    fenceInit();
  }
  __syncwarp();
  clusterArriveRelaxed();
  clusterWait();
  if (t < 4) {
    storeRemote(mapToRank(&words[rank], t), static_cast<int>(rank * 10 + t));
    arriveAt(&ready, t);
  }
  waitParity(&ready, 0);
  if (t < 4)
    out[rank * 4 + t] = words[t];
}

constexpr int kRows = 32, kWords = 32, kStages = 2;

/// Sums the columns of tiles of 32 x 32 words that both blocks of a cluster read: each loads half of a tile for both. Warp 0
/// loads, warp 1 sums.
extern "C" __global__ void __cluster_dims__(2, 1, 1) multicast(const __grid_constant__ Map map, int *out, int tiles) {
  __shared__ alignas(128) int tile[kStages][kRows][kWords];
  __shared__ uint64_t full[kStages], empty[kStages];
  uint32_t rank = clusterRank();
  int lane = static_cast<int>(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      initBarrier(&full[stage], 1);
      initBarrier(&empty[stage], 2);
    }
    fenceInit();
  }
  __syncthreads();
  clusterArriveRelaxed();
  clusterWait();
  if (threadIdx.x < 32) {
    if (lane == 0) {
#pragma unroll 1
      for (int i = 0; i < tiles; ++i) {
        int stage = i % kStages;
        waitParity(&empty[stage], (i / kStages & 1) ^ 1);
        expectBytes(&full[stage], kRows * kWords * 4);
        loadTileMulticast(tile[stage][rank * kRows / 2], &map, 0, i * kRows + static_cast<int>(rank) * kRows / 2, &full[stage], 3);
      }
      // Both blocks arrive at both: a block that ends early would pull its barriers away from under the other.
#pragma unroll 1
      for (int i = tiles; i < tiles + kStages; ++i)
        waitParity(&empty[i % kStages], (i / kStages & 1) ^ 1);
    }
  } else {
    int sum = 0;
#pragma unroll 1
    for (int i = 0; i < tiles; ++i) {
      int stage = i % kStages;
      waitParity(&full[stage], i / kStages & 1);
      for (int row = 0; row < kRows; ++row)
        sum += tile[stage][row][lane] * (static_cast<int>(rank) + 1);
      __syncwarp();
      if (lane < 2)
        arriveAt(&empty[stage], static_cast<uint32_t>(lane));
    }
    out[rank * kWords + lane] = sum;
  }
}
