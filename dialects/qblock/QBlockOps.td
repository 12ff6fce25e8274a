//===- QBlockOps.td - block-scaled tensors ----------------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_QBLOCK_OPS
#define QUANT_QBLOCK_OPS

include "dialects/kernel/KernelInterfaces.td"
include "dialects/qblock/QBlockTypes.td"
include "dialects/rows/RowOps.td"
include "mlir/IR/EnumAttr.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/TilingInterface.td"

//===----------------------------------------------------------------------===//
// Layout of scales
//===----------------------------------------------------------------------===//

def QBlock_ScaleLayout : I32EnumAttr<"ScaleLayout", "how the scales of per-token groups lie in memory", [
    I32EnumAttrCase<"RowMajor", 0, "row_major">, I32EnumAttrCase<"KMajor", 1, "k_major">]> {
  let cppNamespace = "::quant::qblock";
  let genSpecializedAttr = 0;
}

/// The encoding of a tensor of scales that is not row_major: `tensor<?x56xf32, #qblock.layout<k_major>>`.
def QBlock_LayoutAttr : EnumAttr<QBlock_Dialect, QBlock_ScaleLayout, "layout"> {
  let assemblyFormat = "`<` $value `>`";
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

class QBlock_Op<string mnemonic, list<Trait> traits = []> : Op<QBlock_Dialect, mnemonic, traits>;

def QBlock_AssembleOp : QBlock_Op<"assemble", [Pure, ViewOpInterface]> {
  let summary = "makes a block-scaled tensor of its codes, scales, zero points and global scale";
  let description = [{
    The way in from a checkpoint: `weight` and `weight_scale_inv` become one value. Behind codes and scales stand zero points and
    the global scale, where the type has them.

    ```mlir
    %w = qblock.assemble %data, %scale : (tensor<576x7168xf8E4M3FN>, tensor<5x56xf32>)
      -> !qblock.tensor<576x7168xf8E4M3FN, block<128x128>, f32>
    %v = qblock.assemble %codes, %scales, %global : (tensor<576x7168xf4E2M1FN>, tensor<576x448xf8E4M3FN>, tensor<1x1xf32>)
      -> !qblock.tensor<576x7168xf4E2M1FN, block<1x16>, f8E4M3FN, global f32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$data, AnyRankedTensor:$scale, Variadic<AnyRankedTensor>:$more);
  let results = (outs QBlock_TensorType:$result);
  let assemblyFormat = "$data `,` $scale (`,` $more^)? attr-dict `:` functional-type(operands, results)";
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$data, "::mlir::Value":$scale,
                                 CArg<"::mlir::Value", "{}">:$zero, CArg<"::mlir::Value", "{}">:$global), [{
    $_state.addOperands({data, scale});
    for (::mlir::Value part : {zero, global})
      if (part)
        $_state.addOperands(part);
    $_state.addTypes(result);
  }]>];
  let hasVerifier = 1;
  let hasFolder = 1;
  let extraClassDeclaration = [{
    /// Null where there are none.
    ::mlir::Value getZero() { return getType().hasZeroPoint() ? getMore().front() : ::mlir::Value(); }
    ::mlir::Value getGlobal() { return getType().hasGlobalScale() ? getMore().back() : ::mlir::Value(); }
  }];
}

def QBlock_StorageOp : QBlock_Op<"storage", [Pure, ViewOpInterface]> {
  let summary = "the codes, scales, zero points and global scale of a block-scaled tensor";
  let description = [{
    The inverse of `qblock.assemble`.

    ```mlir
    %data, %scale = qblock.storage %w : !qblock.tensor<576x7168xf8E4M3FN, block<128x128>, f32>
      -> (tensor<576x7168xf8E4M3FN>, tensor<5x56xf32>)
    ```
  }];
  let arguments = (ins QBlock_TensorType:$source);
  let results = (outs AnyRankedTensor:$data, AnyRankedTensor:$scale, Variadic<AnyRankedTensor>:$more);
  let assemblyFormat = "$source attr-dict `:` qualified(type($source)) `->` `(` type(results) `)`";
  let builders = [OpBuilder<(ins "::mlir::Value":$source), [{
    auto type = ::llvm::cast<BlockTensorType>(source.getType());
    $_state.addOperands(source);
    $_state.addTypes({type.getDataTensorType(), type.getScaleTensorType()});
    for (::mlir::RankedTensorType part : {type.getZeroTensorType(), type.getGlobalTensorType()})
      if (part)
        $_state.addTypes(part);
  }]>];
  let hasVerifier = 1;
  let hasFolder = 1;
  let extraClassDeclaration = [{
    /// Null where there are none.
    ::mlir::Value getZero() { return getSource().getType().hasZeroPoint() ? getMore().front() : ::mlir::Value(); }
    ::mlir::Value getGlobal() { return getSource().getType().hasGlobalScale() ? getMore().back() : ::mlir::Value(); }
  }];
}

def QBlock_QuantizeOp : QBlock_Op<"quantize", [
    Pure, KernelOpInterface, DeclareOpInterfaceMethods<Rows_RowOpInterface, ["getIndependentColumns"]>]> {
  let summary = "quantizes a floating-point tensor, one scale for each block";
  let description = [{
    For each block: `amax = max(|x|, amax_floor)`, `scale = amax / largest code` (448 for E4M3), `code = round(x / scale)`,
    ties to even, saturating. With `power_of_two` ("ue8m0"), and always with `f8E8M0FNU` scales, the scale is first rounded up
    to `2^ceil(log2 scale)`. (DeepSeek's act_quant; the floor of 1e-4 is theirs too.)

    ```mlir
    %q = qblock.quantize %x : tensor<?x7168xf32> -> !qblock.tensor<?x7168xf8E4M3FN, block<1x128>, f32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$source, DefaultValuedAttr<F64Attr, "1.0e-4">:$amax_floor,
                       UnitAttr:$power_of_two);
  let results = (outs QBlock_TensorType:$result);
  let assemblyFormat = "$source attr-dict `:` type($source) `->` qualified(type($result))";
  let hasVerifier = 1;
}

def QBlock_DequantizeOp : QBlock_Op<"dequantize", [
    Pure, DeclareOpInterfaceMethods<KernelOpInterface, ["getNamedType"]>,
    DeclareOpInterfaceMethods<Rows_RowOpInterface, ["getIndependentColumns"]>]> {
  let summary = "the floating-point values of a block-scaled tensor";
  let description = [{
    `value = scale * (code - zero)` in f32, or `(scale / global) * code`, then rounded to the result's element type. E4M3's NaN codes (0x7F, 0xFF) give NaN.

    ```mlir
    %f = qblock.dequantize %w : !qblock.tensor<576x7168xf8E4M3FN, block<128x128>, f32> -> tensor<576x7168xf32>
    ```
  }];
  let arguments = (ins QBlock_TensorType:$source);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$source attr-dict `:` qualified(type($source)) `->` type($result)";
  let hasVerifier = 1;
}

def QBlock_GatherRowsOp : QBlock_Op<"gather_rows", [
    Pure, KernelOpInterface, DeclareOpInterfaceMethods<Rows_RowOpInterface, ["getRowSource", "getRowShape"]>]> {
  let summary = "copies quantized rows in the order of a list";
  let description = [{
    Row `r` of the result (of its flattened view) is row `rows[r] / top_k` of the source, codes and scales: the tokens of the
    dispatched slots, see `deepseek.moe_dispatch`. For grouped matmuls that read rows where they lie (`qblock-gather-rows`).

    ```mlir
    %y = qblock.gather_rows %x by %rows : (!qblock.tensor<?x7168xf8E4M3FN, block<1x128>, f32, k_major>, tensor<?x8xi32>)
      -> !qblock.tensor<?x8x7168xf8E4M3FN, block<1x1x128>, f32, k_major>
    ```
  }];
  let arguments = (ins QBlock_TensorType:$source, AnyRankedTensor:$rows);
  let results = (outs QBlock_TensorType:$result);
  let assemblyFormat = "$source `by` $rows attr-dict `:` functional-type(operands, results)";
  let builders = [OpBuilder<(ins "::mlir::Value":$source, "::mlir::Value":$rows), [{
    $_state.addOperands({source, rows});
    $_state.addTypes(getGatheredType(::llvm::cast<BlockTensorType>(source.getType()), rows.getType()));
  }]>];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The result's type: rows of the source in the shape of the list.
    static BlockTensorType getGatheredType(BlockTensorType source, ::mlir::Type rows);
  }];
}

