//===- driver.h - the calls of the CUDA driver that a session takes *- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Declared here and looked up in libcuda.so.1 when a session asks for them: neither the build nor a machine without a GPU needs
// the CUDA toolkit. Types, names and constants are those of cuda.h, held against 12.9 and 13.0; test/gpu/SimCuda.cpp is a
// libcuda.so.1 for tests.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_CUDA_DRIVER_H
#define QUANT_RUNTIME_DEVICE_CUDA_DRIVER_H

#include "runtime/support/result.h"

#include <cstddef>
#include <cstdint>

namespace quant::runtime::cuda {

using Status = int;       ///< CUresult
using Device = int;       ///< CUdevice
using Address = uint64_t; ///< CUdeviceptr
using Context = struct ContextTag *;
using Stream = struct StreamTag *;
using ModuleHandle = struct ModuleTag *;
using Function = struct FunctionTag *;
using Graph = struct GraphTag *;                     ///< CUgraph
using ExecutableGraph = struct ExecutableGraphTag *; ///< CUgraphExec

inline constexpr Status kOutOfMemory = 2;

/// CUdevice_attribute.
inline constexpr int kMultiprocessorCount = 16, kCapabilityMajor = 75, kCapabilityMinor = 76;
/// CU_STREAM_NON_BLOCKING: not ordered with the default stream of other code in the process.
inline constexpr unsigned kNonBlocking = 1;
/// CUjit_option.
inline constexpr int kJitErrorLog = 5, kJitErrorLogBytes = 6;
/// CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES.
inline constexpr int kMaxDynamicShared = 8, kLocalBytes = 3;
inline constexpr int kCaptureThreadLocal = 1;
/// CUlaunchAttributeID.
inline constexpr int kClusterDimension = 4, kProgrammaticStreamSerialization = 6;

/// CUtensorMap. Drivers of CUDA 12 ask for an alignment of 64.
struct alignas(128) TensorMap {
  std::byte opaque[128];
};

/// CUlaunchAttribute. `value` is a union: three sizes for clusters, an int for programmatic stream serialization.
struct LaunchAttribute {
  int id;
  char padding[4];
  alignas(8) unsigned value[16];
};
static_assert(sizeof(LaunchAttribute) == 72);

/// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid[3], block[3], sharedBytes;
  Stream stream;
  LaunchAttribute *attributes;
  unsigned attributeCount;
};
static_assert(sizeof(LaunchConfig) == 56);

/// "cuMemAlloc_v2 failed: CUDA_ERROR_OUT_OF_MEMORY"; nothing where the status is that of success.
Result<void> checked(const char *call, Status status);

/// A function of the driver. Called, it gives its failure as an error that names it.
template <typename... Arguments>
struct Call {
  const char *name;
  Status (*function)(Arguments...) = nullptr;

  Result<void> operator()(Arguments... arguments) const { return checked(name, status(arguments...)); }
  /// UBSan's check of the callee's type would read the bytes before it, which the driver need not have.
  [[clang::no_sanitize("function")]] Status status(Arguments... arguments) const { return function(arguments...); }
};

struct Driver {
  /// The driver of this machine, initialised. Errors: there is none, it is too old, it finds no GPU.
  static Result<const Driver *> get();

  Call<unsigned> init{"cuInit"};
  Call<Status, const char **> getErrorName{"cuGetErrorName"};

  Call<int *> deviceGetCount{"cuDeviceGetCount"};
  Call<Device *, int> deviceGet{"cuDeviceGet"};
  Call<char *, int, Device> deviceGetName{"cuDeviceGetName"};
  Call<int *, int, Device> deviceGetAttribute{"cuDeviceGetAttribute"};

  Call<Context *, Device> primaryContextRetain{"cuDevicePrimaryCtxRetain"};
  Call<Device> primaryContextRelease{"cuDevicePrimaryCtxRelease_v2"};
  Call<Context> contextPush{"cuCtxPushCurrent_v2"};
  Call<Context *> contextPop{"cuCtxPopCurrent_v2"};
  Call<Stream *, unsigned> streamCreate{"cuStreamCreate"};
  Call<Stream> streamSynchronize{"cuStreamSynchronize"};
  Call<Stream> streamDestroy{"cuStreamDestroy_v2"};
  Call<> contextSynchronize{"cuCtxSynchronize"};

  Call<size_t *, size_t *> memoryGetInfo{"cuMemGetInfo_v2"};
  Call<Address *, size_t> memoryAllocate{"cuMemAlloc_v2"};
  Call<Address> memoryFree{"cuMemFree_v2"};
  Call<void **, size_t, unsigned> hostAllocate{"cuMemHostAlloc"};
  Call<void *> hostFree{"cuMemFreeHost"};
  Call<Address, const void *, size_t> copyToDevice{"cuMemcpyHtoD_v2"};
  Call<Address, const void *, size_t, Stream> copyToDeviceAsync{"cuMemcpyHtoDAsync_v2"};
  Call<void *, Address, size_t, Stream> copyToHostAsync{"cuMemcpyDtoHAsync_v2"};
  Call<Address, unsigned char, size_t, Stream> setBytesAsync{"cuMemsetD8Async"};

  /// Image, number of options, CUjit_options, their values.
  Call<ModuleHandle *, const void *, unsigned, int *, void **> moduleLoad{"cuModuleLoadDataEx"};
  Call<ModuleHandle> moduleUnload{"cuModuleUnload"};
  Call<Function *, ModuleHandle, const char *> moduleGetFunction{"cuModuleGetFunction"};
  Call<Function, int, int> functionSetAttribute{"cuFuncSetAttribute"};
  Call<int *, int, Function> functionGetAttribute{"cuFuncGetAttribute"};
  Call<Function> functionLoad{"cuFuncLoad"}; ///< from CUDA 12.4 on; else null

  Call<Stream, int> captureBegin{"cuStreamBeginCapture_v2"};
  Call<Stream, Graph *> captureEnd{"cuStreamEndCapture"};
  Call<ExecutableGraph *, Graph, unsigned long long> graphInstantiate{"cuGraphInstantiateWithFlags"};
  Call<ExecutableGraph, Stream> graphLaunch{"cuGraphLaunch"};
  Call<Graph> graphDestroy{"cuGraphDestroy"};
  Call<ExecutableGraph> executableGraphDestroy{"cuGraphExecDestroy"};

  /// Map, data type, rank, address, dims, strides in bytes, box, element strides, interleave, swizzle, L2 promotion, fill.
  Call<TensorMap *, int, uint32_t, void *, const uint64_t *, const uint64_t *, const uint32_t *, const uint32_t *, int, int, int,
       int>
      tensorMapEncodeTiled{"cuTensorMapEncodeTiled"};
  /// Launch, function, addresses of the parameters, extra.
  Call<const LaunchConfig *, Function, void **, void **> launchKernel{"cuLaunchKernelEx"};

private:
  Result<void> load();
};

} // namespace quant::runtime::cuda

#endif // QUANT_RUNTIME_DEVICE_CUDA_DRIVER_H
