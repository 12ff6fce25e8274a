//===- recode.h - from one scheme to another without loss -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An E2M1 is an E4M3 up to a power of two, so that MXFP4 is FP8 in blocks wherever the scales of a block are not too far apart:
// 448 / 2^-9 hold 6 * 2^14 and 2^-1. The way back is there for what came from it. A value that would change is an error that
// names it.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_RECODE_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_RECODE_H

#include "tools/quant-convert/schemes/jobs.h"

namespace quant::convert {

/// To "X.weight" F8_E4M3 and "X.weight_scale_inv" F32, powers of two for blocks of 128x128. Refers to the weight, as does the
/// next.
Job recodeFp8Job(const LinearWeight &weight, const std::string &name);

/// To compressed-tensors' "X.weight_packed" U8 [rows, columns / 2] and "X.weight_scale" U8 [rows, ceil(columns / 32)]: the
/// smallest power of two by which a group's largest value is at most 6. @pre columns are even
Job recodeMxfp4Job(const LinearWeight &weight, const std::string &name);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_RECODE_H
