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

mlir::DictionaryAttr getGemmParameters(mlir::Builder &builder, const machine::GemmConfig &config);

/// `base`, which says what is computed (n, k, types), with the parameters of a schedule. Errors: a parameter that there is not or
/// of another type; a configuration that checkGemm refuses.
Result<machine::GemmConfig> readGemmParameters(machine::GemmConfig base, mlir::DictionaryAttr parameters);

} // namespace quant::hopper

#endif // QUANT_DIALECTS_HOPPER_GEMMSCHEDULE_H
