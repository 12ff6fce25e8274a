//===- RegisterTile.h - small products whose sums stay in registers -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_REGISTERTILE_H
#define QUANT_LOWERING_TARGET_X86_REGISTERTILE_H

#include "lowering/target/x86/HostBuilder.h"

namespace quant::host {

/// Rows and vectors of 16 columns whose sums a unit's registers hold beside their operands.
struct TileShape {
  int64_t rows, vectors;
};
inline TileShape tileShape(const machine::X86Unit &unit) { return unit.registerBits == 512 ? TileShape{4, 4} : TileShape{2, 2}; }

/// sums[row][vector] += over k in [0, count): factors(row, k) (f32) * vectors(k, vector) (16 f32).
struct OuterProduct {
  TileShape shape;
  llvm::function_ref<Value(int64_t row, Value k)> factor;
  llvm::function_ref<Value(Value k, int64_t vector)> vector;

  llvm::SmallVector<Value> sum(HostBuilder &b, Value count, llvm::ArrayRef<Value> sums) const {
    return b.loop(b.size(0), count, 1, sums, [&](Value k, mlir::ValueRange carried) {
      llvm::SmallVector<Value> columns, result;
      for (int64_t v = 0; v < shape.vectors; ++v)
        columns.push_back(vector(k, v));
      for (int64_t row = 0; row < shape.rows; ++row) {
        Value each = b.splat(factor(row, k), kLanes);
        for (int64_t v = 0; v < shape.vectors; ++v)
          result.push_back(b.fma(each, columns[v], carried[row * shape.vectors + v]));
      }
      return result;
    });
  }
};

/// Goes over `columns` in steps of shape.vectors vectors, then over what is left, in whole vectors.
inline void forVectorTiles(HostBuilder &b, TileShape shape, int64_t columns,
                           llvm::function_ref<void(Value column, TileShape shape)> body) {
  int64_t vectors = (columns + kLanes - 1) / kLanes, full = vectors / shape.vectors * shape.vectors;
  b.loop(b.size(0), b.size(full * kLanes), shape.vectors * kLanes, [&](Value column) { body(column, shape); });
  if (full < vectors)
    body(b.size(full * kLanes), {shape.rows, vectors - full});
}

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_REGISTERTILE_H
