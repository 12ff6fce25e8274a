//===- HopperAttentionOps.td - attention on tensor cores -*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Included by HopperOps.td, whose classes it uses.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_HOPPER_ATTENTION_OPS
#define QUANT_HOPPER_ATTENTION_OPS

//===----------------------------------------------------------------------===//
// Scheduler
//===----------------------------------------------------------------------===//

def Hopper_ForQueriesOp : Hopper_Op<"for_queries", [
    SingleBlock, DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "the persistent scheduler of attention: this block's share of the queries";
  let description = [{
    Queries are the rows of a matrix [tokens * heads, columns], token by token. A tile is up to 64 neighbouring rows whose tokens
    are of one sequence, so that they read the same keys: a part of a token's heads where there are more than 64, otherwise all
    heads of one token, or of as many as fit (64 / heads, from a multiple of that on). Token t is of sequence `sequences[t]` and
    attends to the keys 0 .. `positions[t]`; -1: to none.

    Each tile comes `parts` times, once for each part of its keys; block b of the grid takes numbers b, b + gridDim.x, ... The body gets
    the tile's first row, the row behind its last, the sequence, how many keys the one of its tokens has that has most, and the
    part; then what is carried from tile to tile. Every thread reads the two lists by itself, behind `wait_prerequisites`.

    ```mlir
    func.func @walk(%positions: !hopper.global<i32>, %sequences: !hopper.global<i32>, %tokens: i32) {
      %first = hopper.first_slot
      %end = hopper.for_queries %positions, %sequences of %tokens heads 16 carry(%first : !hopper.slot) -> !hopper.slot
        : !hopper.global<i32>, !hopper.global<i32> {
      ^bb0(%row: i32, %until: i32, %sequence: i32, %keys: i32, %part: i32, %slot: !hopper.slot):
        hopper.yield %slot : !hopper.slot
      }
      return
    }
    ```
  }];
  let arguments = (ins Hopper_GlobalType:$positions, Hopper_GlobalType:$sequences, I32:$tokens,
                       ConfinedAttr<I64Attr, [IntPositive]>:$heads,
                       DefaultValuedAttr<ConfinedAttr<I64Attr, [IntPositive]>, "1">:$parts, Variadic<AnyType>:$init);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $positions `,` $sequences `of` $tokens `heads` $heads (`parts` $parts^)? (`carry` `(` $init^ `:` type($init) `)` `->` type($results))?
    attr-dict `:` type($positions) `,` type($sequences) $body
  }];
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// Arguments of the body before what is carried.
    static constexpr size_t kTileArguments = 5;
    /// Tiles of a token, and tokens of a tile; one of them is 1.
    int64_t getTilesOfToken() { return (static_cast<int64_t>(getHeads()) + kSm90a.wgmmaRows - 1) / kSm90a.wgmmaRows; }
    int64_t getTokensOfTile() { return std::max<int64_t>(1, kSm90a.wgmmaRows / static_cast<int64_t>(getHeads())); }
  }];
}

