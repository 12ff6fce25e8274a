//===- PackedMatmul.h - many rows of x by dot products of dwords -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A dword holds two bf16 or four int8, and an instruction sums the products of those of two dwords.
//
// bf16: codes of 8 bits and less, and bf16, are exact in bf16. Their scales are applied to the codes where they are powers of
// two, otherwise in f32 to the sums of each block. An f32 of x is the sum of `input_parts` bf16 numbers, each multiplied on its
// own: of three exactly, of one it is rounded. (Infinite x gives NaN.)
//
// int8, where x is quantized and a weight row has one scale: sums are integers. AMX multiplies signed numbers; vpdpbusd one that
// is unsigned, x + 128, for which 128 times the sum of the weight's codes is taken off.
//
// Columns go in steps of 16 dwords. In memory:
//
//   weight panel   [16-row group][step][dword][16 rows], decoded once for all rows of x
//   inputs         [part][row of x][step][dword], of the columns that are summed at a time
//
// A group's step is a tile of B of AMX and 16 operands of a dot product; 16 rows of x are a tile of A, or broadcast dword by
// dword.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_PACKEDMATMUL_H
#define QUANT_LOWERING_TARGET_X86_PACKEDMATMUL_H

#include "lowering/target/x86/RangeMatmul.h"

namespace quant::host {

/// The panel product on units that multiply bf16 or int8 in dwords.
class PackedMatmul : public RangeMatmul {
public:
  PackedMatmul(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range);

  /// All results of the range, whatever the number of rows of x.
  void emit();

  /// Whether the unit and the schedule have such products for a weight of this form; otherwise PanelMatmul computes in f32.
  static bool takes(const MatmulSchedule &sizes, const WeightForm &form, bool hasInt8Inputs, const machine::X86Unit &unit);
  /// Bytes of scratch that emit() needs, whatever x is; 0 where it is not emitted.
  static int64_t scratchBytes(const MatmulSchedule &sizes, const WeightForm &form, const machine::X86Unit &unit);

private:
  /// Sizes of the panel and of its parts in scratch.
  struct Panel : ScratchLayout {
    Panel(const MatmulSchedule &sizes, const WeightForm &form, const machine::X86Unit &unit, bool hasInt8Inputs);

    int64_t bytes;         ///< of an element: 2 or 1
    int64_t step;          ///< columns of 16 dwords
    int64_t rows;          ///< of the weight
    int64_t chunk;         ///< columns; a multiple of whole steps
    int64_t sumColumns;    ///< of a chunk that are split and summed at a time
    int64_t tokens;        ///< rows of x in a register tile
    int64_t vectors;       ///< of 16 weight rows, in a register tile
    int64_t parts;         ///< of x
    int64_t inputStride;   ///< bytes from row to row of x; off the powers of two, which would share cache sets
    int64_t decodedStride; ///< the same for one span of 16 decoded rows
    /// Where the parts begin: panel; scales of its blocks, or sums of its codes; rows of x; 16 decoded rows; the sums of rows of
    /// x; the products of a register tile; AMX's configuration.
    int64_t weights, scales, codeSums, inputs, decoded, sums, products, tileConfig;

    int64_t tileRows() const { return vectors * kLanes; }
    /// Bytes of the panel for 16 weight rows.
    int64_t groupBytes() const { return chunk * kLanes * bytes; }
    int64_t stepsOf(int64_t columns) const { return (columns + step - 1) / step; }
  };

  /// Where scales are applied.
  enum class Scaling { None, Weights, Sums, Results };
  Scaling chooseScaling() const;

  //===--- Weights ---===//
  void decodeGroup(Value row, Value firstColumn, Value column, int64_t columns);
  bool transposesCodes(int64_t columns) const;
  void transposeCodes(llvm::ArrayRef<Value> sources, int64_t columns, Value target);
  llvm::SmallVector<Value> decodePairs(Value source, int64_t columns, Value scale, Value zero);
  llvm::SmallVector<Value> decodeBytes(Value source, int64_t columns);
  void sumCodes(Value target, Value panel, int64_t steps);

  //===--- Rows of x ---===//
  void splitInputs(Value firstToken, int64_t tokens, Value firstColumn, Value columns);
  void splitStep(Value low, Value high, Value target, int64_t tokens);
  void copyCodes(Value source, Value target, Value columns);
  Value takePart(Value &low, Value &high, bool rounds);

  //===--- Products ---===//
  void multiplyTokens(Value firstToken, int64_t tokens, Value firstColumn, Value columns);
  /// Products that registers hold at a time: rows of x; the first weight row, counted in the range; columns of the chunk.
  struct RegisterTile {
    int64_t tokens;
    Value row, column, steps;
  };
  Value weightsOf(const RegisterTile &tile);
  /// Each to scratch.
  void multiplyTiles(const RegisterTile &tile);
  void multiplyVectors(const RegisterTile &tile);
  void addProducts(const RegisterTile &tile);
  void addToResults(Value firstToken, int64_t tokens, const Chunk &chunk);

  /// Of products, and of the sums that they are added to: f32 where products are scaled before.
  Type productType() { return b.vec(kLanes, isInt8 ? b.i32() : b.f32()); }
  Type sumType() { return scaling == Scaling::Sums ? b.vecF32() : productType(); }
  bool usesTiles() const { return b.target.hasTiles; }
  bool isInt8;
  Panel panel;
  Scaling scaling;
  Value weightPanel, panelScales, panelCodeSums, inputTile, decodedRows, tokenSums, tileProducts;
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_PACKEDMATMUL_H
