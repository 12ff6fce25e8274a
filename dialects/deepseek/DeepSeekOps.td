//===- DeepSeekOps.td - the ops of DeepSeek-V2/V3 ---------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DEEPSEEK_OPS
#define QUANT_DEEPSEEK_OPS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "dialects/kernel/KernelInterfaces.td"
include "dialects/qblock/QBlockTypes.td"
include "dialects/rows/RowOps.td"

//===----------------------------------------------------------------------===//
// Dialect
//===----------------------------------------------------------------------===//

def DeepSeek_Dialect : Dialect {
  let name = "deepseek";
  let cppNamespace = "::quant::deepseek";
  let summary = "What a DeepSeek-V2/V3 model does besides matmuls and additions";
  let description = [{
    Activations are `tensor<?xNxf32>`: one row a token, `?` of them in a call. `mla_attention` and `experts` are the model's
    own words; `deepseek-decompose-mla` and `deepseek-decompose-experts` rewrite them to the smaller ops that become kernels.
    What each of those computes is written out by `deepseek-decompose`, in upstream dialects.

    Sources: DeepSeek-V2 (arXiv:2405.04434), DeepSeek-V3 (arXiv:2412.19437), YaRN (arXiv:2309.00071).
  }];
  let dependentDialects = ["::quant::qblock::QBlockDialect"];
  let useDefaultAttributePrinterParser = 1;
}

class DeepSeek_Op<string mnemonic, list<Trait> traits = []> : Op<DeepSeek_Dialect, mnemonic, traits> {
  let hasVerifier = 1;
}

/// An op that becomes a kernel and has a row program: buildRow says what it computes (RowPrograms.cpp).
class DeepSeek_RowOp<string mnemonic, list<string> rowMethods = [], list<Trait> traits = [Pure, KernelOpInterface]>
    : DeepSeek_Op<mnemonic, !listconcat(traits, [DeclareOpInterfaceMethods<Rows_RowOpInterface, rowMethods>])>;

def DeepSeek_ScoreFunc : I32EnumAttr<"ScoreFunc", "how gate logits become scores", [
    I32EnumAttrCase<"Softmax", 0, "softmax">, I32EnumAttrCase<"Sigmoid", 1, "sigmoid">]> {
  let cppNamespace = "::quant::deepseek";
}

def DeepSeek_GroupScore : I32EnumAttr<"GroupScore", "how a group of experts is scored", [
    I32EnumAttrCase<"Max", 0, "max">, I32EnumAttrCase<"Top2Sum", 1, "top2_sum">]> {
  let cppNamespace = "::quant::deepseek";
}

def DeepSeek_CacheFormat : I32EnumAttr<"CacheFormat", "how a row of the latent cache is stored", [
    I32EnumAttrCase<"F32", 0, "f32">, I32EnumAttrCase<"BF16", 1, "bf16">, I32EnumAttrCase<"FP8", 2, "fp8">,
    I32EnumAttrCase<"INT8", 3, "int8">, I32EnumAttrCase<"INT4", 4, "int4">]> {
  let cppNamespace = "::quant::deepseek";
  let genSpecializedAttr = 0;
}

/// What the bytes of a cache's rows are (LatentCache.h); caches of numbers have none.
def DeepSeek_CacheFormatAttr : EnumAttr<DeepSeek_Dialect, DeepSeek_CacheFormat, "cache"> {
  let assemblyFormat = "`<` $value `>`";
}

//===----------------------------------------------------------------------===//
// Operand types
//===----------------------------------------------------------------------===//

/// No size but the first is dynamic.
def DeepSeek_StaticColumns : CPred<
    "::llvm::none_of(::llvm::cast<::mlir::ShapedType>($_self).getShape().drop_front(), ::mlir::ShapedType::isDynamic)">;

class DeepSeek_Tensor<list<Type> elements, list<int> ranks, string summary>
    : Type<And<[RankedTensorOf<elements>.predicate, HasAnyRankOfPred<ranks>, DeepSeek_StaticColumns]>, summary,
           "::mlir::RankedTensorType">;

