//===- FakeCuda.cpp - a libcuda.so.1 that computes on the CPU ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For launcher-test.sh, on machines without a GPU: a driver whose every kernel is the block-scaled FP8 matmul, computed from the
// tensor maps it is given. FAKE_CUDA_FAULT makes it fail like a wrong kernel or an unfit machine would: scale, row, overrun,
// no-gpu.
//
//===----------------------------------------------------------------------===//

#include "test/gpu/CudaDriver.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

using namespace quant::test;

namespace {

/// What the fake keeps in a CUtensorMap.
struct FakeMap {
  int dataType, swizzle;
  char *address;
  uint64_t dim[2], strideBytes;
  uint32_t box[2];
};
static_assert(sizeof(FakeMap) <= sizeof(CUtensorMap));

bool capturing = false;

bool fault(const char *name) {
  const char *wanted = std::getenv("FAKE_CUDA_FAULT");
  return wanted && std::strcmp(wanted, name) == 0;
}

float decode(uint8_t bits) {
  int exponent = (bits >> 3) & 15, mantissa = bits & 7;
  float value = exponent ? std::ldexp(1.0f + mantissa / 8.0f, exponent - 7) : std::ldexp(mantissa / 8.0f, -6);
  return bits & 0x80 ? -value : value;
}

std::vector<float> decodeRows(const FakeMap &map) {
  std::vector<float> values(map.dim[0] * map.dim[1]);
  for (uint64_t row = 0; row < map.dim[1]; ++row)
    for (uint64_t i = 0; i < map.dim[0]; ++i)
      values[row * map.dim[0] + i] = decode(map.address[row * map.strideBytes + i]);
  return values;
}

uint16_t toBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

void multiply(const FakeMap &a, const FakeMap &scaleA, const FakeMap &b, const FakeMap &d, const float *scaleB) {
  std::vector<float> valuesA = decodeRows(a), valuesB = decodeRows(b);
  const uint64_t k = a.dim[0], blocks = scaleA.dim[1];
  for (uint64_t row = 0; row + fault("row") < d.dim[1]; ++row)
    for (uint64_t column = 0; column < d.dim[0]; ++column) {
      float sum = 0;
      for (uint64_t block = 0; block < blocks; ++block) {
        float products = 0;
        for (uint64_t i = block * 128; i < std::min(k, block * 128 + 128); ++i)
          products += valuesA[row * k + i] * valuesB[column * k + i];
        uint64_t wrongBlock = fault("scale") && block + 1 == blocks ? 0 : block;
        float scale = reinterpret_cast<float *>(scaleA.address + block * scaleA.strideBytes)[row];
        sum += products * scale * scaleB[column / 128 * blocks + wrongBlock];
      }
      reinterpret_cast<uint16_t *>(d.address + row * d.strideBytes)[column] = toBf16(sum);
    }
  if (fault("overrun"))
    d.address[d.dim[1] * d.strideBytes] = 0;
}

} // namespace

