//===- CudaDriver.h - the CUDA driver through dlopen --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The few declarations of cuda.h that a launcher needs, so that it builds without the CUDA toolkit.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_GPU_CUDADRIVER_H
#define QUANT_TEST_GPU_CUDADRIVER_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace quant::test {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st *;
using CUmodule = struct CUmod_st *;
using CUfunction = struct CUfunc_st *;
using CUstream = struct CUstream_st *;
using CUevent = struct CUevent_st *;
using CUgraph = struct CUgraph_st *;
using CUgraphExec = struct CUgraphExec_st *;

/// cuda.h aligns to 64 bytes up to CUDA 12, to 128 from 13 on.
struct alignas(128) CUtensorMap {
  uint64_t opaque[16];
};

inline constexpr int kAttributeMultiprocessors = 16;
inline constexpr int kAttributeMemoryClockKHz = 36;
inline constexpr int kAttributeMemoryBusBits = 37;
inline constexpr int kAttributeL2Bytes = 38;
inline constexpr int kAttributeCapabilityMajor = 75;
inline constexpr int kAttributeCapabilityMinor = 76;
inline constexpr int kFunctionMaxDynamicSharedBytes = 8;
inline constexpr int kTensorMapUint8 = 0, kTensorMapFloat32 = 7, kTensorMapBfloat16 = 9;
inline constexpr int kCaptureModeGlobal = 0;

// X(symbol exported by libcuda.so.1, member, parameters). The symbols carry the version suffixes that cuda.h hides.
#define QUANT_CUDA_FUNCTIONS(X)                                                                                                  \
  X(cuInit, init, (unsigned flags))                                                                                              \
  X(cuDriverGetVersion, driverGetVersion, (int *version))                                                                        \
  X(cuDeviceGetCount, deviceGetCount, (int *count))                                                                              \
  X(cuDeviceGet, deviceGet, (CUdevice * device, int ordinal))                                                                    \
  X(cuDeviceGetName, deviceGetName, (char *name, int bytes, CUdevice device))                                                    \
  X(cuDeviceGetAttribute, deviceGetAttribute, (int *value, int attribute, CUdevice device))                                      \
  X(cuDevicePrimaryCtxRetain, devicePrimaryCtxRetain, (CUcontext * context, CUdevice device))                                    \
  X(cuCtxSetCurrent, ctxSetCurrent, (CUcontext context))                                                                         \
  X(cuCtxSynchronize, ctxSynchronize, ())                                                                                        \
  X(cuModuleLoadData, moduleLoadData, (CUmodule * module, const void *image))                                                    \
  X(cuModuleUnload, moduleUnload, (CUmodule module))                                                                             \
  X(cuModuleGetFunction, moduleGetFunction, (CUfunction * function, CUmodule module, const char *name))                          \
  X(cuFuncSetAttribute, funcSetAttribute, (CUfunction function, int attribute, int value))                                       \
  X(cuMemAlloc_v2, memAlloc, (CUdeviceptr * pointer, size_t bytes))                                                              \
  X(cuMemFree_v2, memFree, (CUdeviceptr pointer))                                                                                \
  X(cuMemsetD8_v2, memsetD8, (CUdeviceptr pointer, unsigned char value, size_t bytes))                                           \
  X(cuMemcpyHtoD_v2, memcpyHtoD, (CUdeviceptr to, const void *from, size_t bytes))                                               \
  X(cuMemcpyDtoH_v2, memcpyDtoH, (void *to, CUdeviceptr from, size_t bytes))                                                     \
  X(cuMemcpyDtoD_v2, memcpyDtoD, (CUdeviceptr to, CUdeviceptr from, size_t bytes))                                               \
  X(cuTensorMapEncodeTiled, tensorMapEncodeTiled,                                                                                \
    (CUtensorMap * map, int dataType, uint32_t rank, void *address, const uint64_t *dim, const uint64_t *strideBytes,            \
     const uint32_t *box, const uint32_t *elementStrides, int interleave, int swizzle, int l2Promotion, int oobFill))            \
  X(cuLaunchKernel, launchKernel,                                                                                                \
    (CUfunction function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ,     \
     unsigned sharedBytes, CUstream stream, void **parameters, void **extra))                                                    \
  X(cuStreamCreate, streamCreate, (CUstream * stream, unsigned flags))                                                           \
  X(cuStreamBeginCapture_v2, streamBeginCapture, (CUstream stream, int mode))                                                    \
  X(cuStreamEndCapture, streamEndCapture, (CUstream stream, CUgraph * graph))                                                    \
  X(cuGraphInstantiateWithFlags, graphInstantiate, (CUgraphExec * exec, CUgraph graph, unsigned long long flags))                \
  X(cuGraphLaunch, graphLaunch, (CUgraphExec exec, CUstream stream))                                                             \
  X(cuGraphExecDestroy, graphExecDestroy, (CUgraphExec exec))                                                                    \
  X(cuGraphDestroy, graphDestroy, (CUgraph graph))                                                                               \
  X(cuEventCreate, eventCreate, (CUevent * event, unsigned flags))                                                               \
  X(cuEventRecord, eventRecord, (CUevent event, CUstream stream))                                                                \
  X(cuEventSynchronize, eventSynchronize, (CUevent event))                                                                       \
  X(cuEventElapsedTime, eventElapsedTime, (float *milliseconds, CUevent start, CUevent end))                                     \
  X(cuGetErrorName, getErrorName, (CUresult error, const char **name))

/// The driver's entry points. Members are null until load() succeeds.
struct CudaDriver {
#define X(symbol, member, parameters) CUresult(*member) parameters = nullptr;
  QUANT_CUDA_FUNCTIONS(X)
#undef X

  /// Empty if the library and every symbol was found, else why not.
  std::string load();

  /// Throws std::runtime_error with the call's name and the driver's error name unless `result` is 0.
  void check(CUresult result, const char *call) const;
};

} // namespace quant::test

#endif // QUANT_TEST_GPU_CUDADRIVER_H
