//===- scales.h - are block scales numbers to scale by? ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_COMMON_SCALES_H
#define QUANT_RUNTIME_DEVICE_COMMON_SCALES_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/device/common/thread_pool.h"

#include <span>

namespace quant::runtime {

/// Reads every scale of `tensors` (F32, F16, BF16 or F8_E8M0) on all threads of `pool`. Zero is legal: a block of zeros. Error:
/// one is NaN, infinite or negative; of several, the first of the first tensor is named, with its block and value. NaN codes in
/// the weights themselves are not looked for: there are 16384 times as many, and kernels hand them on as NaN.
Result<void> checkScales(std::span<const checkpoint::Checkpoint::Tensor *const> tensors, ThreadPool &pool);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_SCALES_H
