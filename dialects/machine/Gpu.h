//===- Gpu.h - the GPUs that kernels are built for -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The numbers of an architecture, which kernels must respect, and those of its parts, by which the cost model chooses. They stand
// here and nowhere else: verifiers, plans, the cost model and the simulator read them.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_MACHINE_GPU_H
#define QUANT_DIALECTS_MACHINE_GPU_H

#include "runtime/support/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quant::machine {

/// What all parts of one compute capability have in common.
struct GpuArch {
  /// As LLVM and ptxas name it.
  std::string_view name;

  /// Bytes of shared memory that one block may have, static and dynamic together.
  int64_t sharedBytesPerBlock;
  /// 32-bit registers of a multiprocessor.
  int64_t registersPerSm;
  /// The bounds and the unit of a thread's registers in setmaxnreg.
  int64_t minThreadRegisters, maxThreadRegisters, registerUnit;
  int64_t threadsPerBlock;
  /// Barriers of a block that bar.sync names by number.
  int64_t namedBarriers;
  /// Blocks of a cluster that every part can schedule.
  int64_t blocksPerCluster;

  /// Threads of a warp, warps of a warpgroup.
  int64_t warpThreads, warpgroupWarps;
  /// Rows of one wgmma, which is always of a whole warpgroup.
  int64_t wgmmaRows;

  /// Rows in global memory must begin at multiples of so many bytes for TMA to read or write them.
  int64_t tmaAlignment;
  /// The longest side of a TMA box, in elements, and the dimensions of a tensor at most.
  int64_t tmaBoxSide;
  size_t tmaRank;
  /// Where TMA's boxes without a swizzle begin in shared memory.
  int64_t tmaTileAlignment;
  int64_t mbarrierBytes;

  constexpr int64_t warpgroupThreads() const { return warpThreads * warpgroupWarps; }
  /// Registers of each thread of a block that is compiled to fill a multiprocessor alone.
  constexpr int64_t registersAtLaunch(int64_t threads) const { return registersPerSm / threads / registerUnit * registerUnit; }
};

/// Where a tile with a swizzle of so many bytes begins in shared memory: the pattern repeats every 8 rows and counts from address
/// 0.
constexpr int64_t swizzleAlignment(int64_t swizzleBytes) { return 8 * swizzleBytes; }

/// A kernel of groups of rows keeps a table of them in shared memory: so many bytes for each, and one entry more. More groups
/// than this are never experts of one device.
inline constexpr int64_t kGroupEntryBytes = 16, kMaxGroups = 1024;

/// Hopper: H100, H200, H800.
inline constexpr GpuArch kSm90a = {
    .name = "sm_90a",
    // CUDA C++ Programming Guide, "Technical Specifications per Compute Capability", 9.0: 227 KB per block, 64 K registers per
    // multiprocessor, 1024 threads per block.
    .sharedBytesPerBlock = 227 * 1024,
    .registersPerSm = 64 * 1024,
    // PTX ISA, setmaxnreg: multiples of 8 from 24 to 256.
    .minThreadRegisters = 24,
    .maxThreadRegisters = 256,
    .registerUnit = 8,
    .threadsPerBlock = 1024,
    // PTX ISA, "bar": 16 barriers, numbered from 0.
    .namedBarriers = 16,
    // CUDA C++ Programming Guide, "Thread Block Clusters": 8 is portable, more need an attribute of the function.
    .blocksPerCluster = 8,
    .warpThreads = 32,
    // PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions": four warps; every shape is m64.
    .warpgroupWarps = 4,
    .wgmmaRows = 64,
    // CUDA Driver API, cuTensorMapEncodeTiled: globalStrides are multiples of 16, boxDim is at most 256.
    .tmaAlignment = 16,
    .tmaBoxSide = 256,
    .tmaRank = 5,
    // PTX ISA, cp.async.bulk.tensor: the address in shared memory.
    .tmaTileAlignment = 128,
    // PTX ISA, "Size and alignment of mbarrier object".
    .mbarrierBytes = 8,
};

/// One part. "Per cycle" is at `clockHz`.
struct Gpu {
  /// As --gpu names it: h100, h200, h800.
  std::string name;
  GpuArch arch = kSm90a;
  int64_t sms = 0;
  /// The clock held under FP8 load; the boost clock of the data sheet is higher.
  double clockHz = 0;
  /// Operations (two per multiply-add) of one multiprocessor's tensor cores, e4m3.
  double tensorFlopsPerCycle = 0;
  /// Dense e4m3 operations per second of the data sheet, the usual denominator of "fraction of peak".
  double nominalTensorFlops = 0;
  /// Shared memory of one multiprocessor, reads and writes together.
  double sharedBytesPerCycle = 0;
  /// L2 to all multiprocessors together, and to one.
  double l2BytesPerCycle = 0, loadBytesPerCycle = 0;
  int64_t l2Bytes = 0;
  /// The data sheet's, and the part of it that kernels reach.
  double hbmBytesPerSecond = 0, hbmEfficiency = 0;
  /// From a load's issue to its arrival when memory is busy.
  double loadLatencySeconds = 0;
  /// Launch, barrier set-up, the first load and the last store: what no other work hides.
  double launchSeconds = 0;
};

/// Every GPU that there are numbers of: h100 (SXM5), h200, h800 (as h100, with slower NVLink).
const std::vector<Gpu> &gpus();
/// Errors: a name that is none of them.
Result<Gpu> findGpu(std::string_view name);
/// What is compiled for where nobody says: the h200.
const Gpu &defaultGpu();

} // namespace quant::machine

#endif // QUANT_DIALECTS_MACHINE_GPU_H
