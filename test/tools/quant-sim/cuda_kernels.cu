//===- cuda_kernels.cu - what nvcc makes of everyday CUDA -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// nvcc -arch=sm_90a -ptx cuda_kernels.cu -o ptx/cuda_kernels.ptx; the PTX is committed, so that the tests need no nvcc.
//
//===----------------------------------------------------------------------===//

#include <cuda_bf16.h>
#include <cuda_fp8.h>

/// out += 1 / sqrt(1 + the block's sum of squares): shuffles, shared memory, a barrier, an atomic.
extern "C" __global__ void reduce(const float *in, float *out, int n) {
  __shared__ float sums[8];
  float sum = 0;
  for (int i = threadIdx.x + blockIdx.x * blockDim.x; i < n; i += blockDim.x * gridDim.x)
    sum += in[i] * in[i];
  for (int offset = 16; offset; offset >>= 1)
    sum += __shfl_xor_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0)
    sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < 8 ? sums[threadIdx.x] : 0;
    for (int offset = 4; offset; offset >>= 1)
      sum += __shfl_down_sync(~0u, sum, offset);
    if (threadIdx.x == 0)
      atomicAdd(out, rsqrtf(sum + 1));
  }
}

/// Loops and switches that part a warp, and a ballot in which it must be whole again.
extern "C" __global__ void diverge(int *out) {
  int t = threadIdx.x, value = 0;
  for (int i = 0; i < t % 7; ++i) {
    if ((i ^ t) & 1)
      value += i * t;
    else
      value -= i;
    if (value > 100)
      break;
  }
  unsigned odd = __ballot_sync(~0u, value & 1);
  switch (t % 5) {
  case 0:
    value ^= 3;
    break;
  case 1:
    value += odd;
    break;
  case 2:
    value = __popc(odd);
    break;
  default:
    value -= t;
  }
  out[t] = value;
}

/// The __syncthreads() between is missing.
extern "C" __global__ void race(int *out) {
  __shared__ int values[256];
  values[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = values[255 - threadIdx.x];
}

/// Per-token-group quantization to e4m3.
extern "C" __global__ void quantize(const __nv_bfloat16 *in, __nv_fp8_e4m3 *out, float *scales) {
  __shared__ float most[4];
  float value = __bfloat162float(in[blockIdx.x * 128 + threadIdx.x]), size = fabsf(value);
  for (int offset = 16; offset; offset >>= 1)
    size = fmaxf(size, __shfl_xor_sync(~0u, size, offset));
  if (threadIdx.x % 32 == 0)
    most[threadIdx.x / 32] = size;
  __syncthreads();
  float scale = fmaxf(fmaxf(most[0], most[1]), fmaxf(most[2], most[3])) / 448;
  if (threadIdx.x == 0)
    scales[blockIdx.x] = scale;
  out[blockIdx.x * 128 + threadIdx.x] = __nv_fp8_e4m3(value / scale);
}
