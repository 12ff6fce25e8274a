//===- GemmSchedule.h - the matmul's schedule -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The parameters of `#program.schedule<tensor, {...}>` on a matmul: those of machine::GemmConfig that are a choice, each left
// out where it has its default.
//
//   block_m, block_n : i64   the tile: tokens, rows of the weight
//   stages : i64             K blocks in flight; left out: as many as shared memory holds
//   swap_ab                  the weight on wgmma's M
//   multicast = "a" | "b"    the operand that clusters of two blocks share
//   split_k : i64            parts of K
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_HOPPER_GEMMSCHEDULE_H
#define QUANT_DIALECTS_HOPPER_GEMMSCHEDULE_H

#include "dialects/machine/GemmPlan.h"

#include "mlir/IR/Builders.h"

namespace quant::hopper {

/// What a `qblock.matmul`, `grouped_matmul` or `grouped_swiglu` computes, with the default tile.
machine::GemmConfig getGemmConfig(mlir::Operation *matmul);

/// The same of a product for each head by `kvB`, whose result is bf16 or f32.
machine::GemmConfig getProjectionConfig(const machine::MlaProjection &mla, mlir::Type kvB, mlir::Type result);

/// The same of a matmul, or of `deepseek.mla_absorb` or `mla_expand`, which this dialect knows as `Absorb` and `Expand`.
template <typename Absorb, typename Expand>
machine::GemmConfig getGemmConfig(mlir::Operation *op) {
  using Kind = machine::MlaProjection::Kind;
  auto sizesOf = [](auto op, Kind kind) {
    return machine::MlaProjection{.kind = kind,
                                  .heads = static_cast<int64_t>(op.getHeads()),
                                  .nopeDim = static_cast<int64_t>(op.getNopeDim()),
                                  .ropeDim = static_cast<int64_t>(op.getRopeDim()),
                                  .vDim = static_cast<int64_t>(op.getVDim())};
  };
  if (auto absorb = mlir::dyn_cast<Absorb>(op)) {
    machine::MlaProjection mla = sizesOf(absorb, Kind::absorb);
    mla.completes = static_cast<bool>(absorb.getRope());
    mla.interleaved = mla.completes && absorb.getInterleaved();
    return getProjectionConfig(mla, absorb.getKvB().getType(), absorb.getType());
  }
  if (auto expand = mlir::dyn_cast<Expand>(op))
    return getProjectionConfig(sizesOf(expand, Kind::expand), expand.getKvB().getType(), expand.getType());
  return getGemmConfig(op);
}

mlir::DictionaryAttr getGemmParameters(mlir::Builder &builder, const machine::GemmConfig &config);

/// `base`, which says what is computed (n, k, types), with the parameters of a schedule. Errors: a parameter that there is not or
/// of another type; a configuration that checkGemm refuses.
Result<machine::GemmConfig> readGemmParameters(machine::GemmConfig base, mlir::DictionaryAttr parameters);

} // namespace quant::hopper

#endif // QUANT_DIALECTS_HOPPER_GEMMSCHEDULE_H
