//===- block_scale.h - scales in the files of checkpoints -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_BLOCK_SCALE_H
#define QUANT_RUNTIME_SUPPORT_BLOCK_SCALE_H

#include "runtime/support/dtype.h"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace quant {

/// What scales must be, for the end of a message. -0 is not negative.
inline constexpr std::string_view kScaleRule = "scales are finite and not negative; is the file damaged?";

/// Whether block scales can be stored in that type: F32, F16, BF16, F8_E8M0, and F8_E4M3 where a global scale divides them.
bool holdsScales(DType dtype, bool hasGlobalScale = false);

/// The value of an element, at any alignment. @pre holdsScales(dtype, true)
float scaleAt(DType dtype, std::span<const std::byte> data, size_t index);

/// The first element that breaks the rule, at memory speed. @pre holdsScales(dtype, true)
std::optional<size_t> firstBrokenScale(DType dtype, std::span<const std::byte> data);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_BLOCK_SCALE_H