def DeepSeek_Rows : DeepSeek_Tensor<[AnyFloat], [2], "a floating-point tensor of rows x columns, columns static">;
def DeepSeek_Slots : DeepSeek_Tensor<[AnyFloat], [3], "a floating-point tensor of tokens x top_k x columns">;
def DeepSeek_RowsOrSlots : DeepSeek_Tensor<[AnyFloat], [2, 3], "a floating-point tensor of rows (x top_k) x columns">;
def DeepSeek_List : DeepSeek_Tensor<[AnyFloat], [1], "a floating-point list">;
def DeepSeek_Ids : DeepSeek_Tensor<[I32], [1], "a list of i32">;
def DeepSeek_Pairs : DeepSeek_Tensor<[I32], [2], "an i32 tensor of tokens x top_k">;
def DeepSeek_Cache : ConfinedType<MemRefRankOf<[AnyFloat, I8], [2]>, [DeepSeek_StaticColumns],
                                  "a memref of rows x columns, floating-point or of bytes", "::mlir::MemRefType">;

/// A number for each token.
def DeepSeek_PerToken
    : Type<CPred<"$_self == ::mlir::RankedTensorType::get({::mlir::ShapedType::kDynamic}, ::mlir::IntegerType::get($_self.getContext(), 32))">,
           "a tensor<?xi32>", "::mlir::RankedTensorType">,
      BuildableType<"::mlir::RankedTensorType::get({::mlir::ShapedType::kDynamic}, $_builder.getI32Type())">;
def DeepSeek_Pages : DeepSeek_Tensor<[I32], [2], "an i32 tensor of sequences x pages, pages static">;

/// A size that products of three cannot overflow.
def DeepSeek_Size : ConfinedAttr<I64Attr, [IntPositive, IntMaxValue<1048576>]>;

//===----------------------------------------------------------------------===//
// Embedding, norm, rope, activation
//===----------------------------------------------------------------------===//

