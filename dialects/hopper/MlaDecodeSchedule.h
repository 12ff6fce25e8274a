//===- MlaDecodeSchedule.h - attention that tensor cores compute ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_HOPPER_MLADECODESCHEDULE_H
#define QUANT_DIALECTS_HOPPER_MLADECODESCHEDULE_H

#include "dialects/machine/MlaDecodePlan.h"

#include "mlir/IR/BuiltinTypes.h"

namespace quant::hopper {

/// What attention of so many heads over a cache (rows of latents and `rope` numbers) asks of the kernel. Errors: why the tensor
/// cores' kernel does not compute it.
Result<machine::MlaDecodeConfig> getMlaDecodeConfig(int64_t heads, int64_t rope, mlir::MemRefType cache, mlir::ShapedType pages,
                                                    double softmaxScale);

/// The same of `deepseek.mla_decode`, or of `mla_attention` and `mla_core`, which could be one.
template <typename Op>
Result<machine::MlaDecodeConfig> getMlaDecodeConfig(Op op) {
  if constexpr (requires { op.getFirstPosition(); })
    if (int64_t first = op.getFirstPosition())
      return fail("an MTP layer's keys begin at position " + std::to_string(first) + ", the kernel's at 0");
  return getMlaDecodeConfig(op.getHeads(), op.getRopeDim(), op.getCache().getType(), op.getPages().getType(),
                            op.getSoftmaxScale().convertToDouble());
}

} // namespace quant::hopper

#endif // QUANT_DIALECTS_HOPPER_MLADECODESCHEDULE_H
