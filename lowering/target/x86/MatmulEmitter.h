//===- MatmulEmitter.h - x times W transposed, for a range of rows -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_MATMULEMITTER_H
#define QUANT_LOWERING_TARGET_X86_MATMULEMITTER_H

#include "lowering/target/x86/Kernels.h"

namespace quant::host {

/// The rows [begin, end) of one weight tensor, KernelContext::tileRows() at most, against all rows of x.
struct RowRange {
  Value data, scale, zero; // addresses of the tensor's first row
  Value begin, end;
  Value tokens;                                       // rows of x
  llvm::function_ref<Value(Value)> xAddress;          // f32 row m of x
  llvm::function_ref<Value(Value, Value)> outAddress; // f32 result (m, weight row); rows are neighbours
  bool oneScaleRow = false;                           // no block of scales ends inside the range
};

/// Emits the product in one of three forms, by the number of tokens:
/// - one: weight rows are decoded in registers and the limit is memory bandwidth;
/// - a few: the same with several results for each weight row;
/// - more: weights are decoded once to a transposed f32 panel in the second-level cache, a chunk of K at a time, and multiplied
///   with tiles of x in the first.
class MatmulEmitter {
public:
  MatmulEmitter(KernelContext &context, const Weight &weight);

  void emit(const RowRange &range);

  /// Decodes all columns of `row`, scaled, as f32 to `target`, with zeros up to a multiple of 16.
  void decodeRow(const RowRange &range, Value row, Value target);

private:
  KernelContext &context;
  HostBuilder &b;
  const Weight &weight;
  /// Columns that share a scale and are handled as one straight piece of code.
  int64_t span;

  //===--- One weight row (MatmulEmitter.cpp) ---===//
  Value storageOffset(Value elements);
  Value rowData(const RowRange &range, Value row);
  /// The index of the row's first scale and zero point.
  Value rowScale(Value row);
  /// A block's scale and zero point as f32, or none.
  Value loadScale(const RowRange &range, Value rowScale, Value column);
  Value loadZero(const RowRange &range, Value rowScale, Value column);
  using Piece = llvm::function_ref<void(int64_t offset, int64_t lanes, Value value)>;
  /// Decodes `columns` codes at `source` in pieces of 16 lanes at most, less `zero` and times `scale` where there are such.
  /// `shuffled`: each 64 whole columns in the order of decode64Shuffled().
  void forPieces(Value source, int64_t columns, Value scale, Value zero, Piece body, bool shuffled = false);
  Value widen(Value vector);

  //===--- Few tokens (MatmulEmitter.cpp) ---===//
  struct DotRows;
  void dots(const RowRange &range, int64_t rows, int64_t tokens);
  void shuffleInputs(llvm::MutableArrayRef<Value> inputs);
  llvm::SmallVector<Value> dotSpan(const RowRange &range, const DotRows &group, Value column, int64_t columns,
                                   mlir::ValueRange acc);
  llvm::SmallVector<Value> spanProducts(Value source, int64_t columns, Value scale, Value zero, llvm::ArrayRef<Value> inputs,
                                        llvm::SmallVector<Value> acc);

  //===--- Many tokens (PanelMatmul.cpp) ---===//
  struct Panel;
  void multiplyByPanel(const RowRange &range);
  void decodePanel(const RowRange &range, const Panel &panel, Value firstColumn, Value columns);
  void decodeTile(const RowRange &range, const Panel &panel, Value tile, Value firstColumn, Value column, int64_t columns);
  void transpose(Value source, int64_t stride, Value target, int64_t targetStride, int64_t rows);
  void multiplyTile(const RowRange &range, const Panel &panel, Value firstToken, int64_t tokens, Value firstColumn,
                    Value columns);
  void microKernel(const Panel &panel, int64_t tokens, Value weights, Value firstColumn, Value endColumn);
  void addToResults(const RowRange &range, const Panel &panel, llvm::ArrayRef<Value> tokens, Value row, Value isFirst);
};

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_MATMULEMITTER_H