def QBlock_GatherColumnsOp : QBlock_Op<"gather_columns", [
    Pure, KernelOpInterface, DeclareOpInterfaceMethods<Rows_RowOpInterface>]> {
  let summary = "rows with their columns in the order of a list";
  let description = [{
    `y[t, c] = x[t, order[c]]`; columns beyond the list stay where they are. What a matmul reads whose weight was quantized in
    another order of its columns, and is stored here by groups (`program.weight` with an `order`).

    With `of`, for grouped matmuls: row `r` belongs to expert `e = ids[rows[r]]` (both flattened), the dispatched slots of
    `deepseek.moe_dispatch`, and

        y[r, c] = x[row(r), order[e, c]]

    with `row(r) = r`, or `row(r) = rows[r] / top_k` where `x` has a row for each token.

    ```mlir
    %y = qblock.gather_columns %x by %order : (tensor<?x7168xf32>, tensor<1x7168xi32>) -> tensor<?x7168xf32>
    %z = qblock.gather_columns %x by %orders of(%ids, %rows) : (tensor<?x7168xf32>, tensor<256x1x7168xi32>, tensor<?x8xi32>,
      tensor<?x8xi32>) -> tensor<?x8x7168xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$order, Variadic<AnyRankedTensor>:$slots);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `by` $order (`of` `(` $slots^ `)`)? attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QBlock_ConcatOp : QBlock_Op<"concat", [Pure, ViewOpInterface]> {
  let summary = "joins weights along their rows without moving a byte";
  let description = [{
    The rows (second to last dimension) of the operands one after another; what `merge-projections` makes of gate|up and
    q_a|kv_a. Every operand but the last must end on a block's edge, so that blocks stay whole.

    ```mlir
    %w = qblock.concat %q_a, %kv_a : (!qblock.tensor<1536x7168xf8E4M3FN, block<128x128>, f32>,
                                      !qblock.tensor<576x7168xf8E4M3FN, block<128x128>, f32>)
      -> !qblock.tensor<2112x7168xf8E4M3FN, block<128x128>, f32>
    ```
  }];
  let arguments = (ins Variadic<QBlock_AnyMatrix>:$sources);
  let results = (outs QBlock_AnyMatrix:$result);
  let assemblyFormat = "$sources attr-dict `:` functional-type($sources, $result)";
  let hasVerifier = 1;
}

def QBlock_ExtractSliceOp : QBlock_Op<"extract_slice", [Pure, AttrSizedOperandSegments]> {
  let summary = "a rectangle of a block-scaled tensor";
  let description = [{
    Each block of the slice lies in one block of the source: the slice starts on a block's edge, or ends before the next one
    (checked where offset and size are constants).

    ```mlir
    %t = qblock.extract_slice %w[%n, %k] [128, 128] : !qblock.tensor<7168x2048xf8E4M3FN, block<128x128>, f32>
      to !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32>
    ```
  }];
  let arguments = (ins QBlock_TensorType:$source, Variadic<Index>:$offsets, Variadic<Index>:$sizes,
                       DenseI64ArrayAttr:$static_offsets, DenseI64ArrayAttr:$static_sizes);
  let results = (outs QBlock_TensorType:$result);
  let assemblyFormat = [{
    $source `` custom<DynamicIndexList>($offsets, $static_offsets) custom<DynamicIndexList>($sizes, $static_sizes)
    attr-dict `:` qualified(type($source)) `to` qualified(type($result))
  }];
  let hasFolder = 1;
  let builders = [OpBuilder<(ins "::mlir::Value":$source, "::llvm::ArrayRef<::mlir::OpFoldResult>":$offsets,
                                 "::llvm::ArrayRef<::mlir::OpFoldResult>":$sizes)>];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedOffsets();
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedSizes();
  }];
}

/// A matmul: its weight is its second operand, its kernel has a block for each tile of weight rows.
def QBlock_MatmulKernel : TraitList<[
    DeclareOpInterfaceMethods<KernelOpInterface, ["getGrid", "getNamedType"]>, DeclareOpInterfaceMethods<WeightsOpInterface>]>;

def QBlock_MatmulOp : QBlock_Op<"matmul", [Pure, QBlock_MatmulKernel]> {
  let summary = "x times W transposed, accumulated in f32 for every block of K";
  let description = [{
    `y[m, n] = sum_k x[m, k] * w[n, k]` with `x` MxK, `w` NxK (as checkpoints store `out x in`), `y` MxN. Either operand may be
    block-scaled; then each block's products are summed in f32 and multiplied by the block's scales ("promotion", every 128
    of K).

    | x | w | y |
    |---|---|---|
    | f32, bf16 | f32, bf16, block-scaled | f32 |
    | block-scaled (1x128) | block-scaled (128x128) | f32, bf16 |

    ```mlir
    %y = qblock.matmul %x, %w : (tensor<?x7168xf32>, !qblock.tensor<576x7168xf8E4M3FN, block<128x128>, f32>)
      -> tensor<?x576xf32>
    ```
  }];
  let arguments = (ins QBlock_AnyMatrix:$x, QBlock_AnyMatrix:$w);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $w attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QBlock_MatmulAccOp : QBlock_Op<"matmul_acc", [
    Pure, DestinationStyleOpInterface, QBlock_MatmulKernel,
    DeclareOpInterfaceMethods<TilingInterface, ["getLoopIteratorTypes", "getIterationDomain", "getTiledImplementation",
                                                "getResultTilePosition"]>]> {
  let summary = "acc + x times W transposed: a matmul that can be cut along K";
  let description = [{
    What `qblock-tile-matmuls` makes of `qblock.matmul`; its iteration space is (M, N, K).

    ```mlir
    %y = qblock.matmul_acc %x, %w into %acc : (tensor<?x128xf32>, !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32>,
      tensor<?x128xf32>) -> tensor<?x128xf32>
    ```
  }];
  let arguments = (ins QBlock_AnyMatrix:$x, QBlock_AnyMatrix:$w, AnyRankedTensor:$acc);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $w `into` $acc attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getAccMutable(); }
  }];
}

def QBlock_GroupedMatmulOp : QBlock_Op<"grouped_matmul", [Pure, QBlock_MatmulKernel]> {
  let summary = "one matmul for each group of rows, each with its own weight";
  let description = [{
    Rows are sorted by group: group `g` owns rows `offsets[g] .. offsets[g + 1] - 1`, `offsets[0]` is 0, and

        y[r, n] = sum_k x[row(r), k] * w[g, n, k]

    with `row(r) = r`, or `row(r) = rows[r] / top_k` when `rows` is given (the tokens of the dispatched slots, see
    `deepseek.moe_dispatch`). Row `r` of a `?x8xN` result is its row in the flattened `(?*8)xN` view.

    ```mlir
    %y = qblock.grouped_matmul %x, %w, %offsets gather(%rows)
      : (tensor<?x7168xf32>, !qblock.tensor<256x2048x7168xf8E4M3FN, block<1x128x128>, f32>, tensor<257xi32>, tensor<?x8xi32>)
      -> tensor<?x8x2048xf32>
    ```
  }];
  let arguments = (ins QBlock_AnyMatrix:$x, QBlock_AnyMatrix:$w, AnyRankedTensor:$offsets, Optional<AnyRankedTensor>:$rows);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $w `,` $offsets (`gather` `(` $rows^ `)`)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def QBlock_GroupedSwigluOp : QBlock_Op<"grouped_swiglu", [Pure, QBlock_MatmulKernel]> {
  let summary = "gate and up of each group's rows, silu(gate) * up, quantized";
  let description = [{
    Of each group the weight is N rows of a gate and, behind them, N of up, and

        quantize(silu(bf16(x[r] gate[g]^T)) * bf16(x[r] up[g]^T))

    with a scale for each 128 columns, rounded up to a power of two with `power_of_two`: `qblock.grouped_matmul` with bf16 results,
    `deepseek.swiglu` and `qblock.quantize` in one kernel, to the bit (`qblock-fuse-swiglu`). Rows belong to groups as there.

    ```mlir
    %h = qblock.grouped_swiglu %x, %w, %offsets : (!qblock.tensor<?x8x7168xf8E4M3FN, block<1x1x128>, f32, k_major>,
      !qblock.tensor<256x4096x7168xf8E4M3FN, block<1x128x128>, f32>, tensor<257xi32>)
      -> !qblock.tensor<?x8x2048xf8E4M3FN, block<1x1x128>, f32, k_major>
    ```
  }];
  let arguments = (ins QBlock_TensorType:$x, QBlock_TensorType:$w, AnyRankedTensor:$offsets, UnitAttr:$power_of_two);
  let results = (outs QBlock_TensorType:$result);
  let assemblyFormat = "$x `,` $w `,` $offsets attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def QBlock_GroupedMatmulAccOp : QBlock_Op<"grouped_matmul_acc", [
    Pure, DestinationStyleOpInterface, QBlock_MatmulKernel,
    DeclareOpInterfaceMethods<TilingInterface, ["getLoopIteratorTypes", "getIterationDomain", "getTiledImplementation",
                                                "getResultTilePosition"]>]> {
  let summary = "acc + a grouped matmul: one that can be cut by group, along N and along K";
  let description = [{
    What `qblock-tile-matmuls` makes of `qblock.grouped_matmul`; its iteration space is (groups, N, K). All rows stand in one
    dimension: `acc` and `y` are rows x N, `rows` a list, and `x` has a row for each of `acc`'s (tokens, when `rows` is given).
    Of a tile, `offsets` are those of the whole: group `g` owns rows `offsets[g] - offsets[0] .. offsets[g + 1] - offsets[0] - 1`.

    ```mlir
    %y = qblock.grouped_matmul_acc %x, %w, %offsets gather(%rows) into %acc {top_k = 8 : i64}
      : (tensor<?x128xf32>, !qblock.tensor<1x128x128xf8E4M3FN, block<1x128x128>, f32>, tensor<2xi32>, tensor<?xi32>,
         tensor<?x128xf32>) -> tensor<?x128xf32>
    ```
  }];
  let arguments = (ins QBlock_AnyMatrix:$x, QBlock_AnyMatrix:$w, AnyRankedTensor:$offsets, Optional<AnyRankedTensor>:$rows,
                       AnyRankedTensor:$acc, ConfinedAttr<I64Attr, [IntPositive]>:$top_k);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $w `,` $offsets (`gather` `(` $rows^ `)`)? `into` $acc attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getAccMutable(); }
  }];
}

#endif // QUANT_QBLOCK_OPS
