//===- NarrowFloats.h - narrow floats in arithmetic ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For targets without such instructions. All take scalars and vectors; codes are i8 where nothing else is said.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_ROWS_NARROWFLOATS_H
#define QUANT_DIALECTS_ROWS_NARROWFLOATS_H

#include "dialects/rows/KernelBuilder.h"

namespace quant::rows {

/// f32 to E4M3 codes: to nearest, ties to even, saturating at 448; NaN stays NaN.
mlir::Value encodeE4M3(KernelBuilder &b, mlir::Value value);
/// E4M3 codes as f32, exactly: subnormals keep their value, 0x7F and 0xFF are NaN.
mlir::Value decodeE4M3(KernelBuilder &b, mlir::Value codes);
/// f32 to the bits of a bf16 (i16): to nearest, ties to even; NaN stays NaN.
mlir::Value encodeBF16(KernelBuilder &b, mlir::Value value);
/// E2M1 codes, in the lower four bits of bytes, as f32, exactly: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
mlir::Value decodeE2M1(KernelBuilder &b, mlir::Value codes);
/// A positive f32 rounded up to a power of two.
mlir::Value roundUpToPowerOfTwo(KernelBuilder &b, mlir::Value value);
/// A power of two to its E8M0 code, and back: 0 is 2^-127, 255 is NaN.
mlir::Value encodeE8M0(KernelBuilder &b, mlir::Value value);
mlir::Value decodeE8M0(KernelBuilder &b, mlir::Value codes);

} // namespace quant::rows

#endif // QUANT_DIALECTS_ROWS_NARROWFLOATS_H
