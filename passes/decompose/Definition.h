//===- Definition.h - writing an op's formula as IR ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Tensors are given element by element (tensor.generate), sums and maxima are loops (scf.for). Numbers are f32 unless said
// otherwise. Nothing here is meant to be fast: it is meant to be compared with the formula in the op's description.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_PASSES_DECOMPOSE_DEFINITION_H
#define QUANT_PASSES_DECOMPOSE_DEFINITION_H

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/rows/KernelBuilder.h"

#include "mlir/IR/PatternMatch.h"

namespace quant {

/// Emits at the rewriter's place; sizes are of type index.
class Definition : public rows::KernelBuilder {
public:
  Definition(mlir::Operation *op, mlir::PatternRewriter &rewriter) : KernelBuilder(op->getLoc(), rewriter) {}

  Type sizeType() override { return getIndexType(); }

  //===--- Tensors ---===//
  Value dim(Value tensor, int64_t dimension);
  /// An element as f32, of a floating-point tensor or memref.
  Value at(Value tensor, ValueRange indices);
  /// An element of i32 as an index.
  Value indexAt(Value tensor, ValueRange indices);
  using Element = llvm::function_ref<Value(ValueRange indices)>;
  /// The tensor whose elements `element` gives; `dynamicSizes` are its sizes that are no constants.
  Value generate(mlir::Type type, ValueRange dynamicSizes, Element element);
  /// An f32 tensor; sizes may be kDynamic.
  Value generate(llvm::ArrayRef<int64_t> shape, ValueRange dynamicSizes, Element element);

  //===--- Reductions over i = 0 .. n - 1 ---===//
  using Term = llvm::function_ref<Value(Value i)>;
  Value sum(Value n, Term term);
  Value max(Value n, Term term);
  /// Of indices, 0 if there is none.
  Value maxIndex(Value n, Term term);

private:
  Value fold(Value n, Value init, llvm::function_ref<Value(Value i, Value acc)> step);
};

/// An op that is replaced by its definition. `define` gives a value for each result.
template <typename Op>
struct DefinePattern : mlir::OpRewritePattern<Op> {
  using Define = llvm::SmallVector<mlir::Value> (*)(Definition &, Op);

  DefinePattern(mlir::MLIRContext *context, Define define) : mlir::OpRewritePattern<Op>(context), define(define) {}

  mlir::LogicalResult matchAndRewrite(Op op, mlir::PatternRewriter &rewriter) const override {
    Definition definition(op, rewriter);
    rewriter.replaceOp(op, define(definition, op));
    return mlir::success();
  }

private:
  Define define;
};

/// The numbers of a latent cache of bytes, f32 [rows, latent + rope] in memory of their own: RowMapping.cpp.
mlir::Value unpackCache(Definition &d, mlir::Value cache, deepseek::CacheFormat format, int64_t latent, int64_t rope,
                        mlir::Value rows);

/// Row ops, by their row programs: RowMapping.cpp.
void addRowDefinitions(mlir::RewritePatternSet &patterns);
/// Latent attention: AttentionOps.cpp.
void addAttentionDefinitions(mlir::RewritePatternSet &patterns);

} // namespace quant

#endif // QUANT_PASSES_DECOMPOSE_DEFINITION_H
