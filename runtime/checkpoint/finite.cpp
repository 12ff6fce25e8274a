//===- finite.cpp - NaN and infinity in vectors of a checkpoint -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/finite.h"

#include "runtime/support/block_scale.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <cmath>
#include <sys/mman.h>
#include <unistd.h>

namespace quant::checkpoint {

bool isVector(const TensorInfo &tensor) {
  return tensor.shape.size() == 1 && (tensor.dtype == DType::F32 || tensor.dtype == DType::F16 || tensor.dtype == DType::BF16);
}

/// Has the system read the tensor's pages without those around them.
static void adviseNoReadAround(std::span<const std::byte> data) {
  static const auto pageBytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<uintptr_t>(data.data()) / pageBytes * pageBytes;
  auto end = reinterpret_cast<uintptr_t>(data.data() + data.size());
  ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_WILLNEED); // advice only: errors do not matter
}

Result<void> checkFinite(const Checkpoint::Tensor &tensor) {
  if (!isVector(*tensor.info) || tensor.data.empty())
    return {};
  adviseNoReadAround(tensor.data);
  for (size_t i = 0; i < static_cast<size_t>(tensor.info->shape[0]); ++i)
    if (float value = scaleAt(tensor.info->dtype, tensor.data, i); !std::isfinite(value))
      return fail(fmt::format("tensor {} in {}: element {} is {}; norms and gate biases are finite: is the file damaged?",
                              quote(tensor.info->name), printable(tensor.file->path().native()), i,
                              std::isnan(value) ? "NaN" : fmt::format("{}", value)));
  return {};
}

} // namespace quant::checkpoint
