//===- Tiles.h - the tiles of a kernel's body ----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The stage `tiled` cuts a matmul by slices of its operands inside an scf.forall. Here a block of the grid finds its tile: the
// loop's indices follow from the block's number, and the offsets and sizes of slices are computed as the IR says.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_COMMON_TILES_H
#define QUANT_LOWERING_COMMON_TILES_H

#include "lowering/common/KernelOperands.h"
#include "lowering/common/PointerBuilder.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

namespace quant {

/// A rectangle of an operand: what it is cut from, and in sizes of the kernel where. A dimension that is not cut has offset 0.
struct Tile {
  mlir::Value source;
  llvm::SmallVector<mlir::Value> offsets, sizes;
  /// Of each dimension the size where that is a constant, else kDynamic.
  llvm::SmallVector<int64_t> staticSizes;
};

class Tiles {
public:
  using Value = mlir::Value;

  /// For the op `tiled` in the kernel's body, computed by block number `block` of the grid. The first dimension of the
  /// surrounding scf.forall counts fastest.
  Tiles(PointerBuilder &b, const KernelOperands &operands, mlir::Operation *tiled, Value block);

  /// Errors: an operand or a size that is computed in a way that kernels do not know.
  Result<Tile> of(Value operand);

private:
  PointerBuilder &b;
  const KernelOperands &operands;
  llvm::DenseMap<Value, Value> known;

  Result<Value> size(mlir::OpFoldResult value);
  Result<Value> size(Value value);
  Result<Value> sizeOf(mlir::Operation *op);
  Result<Value> apply(mlir::AffineExpr expr, mlir::ValueRange operands, unsigned dims);
  Result<Value> rowsOf(Value tensor, int64_t dim);
  Result<Tile> cut(Value source, mlir::ArrayRef<mlir::OpFoldResult> offsets, mlir::ArrayRef<mlir::OpFoldResult> sizes);
};

/// What a block of a tiled matmul multiplies: `w` has no dimension of groups here, whatever the op has.
struct MatmulTiles {
  Tile x, w, out;
  /// Of a grouped matmul the group; else null.
  mlir::Value group;
  /// Where x is gathered, the address of a list of i32: row m of the tile is x's row list[m] / topK. Else null.
  mlir::Value gather;
  int64_t topK = 1;
  /// Whether the sums begin at zero.
  bool beginsAtZero = false;
};

/// The tiles of block number `block` of a `qblock.matmul_acc` or `qblock.grouped_matmul_acc`. Errors: as Tiles::of; a tile that
/// is cut along K, or that is of several groups.
Result<MatmulTiles> findTiles(PointerBuilder &b, const KernelOperands &operands, mlir::DestinationStyleOpInterface op,
                              mlir::Value block);

} // namespace quant

#endif // QUANT_LOWERING_COMMON_TILES_H