def Hopper_LoadRowKeysOp : Hopper_Op<"load_row_keys"> {
  let summary = "how many keys each row of a tile of queries attends to";
  let description = [{
    `positions[(row + i) / heads] + 1` for row i of the fragment, 0 from row `until` on.

    ```mlir
    func.func @keys(%positions: !hopper.global<i32>, %row: i32, %until: i32) {
      %keys = hopper.load_row_keys %positions row %row until %until heads 16 : !hopper.global<i32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_GlobalType:$positions, I32:$row, I32:$until, ConfinedAttr<I64Attr, [IntPositive]>:$heads);
  let results = (outs Hopper_RowKeysType:$result);
  let assemblyFormat = "$positions `row` $row `until` $until `heads` $heads attr-dict `:` type($positions)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Softmax
//===----------------------------------------------------------------------===//

def Hopper_SplatRowsOp : Hopper_Op<"splat_rows", [Pure]> {
  let summary = "the same f32 for each row";
  let description = [{
    ```mlir
    func.func @start(%x: f32) {
      %rows = hopper.splat_rows %x
      return
    }
    ```
  }];
  let arguments = (ins F32:$value);
  let results = (outs Hopper_RowScalesType:$result);
  let assemblyFormat = "$value attr-dict";
}

def Hopper_SoftmaxOp : Hopper_Op<"softmax", [
    Pure, AllTypesMatch<["scores", "weights"]>, AllTypesMatch<["max", "sum", "new_max", "new_sum", "factor"]>]> {
  let summary = "a block of keys' weights, with a running maximum and sum";
  let description = [{
    Of row i, which attends to `keys[i]` keys, and column j, key `first + j`, with x = scores * scale:

        new_max[i]    = max(max[i], max_j x[i, j])                  over the keys that the row attends to
        weights[i, j] = 2^(x[i, j] - new_max[i])                    0 for the others, whatever their score is
        factor[i]     = 2^(max[i] - new_max[i])                     what is there already must be multiplied by it
        new_sum[i]    = sum[i] * factor[i] + sum_j weights[i, j]

    (M. Milakov, N. Gimelshein, arXiv:1805.02867, to base 2: `scale` holds log2 e.) `max` begins at a large negative number, not
    at minus infinity. A lane keeps the sum of its own columns; `softmax_end` adds the four that share a row.

    ```mlir
    func.func @step(%scores: !hopper.fragment<64, 64>, %max: !hopper.row_scales, %sum: !hopper.row_scales, %keys: !hopper.row_keys,
                    %first: i32) {
      %weights, %m, %l, %factor = hopper.softmax %scores max %max sum %sum keys %keys first %first scale 0.1
        : !hopper.fragment<64, 64>, !hopper.row_scales
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$scores, Hopper_RowScalesType:$max, Hopper_RowScalesType:$sum, Hopper_RowKeysType:$keys,
                       I32:$first, F64Attr:$scale);
  let results = (outs Hopper_FloatFragmentType:$weights, Hopper_RowScalesType:$new_max, Hopper_RowScalesType:$new_sum,
                      Hopper_RowScalesType:$factor);
  let assemblyFormat = [{
    $scores `max` $max `sum` $sum `keys` $keys `first` $first `scale` $scale attr-dict `:` type($scores) `,` type($max)
  }];
}

def Hopper_SoftmaxEndOp : Hopper_Op<"softmax_end", [Pure, AllTypesMatch<["max", "sum", "inverse", "lse"]>]> {
  let summary = "what a row's results are multiplied by at the end, and the logarithm of its sum of exponentials";
  let description = [{
    With L the sum over the lanes that share a row: `inverse = 1 / L`, `lse = ln 2 * (max + log2 L)`. Of a row without keys 0 and minus
    infinity.

    ```mlir
    func.func @end(%max: !hopper.row_scales, %sum: !hopper.row_scales) {
      %inverse, %lse = hopper.softmax_end max %max sum %sum : !hopper.row_scales
      return
    }
    ```
  }];
  let arguments = (ins Hopper_RowScalesType:$max, Hopper_RowScalesType:$sum);
  let results = (outs Hopper_RowScalesType:$inverse, Hopper_RowScalesType:$lse);
  let assemblyFormat = "`max` $max `sum` $sum attr-dict `:` type($max)";
}

def Hopper_ScaleRowsOp : Hopper_Op<"scale_rows", [Pure, AllTypesMatch<["values", "result"]>]> {
  let summary = "each row of a fragment times its own f32";
  let description = [{
    ```mlir
    func.func @rescale(%o: !hopper.fragment<64, 256>, %factor: !hopper.row_scales) {
      %scaled = hopper.scale_rows %o by %factor : !hopper.fragment<64, 256>, !hopper.row_scales
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$values, Hopper_RowScalesType:$rows);
  let results = (outs Hopper_FloatFragmentType:$result);
  let assemblyFormat = "$values `by` $rows attr-dict `:` type($values) `,` type($rows)";
}

def Hopper_StoreRowsOp : Hopper_Op<"store_rows"> {
  let summary = "stores a fragment's rows as f32 into a matrix, from a row and column on";
  let description = [{
    Row `row + i` goes to row `index + i` of a matrix with so many columns, where `row + i` lies before `until`. Straight from registers: four lanes write 32
    bytes side by side.

    ```mlir
    func.func @partial(%o: !hopper.fragment<64, 256>, %to: !hopper.global<f32>, %index: i32, %column: i32, %row: i32, %until: i32) {
      hopper.store_rows %o to %to[%index, %column] of 512 row %row until %until : !hopper.fragment<64, 256>, !hopper.global<f32>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$values, Hopper_GlobalType:$pointer, I32:$index, I32:$column,
                       ConfinedAttr<I64Attr, [IntPositive]>:$columns, I32:$row, I32:$until);
  let assemblyFormat = [{
    $values `to` $pointer `[` $index `,` $column `]` `of` $columns `row` $row `until` $until attr-dict `:` type($values) `,` type($pointer)
  }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Operands of the second product
//===----------------------------------------------------------------------===//

def Hopper_OperandOfOp : Hopper_Op<"operand_of", [Pure]> {
  let summary = "a fragment rounded to bf16, as the A of a wgmma: lanes keep their elements";
  let description = [{
    ```mlir
    func.func @weights(%p: !hopper.fragment<64, 64>) {
      %a = hopper.operand_of %p : !hopper.fragment<64, 64> -> !hopper.operand<64, 64>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_FloatFragmentType:$fragment);
  let results = (outs Hopper_OperandType:$result);
  let assemblyFormat = "$fragment attr-dict `:` type($fragment) `->` type($result)";
  let hasVerifier = 1;
}

def Hopper_ClearRowsOp : Hopper_Op<"clear_rows"> {
  let summary = "writes zeros to a tile's rows from one on";
  let description = [{
    What TMA brings of a page's rows that hold no token yet may be anything, and 0 * NaN is NaN. The warpgroup's threads share the
    work; each orders its writes before what the tensor core reads later. Other warpgroups that read the tile are told by a
    barrier.

    ```mlir
    func.func @clear(%values: !hopper.tile<64x256xbf16, swizzle = 128>, %from: i32) {
      hopper.clear_rows %values from %from : !hopper.tile<64x256xbf16, swizzle = 128>
      return
    }
    ```
  }];
  let arguments = (ins Hopper_TileType:$tile, I32:$from);
  let assemblyFormat = "$tile `from` $from attr-dict `:` type($tile)";
  let hasVerifier = 1;
}

#endif // QUANT_HOPPER_ATTENTION_OPS
