//===- PanelMatmul.h - many rows of x against decoded panels -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_PANELMATMUL_H
#define QUANT_LOWERING_TARGET_X86_PANELMATMUL_H

#include "lowering/target/x86/RangeMatmul.h"

namespace quant::host {

/// Weights are decoded once to a transposed f32 panel in the second-level cache, a chunk of K at a time, and multiplied with
/// tiles of x in the first.
class PanelMatmul : public RangeMatmul {
public:
  PanelMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range);

  /// All results of the range, whatever the number of rows of x.
  void emit();

  /// Bytes of scratch that emit() needs.
  static int64_t scratchBytes(const MatmulSchedule &sizes, const WeightForm &form);

private:
  /// Sizes of the panel and of its parts in scratch.
  struct Panel : ScratchLayout {
    Panel(const MatmulSchedule &sizes, const WeightForm &form);

    int64_t chunk;         ///< columns
    int64_t vectors;       ///< of 16 weight rows, in a tile of results
    int64_t tokens;        ///< in a tile of results
    int64_t inputStride;   ///< bytes from token to token of a tile of x; off the powers of two, which would share cache sets
    int64_t decodedStride; ///< the same for one span of 16 decoded rows
    /// Where the parts begin: the panel, a tile of x, 16 decoded rows, a tile's sums, scales of weight rows.
    int64_t weights, inputs, decoded, sums, scales;

    int64_t tileRows() const { return vectors * kLanes; }
    /// Bytes of the panel's part for one tile of rows.
    int64_t tileBytes() const { return tileRows() * chunk * 4; }
  };

  //===--- Weights ---===//
  void decodeTile(Value tile, Value firstColumn, Value column, int64_t columns);

  //===--- Products ---===//
  void multiplyTile(Value firstToken, int64_t tokens, Value firstColumn, Value columns);
  void copyInput(Value source, Value target, Value columns);
  void microKernel(int64_t tokens, Value tile, Value firstColumn, Value endColumn);
  Value asSums(Value vector);
  void addToResults(llvm::ArrayRef<Value> tokens, Value row, const Chunk &chunk);

  Panel panel;
  Value weightPanel, inputTile, decodedRows, tileSums, rowScales;
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_PANELMATMUL_H
