//===- finite.cpp - NaN and infinity in vectors of a checkpoint -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/finite.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/block_scale.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <cmath>

namespace quant::checkpoint {

bool isVector(const TensorInfo &tensor) {
  return tensor.shape.size() == 1 && (tensor.dtype == DType::F32 || tensor.dtype == DType::F16 || tensor.dtype == DType::BF16);
}

Result<void> checkFinite(const Checkpoint::Tensor &tensor) {
  if (!isVector(*tensor.info) || tensor.data.empty())
    return {};
  willRead(tensor.data);
  for (size_t i = 0; i < static_cast<size_t>(tensor.info->shape[0]); ++i)
    if (float value = scaleAt(tensor.info->dtype, tensor.data, i); !std::isfinite(value))
      return fail(fmt::format("tensor {} in {}: element {} is {}; norms and gate biases are finite: is the file damaged?",
                              quote(tensor.info->name), printable(tensor.file->path().native()), i,
                              std::isnan(value) ? "NaN" : fmt::format("{}", value)));
  return {};
}

} // namespace quant::checkpoint
