//===- E4M3.h - quantizing values that lie in registers ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_E4M3_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_E4M3_H

#include "lowering/target/sm90/simt/SimtBuilder.h"

namespace quant::nvvm {

/// Columns of a per-token group.
inline constexpr int64_t kGroupColumns = 128;

/// The scale of a group, and what values are multiplied with to divide by it.
struct GroupScale {
  mlir::Value scale, inverse;
};

/// The largest magnitude of `values`, and of `least`; NaN does not count.
mlir::Value largestMagnitude(SimtBuilder &b, mlir::ArrayRef<mlir::Value> values, double least);

/// amax / 448, rounded up to a power of two if asked.
GroupScale groupScale(SimtBuilder &b, mlir::Value amax, bool powerOfTwo);

/// value / scale, correctly rounded, without a division: a product and one step of Newton's method (P. Markstein, IBM J. Res.
/// Dev. 34, 1990).
mlir::Value divideByScale(SimtBuilder &b, mlir::Value value, const GroupScale &scale);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_E4M3_H