extern "C" {
CUresult cuInit(unsigned) { return 0; }
CUresult cuDriverGetVersion(int *version) { return *version = 12000, 0; }
CUresult cuDeviceGetCount(int *count) { return *count = !fault("no-gpu"), 0; }
CUresult cuDeviceGet(CUdevice *device, int) { return *device = 0, 0; }
CUresult cuDeviceGetName(char *name, int bytes, CUdevice) { return std::strncpy(name, "fake H100", bytes), 0; }
CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice) {
  switch (attribute) {
  case kAttributeMultiprocessors:
    return *value = 132, 0;
  case kAttributeMemoryClockKHz:
    return *value = 2619000, 0;
  case kAttributeMemoryBusBits:
    return *value = 5120, 0;
  case kAttributeL2Bytes:
    return *value = 50 << 20, 0;
  default:
    return *value = attribute == kAttributeCapabilityMajor ? 9 : 0, 0;
  }
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice) { return 0; }
CUresult cuCtxSetCurrent(CUcontext) { return 0; }
CUresult cuCtxSynchronize() { return 0; }
CUresult cuModuleLoadData(CUmodule *, const void *) { return 0; }
CUresult cuModuleUnload(CUmodule) { return 0; }
CUresult cuModuleGetFunction(CUfunction *, CUmodule, const char *) { return 0; }
CUresult cuFuncSetAttribute(CUfunction, int attribute, int bytes) {
  return attribute != kFunctionMaxDynamicSharedBytes || bytes > 232448;
}
CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t bytes) {
  return *pointer = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (bytes + 255) / 256 * 256)), 0;
}
CUresult cuMemFree_v2(CUdeviceptr pointer) { return std::free(reinterpret_cast<void *>(pointer)), 0; }
CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) {
  return std::memset(reinterpret_cast<void *>(to), value, bytes), 0;
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
  return std::memcpy(reinterpret_cast<void *>(to), from, bytes), 0;
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
  return std::memcpy(to, reinterpret_cast<void *>(from), bytes), 0;
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return std::memcpy(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes), 0;
}
CUresult cuTensorMapEncodeTiled(CUtensorMap *map, int dataType, uint32_t rank, void *address, const uint64_t *dim,
                                const uint64_t *strideBytes, const uint32_t *box, const uint32_t *elementStrides, int interleave,
                                int swizzle, int, int oobFill) {
  // The real driver's rules for two-dimensional tiles.
  int elementBytes = dataType == kTensorMapUint8 ? 1 : dataType == kTensorMapBfloat16 ? 2 : 4;
  bool legal = rank == 2 && dim[0] && dim[1] && strideBytes[0] % 16 == 0 && reinterpret_cast<uintptr_t>(address) % 16 == 0 &&
               box[0] <= 256 && box[1] <= 256 && box[0] * elementBytes % 16 == 0 && elementStrides[0] == 1 &&
               elementStrides[1] == 1 && interleave == 0 && oobFill == 0 && (swizzle != 3 || box[0] * elementBytes <= 128);
  FakeMap fake = {dataType, swizzle, static_cast<char *>(address), {dim[0], dim[1]}, strideBytes[0], {box[0], box[1]}};
  std::memcpy(map, &fake, sizeof fake);
  return legal ? 0 : 1;
}
CUresult cuLaunchKernel(CUfunction, unsigned gridX, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                        void **parameters, void **) {
  if (gridX == 0)
    return 1;
  if (capturing)
    return 0;
  FakeMap maps[4];
  for (int i = 0; i < 4; ++i)
    std::memcpy(&maps[i], parameters[i], sizeof maps[i]);
  if (*static_cast<int32_t *>(parameters[5]) != static_cast<int64_t>(maps[3].dim[1]))
    return 1;
  multiply(maps[0], maps[1], maps[2], maps[3], reinterpret_cast<float *>(*static_cast<CUdeviceptr *>(parameters[4])));
  return 0;
}
CUresult cuStreamCreate(CUstream *, unsigned) { return 0; }
CUresult cuStreamBeginCapture_v2(CUstream, int) { return capturing = true, 0; }
CUresult cuStreamEndCapture(CUstream, CUgraph *) { return capturing = false, 0; }
CUresult cuGraphInstantiateWithFlags(CUgraphExec *, CUgraph, unsigned long long) { return 0; }
CUresult cuGraphLaunch(CUgraphExec, CUstream) { return 0; }
CUresult cuGraphExecDestroy(CUgraphExec) { return 0; }
CUresult cuGraphDestroy(CUgraph) { return 0; }
CUresult cuEventCreate(CUevent *, unsigned) { return 0; }
CUresult cuEventRecord(CUevent, CUstream) { return 0; }
CUresult cuEventSynchronize(CUevent) { return 0; }
CUresult cuEventElapsedTime(float *milliseconds, CUevent, CUevent) { return *milliseconds = 1, 0; }
CUresult cuGetErrorName(CUresult, const char **name) { return *name = "CUDA_ERROR_FAKE", 0; }
}