def DeepSeek_EmbedOp : DeepSeek_RowOp<"embed"> {
  let summary = "the embeddings of token ids";
  let description = [{
    `y[t, :] = table[ids[t], :]` in f32.

    ```mlir
    %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<129280x7168xbf16>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins DeepSeek_Ids:$ids, DeepSeek_Rows:$table);
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_RmsNormOp : DeepSeek_RowOp<"rms_norm", [], [Pure, KernelOpInterface, QuantizingOpInterface]> {
  let summary = "root-mean-square norm of each row, and its quantized form where asked";
  let description = [{
    `y[t, i] = gamma[i] * x[t, i] / sqrt(mean_i(x[t, i]^2) + eps)`. `qblock-fuse-quantize` adds the second result: y quantized
    as by `qblock.quantize` with these `amax_floor` and `power_of_two`.

    ```mlir
    %y = deepseek.rms_norm %x, %gamma {eps = 1.0e-6} : (tensor<?x7168xf32>, tensor<7168xbf16>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins DeepSeek_Rows:$x, DeepSeek_List:$gamma, F64Attr:$eps,
                       DefaultValuedAttr<F64Attr, "1.0e-4">:$amax_floor, UnitAttr:$power_of_two);
  let builders = [OpBuilder<(ins "::mlir::Value":$x, "::mlir::Value":$gamma, "double":$eps), [{
    $_state.addOperands({x, gamma});
    $_state.addTypes(x.getType());
    $_state.getOrAddProperties<Properties>().eps = $_builder.getF64FloatAttr(eps);
  }]>];
  let results = (outs DeepSeek_Rows:$result, Optional<QBlock_TensorType>:$quantized);
  let assemblyFormat = "$x `,` $gamma attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_RopeTableOp : DeepSeek_RowOp<"rope_table"> {
  let summary = "cosines and sines of the tokens' positions";
  let description = [{
    Row t holds `factor * cos(p * f[i])` for the R/2 inverse frequencies, then `factor * sin(p * f[i])`, with
    `p = positions[t]`. The frequencies are plain RoPE's or YaRN's; models/config computes them.

    ```mlir
    %r = deepseek.rope_table %positions {inv_freq = array<f64: 1.0, 0.1>, factor = 1.0} : tensor<?x4xf32>
    ```
  }];
  let arguments = (ins DeepSeek_PerToken:$positions, DenseF64ArrayAttr:$inv_freq, F64Attr:$factor);
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = "$positions attr-dict `:` type($result)";
}

def DeepSeek_SwigluOp : DeepSeek_RowOp<"swiglu", ["getIndependentColumns"], [Pure, KernelOpInterface, QuantizingOpInterface]> {
  let summary = "silu(gate) * up, and its quantized form where asked";
  let description = [{
    `y = gate / (1 + exp(-gate)) * up`, element by element. The second result is y quantized, as for `deepseek.rms_norm`.

    ```mlir
    %h = deepseek.swiglu %g, %u : (tensor<?x2048xf32>, tensor<?x2048xf32>) -> tensor<?x2048xf32>
    ```
  }];
  let arguments = (ins DeepSeek_RowsOrSlots:$gate, DeepSeek_RowsOrSlots:$up, DefaultValuedAttr<F64Attr, "1.0e-4">:$amax_floor,
                       UnitAttr:$power_of_two);
  let builders = [OpBuilder<(ins "::mlir::Value":$gate, "::mlir::Value":$up), [{
    $_state.addOperands({gate, up});
    $_state.addTypes(gate.getType());
  }]>];
  let results = (outs DeepSeek_RowsOrSlots:$result, Optional<QBlock_TensorType>:$quantized);
  let assemblyFormat = "$gate `,` $up attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_ConcatOp : DeepSeek_RowOp<"concat"> {
  let summary = "rows side by side";
  let description = [{
    `y[t, :] = [a[t, :] | b[t, :]]`: what an MTP layer's `eh_proj` reads.

    ```mlir
    %y = deepseek.concat %a, %b : (tensor<?x7168xf32>, tensor<?x7168xf32>) -> tensor<?x14336xf32>
    ```
  }];
  let arguments = (ins DeepSeek_Rows:$a, DeepSeek_Rows:$b);
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = "$a `,` $b attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_SelectTokensOp : DeepSeek_RowOp<"select_tokens", ["getRowSource"], [
    Pure, DeclareOpInterfaceMethods<KernelOpInterface, ["getResultDim"]>]> {
  let summary = "the rows of the tokens that get logits";
  let description = [{
    `y[i, :] = x[selected[i], :]`.

    ```mlir
    %l = deepseek.select_tokens %x, %selected : (tensor<?x7168xf32>, tensor<?xi32>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins DeepSeek_Rows:$x, DeepSeek_Ids:$selected);
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = "$x `,` $selected attr-dict `:` functional-type(operands, results)";
}

//===----------------------------------------------------------------------===//
// Multi-head latent attention
//===----------------------------------------------------------------------===//

/// Where a token's keys lie. The row of the cache that holds position s of token t's sequence is
/// `pages[sequences[t], s / 64] * 64 + s % 64`; the token itself is at `positions[t]`.
def DeepSeek_CacheOperands {
  dag arguments = (ins DeepSeek_Cache:$cache, DeepSeek_PerToken:$positions, DeepSeek_PerToken:$sequences, DeepSeek_Pages:$pages);
}

/// What the attention ops share: heads, and how a head's query divides into a part without and one with rope.
class DeepSeek_MlaOp<string mnemonic, list<Trait> traits = []> : DeepSeek_Op<mnemonic, traits> {
  dag headArguments = (ins DeepSeek_Size:$heads, DeepSeek_Size:$nope_dim,
                           DeepSeek_Size:$rope_dim, DeepSeek_Size:$v_dim);
}

/// The first position that is attended to. An MTP layer's keys begin at 1: its input at position s is the main model's state of
/// position s - 1 with the token of s.
def DeepSeek_FirstPosition : DefaultValuedAttr<ConfinedAttr<I64Attr, [IntNonNegative, IntMaxValue<15>]>, "0">;

/// A block for each head, which reads that head's rows of the weight kv_b.
def DeepSeek_PerHeadKernel : TraitList<[
    DeclareOpInterfaceMethods<KernelOpInterface, ["getGrid"]>, DeclareOpInterfaceMethods<WeightsOpInterface>]>;

def DeepSeek_MlaAttentionOp : DeepSeek_MlaOp<"mla_attention", [
    MemoryEffects<[MemRead, MemWrite]>, DeclareOpInterfaceMethods<WeightsOpInterface>]> {
  let summary = "multi-head latent attention with its latent KV cache";
  let description = [{
    With heads h, `q[t, h] = [q_nope | q_pe]`, `kv_a[t] = [c' | k_pe']`, and `kv_b` rows of a head `[W_K | W_V]`:

        c[t]     = rms_norm(c'[t], gamma, eps)            k_pe[t] = rope(k_pe'[t])
        score[s] = (q_nope . W_K c[s] + rope(q_pe) . k_pe[s]) * softmax_scale      for first_position <= s <= positions[t]
        o[t, h]  = W_V (sum_s softmax(score)[s] c[s])

    where s counts the positions of the token's sequence. A call may hold tokens of several sequences: token t is of sequence
    `sequences[t]`, row i of `pages` lists the pages of sequence i. The cache is made of pages of 64 rows (abi::kPageRows); position s
    of sequence i has row `pages[i, s / 64] * 64 + s % 64`. A row holds `[c | k_pe]`, as numbers or, where there is a `cache_format`,
    as the bytes that LatentCache.h describes. `interleaved` says that rope pairs neighbours (2i, 2i + 1) as the
    checkpoints do; otherwise (i, i + R/2). `deepseek-decompose-mla` rewrites it to the absorbed form.

    ```mlir
    %o = deepseek.mla_attention %q, %kv_a, %gamma, %kv_b, %rope, %cache[%positions, %sequences, %pages]
      {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128, eps = 1.0e-6, softmax_scale = 0.1352, interleaved = true}
      : (tensor<?x24576xf32>, tensor<?x576xf32>, tensor<512xbf16>, tensor<32768x512xf32>, tensor<?x64xf32>, memref<?x576xf32>,
         tensor<?x2560xi32>) -> tensor<?x16384xf32>
    ```
  }];
  let arguments = !con((ins DeepSeek_Rows:$q, DeepSeek_Rows:$kv_a, DeepSeek_List:$gamma, QBlock_AnyMatrix:$kv_b,
                            DeepSeek_Rows:$rope),
                       DeepSeek_CacheOperands.arguments, headArguments, (ins F64Attr:$eps, F64Attr:$softmax_scale, BoolAttr:$interleaved,
                                           OptionalAttr<DeepSeek_CacheFormatAttr>:$cache_format,
                                           DeepSeek_FirstPosition:$first_position));
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = [{
    $q `,` $kv_a `,` $gamma `,` $kv_b `,` $rope `,` $cache `[` $positions `,` $sequences `,` $pages `]` attr-dict `:`
    `(` type($q) `,` type($kv_a) `,` type($gamma) `,` type($kv_b) `,` type($rope) `,` type($cache) `,` type($pages) `)` `->` type($result)
  }];
}

def DeepSeek_LatentAppendOp : DeepSeek_RowOp<"latent_append", [], [
    MemoryEffects<[MemWrite]>, DeclareOpInterfaceMethods<KernelOpInterface, ["writesTo"]>]> {
  let summary = "writes this call's latents and rope keys into the cache";
  let description = [{
    `cache[row of positions[t]] = [rms_norm(kv_a[t, :C], gamma, eps) | rope(kv_a[t, C:])]`, rounded to the cache's type or
    quantized to its `cache_format`. Which row that is: see `mla_attention`.

    ```mlir
    deepseek.latent_append %kv_a, %gamma, %rope, %cache[%positions, %sequences, %pages]
      {eps = 1.0e-6, interleaved = true, cache_format = #deepseek.cache<fp8>}
      : tensor<?x576xf32>, tensor<512xbf16>, tensor<?x64xf32>, memref<?x656xi8>, tensor<?x2560xi32>
    ```
  }];
  let arguments = !con((ins DeepSeek_Rows:$kv_a, DeepSeek_List:$gamma, DeepSeek_Rows:$rope), DeepSeek_CacheOperands.arguments,
                       (ins F64Attr:$eps, BoolAttr:$interleaved, OptionalAttr<DeepSeek_CacheFormatAttr>:$cache_format));
  let assemblyFormat = [{
    $kv_a `,` $gamma `,` $rope `,` $cache `[` $positions `,` $sequences `,` $pages `]` attr-dict `:`
    type($kv_a) `,` type($gamma) `,` type($rope) `,` type($cache) `,` type($pages)
  }];
}

def DeepSeek_MlaAbsorbOp : DeepSeek_MlaOp<"mla_absorb", [Pure, DeepSeek_PerHeadKernel]> {
  let summary = "takes the queries into the latent space";
  let description = [{
    `y[t, h, c] = sum_d q[t, h, d] * kv_b[h, d, c]` over the nope part of q and the key rows of kv_b. With the table of `rope` a head's
    query is complete, as `mla_decode` reads it: y[t, h, :], then `rope(q_pe[t, h])`; pairs are neighbours where `interleaved`.

    ```mlir
    %y = deepseek.mla_absorb %q, %kv_b {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128}
      : (tensor<?x24576xf32>, !qblock.tensor<32768x512xf8E4M3FN, block<128x128>, f32>) -> tensor<?x65536xf32>
    %queries = deepseek.mla_absorb %q, %kv_b rope %rope {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128, interleaved}
      : (tensor<?x24576xf32>, !qblock.tensor<32768x512xf8E4M3FN, block<128x128>, f32>, tensor<?x64xf32>) -> tensor<?x73728xbf16>
    ```
  }];
  let arguments = !con((ins DeepSeek_Rows:$q, QBlock_AnyMatrix:$kv_b, Optional<DeepSeek_Rows>:$rope), headArguments,
                       (ins UnitAttr:$interleaved));
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = "$q `,` $kv_b (`rope` $rope^)? attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_MlaCoreOp : DeepSeek_MlaOp<"mla_core", [MemoryEffects<[MemRead]>, DeclareOpInterfaceMethods<KernelOpInterface, ["getGrid"]>]> {
  let summary = "attention over the latent cache";
  let description = [{
    `score[s] = (q_lat[t, h] . cache[s, :C] + rope(q_pe[t, h]) . cache[s, C:]) * softmax_scale` for
    `first_position <= s <= positions[t]`;
    `y[t, h] = sum_s softmax(score)[s] * cache[s, :C]`, where `cache[s, :]` is the row of position s of the token's sequence: see
    `mla_attention`. One pass with a running maximum.

    ```mlir
    %y = deepseek.mla_core %q_lat, %q, %rope, %cache[%positions, %sequences, %pages]
      {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128, softmax_scale = 0.1352, interleaved = true}
      : (tensor<?x65536xf32>, tensor<?x24576xf32>, tensor<?x64xf32>, memref<?x576xf32>, tensor<?x2560xi32>) -> tensor<?x65536xf32>
    ```
  }];
  let arguments = !con((ins DeepSeek_Rows:$q_latent, DeepSeek_Rows:$q, DeepSeek_Rows:$rope), DeepSeek_CacheOperands.arguments,
                       headArguments, (ins F64Attr:$softmax_scale, BoolAttr:$interleaved,
                                           OptionalAttr<DeepSeek_CacheFormatAttr>:$cache_format,
                                           DeepSeek_FirstPosition:$first_position));
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = [{
    $q_latent `,` $q `,` $rope `,` $cache `[` $positions `,` $sequences `,` $pages `]` attr-dict `:`
    `(` type($q_latent) `,` type($q) `,` type($rope) `,` type($cache) `,` type($pages) `)` `->` type($result)
  }];
}

def DeepSeek_MlaDecodeOp : DeepSeek_Op<"mla_decode", [MemoryEffects<[MemRead]>, DeclareOpInterfaceMethods<KernelOpInterface, ["getGrid"]>]> {
  let summary = "attention of complete queries over a latent cache of numbers, for tensor cores";
  let description = [{
    `score[s] = (queries[t, h] . cache[s, :]) * softmax_scale` for `s <= positions[t]`;
    `y[t, h] = sum_s softmax(score)[s] * cache[s, :C]`: `mla_core` on what `mla_absorb` gives with `rope`. Rows of the cache are of C
    latents and `rope_dim` numbers.

    ```mlir
    %y = deepseek.mla_decode %queries, %cache[%positions, %sequences, %pages] {heads = 128, rope_dim = 64, softmax_scale = 0.1352}
      : (tensor<?x73728xbf16>, memref<?x576xbf16>, tensor<?x2560xi32>) -> tensor<?x65536xbf16>
    ```
  }];
  let arguments = !con((ins DeepSeek_Rows:$queries), DeepSeek_CacheOperands.arguments,
                       (ins DeepSeek_Size:$heads, DeepSeek_Size:$rope_dim, F64Attr:$softmax_scale));
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = [{
    $queries `,` $cache `[` $positions `,` $sequences `,` $pages `]` attr-dict `:`
    `(` type($queries) `,` type($cache) `,` type($pages) `)` `->` type($result)
  }];
}

def DeepSeek_MlaExpandOp : DeepSeek_MlaOp<"mla_expand", [Pure, DeepSeek_PerHeadKernel]> {
  let summary = "takes the attended latents back to the heads' values";
  let description = [{
    `o[t, h, v] = sum_c y[t, h, c] * kv_b[h, nope_dim + v, c]`: the value rows of kv_b.

    ```mlir
    %o = deepseek.mla_expand %y, %kv_b {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128}
      : (tensor<?x65536xf32>, !qblock.tensor<32768x512xf8E4M3FN, block<128x128>, f32>) -> tensor<?x16384xf32>
    ```
  }];
  let arguments = !con((ins DeepSeek_Rows:$x, QBlock_AnyMatrix:$kv_b), headArguments);
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = "$x `,` $kv_b attr-dict `:` functional-type(operands, results)";
}

//===----------------------------------------------------------------------===//
// Mixture of experts
//===----------------------------------------------------------------------===//

def DeepSeek_MoeGateOp : DeepSeek_RowOp<"moe_gate"> {
  let summary = "picks the experts of each token";
  let description = [{
    With E experts in G groups of which L are taken, and `s = score_func(logits)`, `b = s + bias` (for the selection only):

    1. a group's score is the largest b in it (`max`) or the sum of its two largest (`top2_sum`);
    2. the experts of all but the L best groups are out (masked with -inf);
    3. the `top_k` experts of largest b are taken, the lower index where equal;
    4. their weights are s, divided by their sum if `normalize`, times `route_scale`.

    ```mlir
    %ids, %weights = deepseek.moe_gate %logits, %bias {top_k = 8, groups = 8, limited_groups = 4, score_func = 1 : i32,
      group_score = 1 : i32, normalize = true, route_scale = 2.5} : (tensor<?x256xf32>, tensor<256xf32>)
      -> (tensor<?x8xi32>, tensor<?x8xf32>)
    ```
  }];
  let arguments = (ins DeepSeek_Rows:$logits, Optional<DeepSeek_List>:$bias, DeepSeek_Size:$top_k,
                       DeepSeek_Size:$groups, DeepSeek_Size:$limited_groups,
                       DeepSeek_ScoreFunc:$score_func, DeepSeek_GroupScore:$group_score, BoolAttr:$normalize,
                       F64Attr:$route_scale);
  let results = (outs DeepSeek_Pairs:$ids, DeepSeek_Rows:$weights);
  let assemblyFormat = "$logits (`,` $bias^)? attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_ExpertsOp : DeepSeek_Op<"experts", [
    Pure, AttrSizedOperandSegments, DeclareOpInterfaceMethods<WeightsOpInterface>]> {
  let summary = "the routed experts: dispatch, feed-forward, combine";
  let description = [{
    `y[t] = sum_j weights[t, j] * down[e] swiglu(gate[e] x[t], up[e] x[t])` with `e = ids[t, j]`. The weights of all experts
    are one value with a leading expert dimension. `deepseek-decompose-experts` rewrites it to `moe_dispatch`, two or three
    `qblock.grouped_matmul`s, `swiglu` and `moe_combine`. Where a weight's columns stand in another order, `gate_order` and so on
    say which for each expert: it multiplies `qblock.gather_columns` of its inputs.

    ```mlir
    %y = deepseek.experts %x, %ids, %weights, %gate, %up, %down : (tensor<?x7168xf32>, tensor<?x8xi32>, tensor<?x8xf32>,
      tensor<256x2048x7168xf32>, tensor<256x2048x7168xf32>, tensor<256x7168x2048xf32>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins DeepSeek_Rows:$x, DeepSeek_Pairs:$ids, DeepSeek_Rows:$weights, QBlock_AnyMatrix:$gate,
                       QBlock_AnyMatrix:$up, QBlock_AnyMatrix:$down, Optional<AnyRankedTensor>:$gate_order,
                       Optional<AnyRankedTensor>:$up_order, Optional<AnyRankedTensor>:$down_order);
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = [{
    $x `,` $ids `,` $weights `,` $gate `,` $up `,` $down (`gate_order` $gate_order^)? (`up_order` $up_order^)?
    (`down_order` $down_order^)? attr-dict `:` functional-type(operands, results)
  }];
}

def DeepSeek_MoeDispatchOp
    : DeepSeek_RowOp<"moe_dispatch", ["getFixedRows"], [Pure, DeclareOpInterfaceMethods<KernelOpInterface, ["getGrid"]>]> {
  let summary = "sorts the chosen (token, expert) pairs by expert";
  let description = [{
    `rows` lists the pairs `t * top_k + j` by expert, in token order within one; `offsets[e] .. offsets[e + 1] - 1` are
    expert e's places in that list (a counting sort).

    ```mlir
    %offsets, %rows = deepseek.moe_dispatch %ids : (tensor<?x8xi32>) -> (tensor<257xi32>, tensor<?x8xi32>)
    ```
  }];
  let arguments = (ins DeepSeek_Pairs:$ids);
  let results = (outs DeepSeek_Ids:$offsets, DeepSeek_Pairs:$rows);
  let assemblyFormat = "$ids attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_MoeCombineOp : DeepSeek_RowOp<"moe_combine", ["getRowSource"]> {
  let summary = "sums each token's expert outputs by their weights";
  let description = [{
    `y[t] = sum_j weights[t, j] * x[place of (t, j) in rows]`, always in the order of j, so that results do not depend on
    the other tokens or on the number of threads.

    ```mlir
    %y = deepseek.moe_combine %x, %ids, %weights, %offsets, %rows : (tensor<?x8x7168xf32>, tensor<?x8xi32>, tensor<?x8xf32>,
      tensor<257xi32>, tensor<?x8xi32>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins DeepSeek_Slots:$x, DeepSeek_Pairs:$ids, DeepSeek_Rows:$weights, DeepSeek_Ids:$offsets,
                       DeepSeek_Pairs:$rows);
  let results = (outs DeepSeek_Rows:$result);
  let assemblyFormat = "$x `,` $ids `,` $weights `,` $offsets `,` $rows attr-dict `:` functional-type(operands, results)";
}

#endif // QUANT_DEEPSEEK_OPS
