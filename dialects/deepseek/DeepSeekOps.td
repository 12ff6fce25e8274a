//===- DeepSeekOps.td - the ops of DeepSeek-V2/V3 ---------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DEEPSEEK_OPS
#define QUANT_DEEPSEEK_OPS

include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "dialects/qblock/QBlockTypes.td"

//===----------------------------------------------------------------------===//
// Dialect
//===----------------------------------------------------------------------===//

def DeepSeek_Dialect : Dialect {
  let name = "deepseek";
  let cppNamespace = "::quant::deepseek";
  let summary = "What a DeepSeek-V2/V3 model does besides matmuls and additions";
  let description = [{
    Activations are `tensor<?xNxf32>`: one row a token, `?` of them in a call. `mla_attention` and `experts` are the model's
    own words; `decompose-mla` and `decompose-experts` rewrite them to the smaller ops that become kernels.

    Sources: DeepSeek-V2 (arXiv:2405.04434), DeepSeek-V3 (arXiv:2412.19437), YaRN (arXiv:2309.00071).
  }];
  let dependentDialects = ["::quant::qblock::QBlockDialect"];
}

class DeepSeek_Op<string mnemonic, list<Trait> traits = []> : Op<DeepSeek_Dialect, mnemonic, traits> {
  let hasVerifier = 1;
}

def DeepSeek_ScoreFunc : I32EnumAttr<"ScoreFunc", "how gate logits become scores", [
    I32EnumAttrCase<"Softmax", 0, "softmax">, I32EnumAttrCase<"Sigmoid", 1, "sigmoid">]> {
  let cppNamespace = "::quant::deepseek";
}

def DeepSeek_GroupScore : I32EnumAttr<"GroupScore", "how a group of experts is scored", [
    I32EnumAttrCase<"Max", 0, "max">, I32EnumAttrCase<"Top2Sum", 1, "top2_sum">]> {
  let cppNamespace = "::quant::deepseek";
}

//===----------------------------------------------------------------------===//
// Embedding, norm, rope, activation
//===----------------------------------------------------------------------===//

def DeepSeek_EmbedOp : DeepSeek_Op<"embed", [Pure]> {
  let summary = "the embeddings of token ids";
  let description = [{
    `y[t, :] = table[ids[t], :]` in f32.

    ```mlir
    %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<129280x7168xbf16>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$ids, AnyRankedTensor:$table);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_RmsNormOp : DeepSeek_Op<"rms_norm", [Pure]> {
  let summary = "root-mean-square norm of each row, and its quantized form where asked";
  let description = [{
    `y[t, i] = gamma[i] * x[t, i] / sqrt(mean_i(x[t, i]^2) + eps)`. `fuse-quantize` adds the second result: y quantized.

    ```mlir
    %y = deepseek.rms_norm %x, %gamma {eps = 1.0e-6} : (tensor<?x7168xf32>, tensor<7168xbf16>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$gamma, F64Attr:$eps);
  let results = (outs AnyRankedTensor:$result, Optional<QBlock_TensorType>:$quantized);
  let assemblyFormat = "$x `,` $gamma attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_RopeTableOp : DeepSeek_Op<"rope_table", [Pure]> {
  let summary = "cosines and sines of this call's positions";
  let description = [{
    Row t holds `factor * cos(p * f[i])` for the R/2 inverse frequencies, then `factor * sin(p * f[i])`, with
    `p = position + t`. The frequencies are plain RoPE's or YaRN's; models/config computes them.

    ```mlir
    %r = deepseek.rope_table %ids, %position {inv_freq = array<f64: 1.0, 0.1>, factor = 1.0} : (tensor<?xi32>) -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$ids, Index:$position, DenseF64ArrayAttr:$inv_freq, F64Attr:$factor);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$ids `,` $position attr-dict `:` functional-type($ids, results)";
}

def DeepSeek_SwigluOp : DeepSeek_Op<"swiglu", [Pure]> {
  let summary = "silu(gate) * up, and its quantized form where asked";
  let description = [{
    `y = gate / (1 + exp(-gate)) * up`, element by element.

    ```mlir
    %h = deepseek.swiglu %g, %u : (tensor<?x2048xf32>, tensor<?x2048xf32>) -> tensor<?x2048xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$gate, AnyRankedTensor:$up);
  let results = (outs AnyRankedTensor:$result, Optional<QBlock_TensorType>:$quantized);
  let assemblyFormat = "$gate `,` $up attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_LastTokensOp : DeepSeek_Op<"last_tokens", [Pure]> {
  let summary = "the rows of the last tokens, those that get logits";
  let description = [{
    ```mlir
    %l = deepseek.last_tokens %x, %outputs : (tensor<?x7168xf32>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Index:$outputs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $outputs attr-dict `:` functional-type($x, results)";
}

//===----------------------------------------------------------------------===//
// Multi-head latent attention
//===----------------------------------------------------------------------===//

/// What the attention ops share: heads, and how a head's query divides into a part without and one with rope.
class DeepSeek_MlaOp<string mnemonic, list<Trait> traits = []> : DeepSeek_Op<mnemonic, traits> {
  dag headArguments = (ins ConfinedAttr<I64Attr, [IntPositive]>:$heads, ConfinedAttr<I64Attr, [IntPositive]>:$nope_dim,
                           ConfinedAttr<I64Attr, [IntPositive]>:$rope_dim, ConfinedAttr<I64Attr, [IntPositive]>:$v_dim);
}

def DeepSeek_MlaAttentionOp : DeepSeek_MlaOp<"mla_attention", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "multi-head latent attention with its latent KV cache";
  let description = [{
    With heads h, `q[t, h] = [q_nope | q_pe]`, `kv_a[t] = [c' | k_pe']`, and `kv_b` rows of a head `[W_K | W_V]`:

        c[t]     = rms_norm(c'[t], gamma, eps)            k_pe[t] = rope(k_pe'[t])
        score[s] = (q_nope . W_K c[s] + rope(q_pe) . k_pe[s]) * softmax_scale      for s <= position + t
        o[t, h]  = W_V (sum_s softmax(score)[s] c[s])

    The cache holds `[c | k_pe]` of each position. `interleaved` says that rope pairs neighbours (2i, 2i + 1) as the
    checkpoints do; otherwise (i, i + R/2). `decompose-mla` rewrites it to the absorbed form.

    ```mlir
    %o = deepseek.mla_attention %q, %kv_a, %gamma, %kv_b, %rope, %cache, %position
      {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128, eps = 1.0e-6, softmax_scale = 0.1352, interleaved = true}
      : (tensor<?x24576xf32>, tensor<?x576xf32>, tensor<512xbf16>, tensor<32768x512xf32>, tensor<?x64xf32>, memref<?x576xf32>)
      -> tensor<?x16384xf32>
    ```
  }];
  let arguments = !con((ins AnyRankedTensor:$q, AnyRankedTensor:$kv_a, AnyRankedTensor:$gamma, QBlock_AnyMatrix:$kv_b,
                            AnyRankedTensor:$rope, AnyMemRef:$cache, Index:$position),
                       headArguments, (ins F64Attr:$eps, F64Attr:$softmax_scale, BoolAttr:$interleaved));
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $q `,` $kv_a `,` $gamma `,` $kv_b `,` $rope `,` $cache `,` $position attr-dict `:`
    `(` type($q) `,` type($kv_a) `,` type($gamma) `,` type($kv_b) `,` type($rope) `,` type($cache) `)` `->` type($result)
  }];
}

def DeepSeek_LatentAppendOp : DeepSeek_Op<"latent_append", [MemoryEffects<[MemWrite]>]> {
  let summary = "writes this call's latents and rope keys into the cache";
  let description = [{
    `cache[position + t] = [rms_norm(kv_a[t, :C], gamma, eps) | rope(kv_a[t, C:])]`. Its result is one flag a token, so that
    the op has a place in the program.

    ```mlir
    deepseek.latent_append %kv_a, %gamma, %rope, %cache, %position {eps = 1.0e-6, interleaved = true}
      : tensor<?x576xf32>, tensor<512xbf16>, tensor<?x64xf32>, memref<?x576xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$kv_a, AnyRankedTensor:$gamma, AnyRankedTensor:$rope, AnyMemRef:$cache, Index:$position,
                       F64Attr:$eps, BoolAttr:$interleaved);
  let assemblyFormat = [{
    $kv_a `,` $gamma `,` $rope `,` $cache `,` $position attr-dict `:` type($kv_a) `,` type($gamma) `,` type($rope) `,` type($cache)
  }];
}

def DeepSeek_MlaAbsorbOp : DeepSeek_MlaOp<"mla_absorb", [Pure]> {
  let summary = "takes the queries into the latent space";
  let description = [{
    `y[t, h, c] = sum_d q[t, h, d] * kv_b[h, d, c]` over the nope part of q and the key rows of kv_b.

    ```mlir
    %y = deepseek.mla_absorb %q, %kv_b {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128}
      : (tensor<?x24576xf32>, !qblock.tensor<32768x512xf8E4M3FN, block<128x128>, f32>) -> tensor<?x65536xf32>
    ```
  }];
  let arguments = !con((ins AnyRankedTensor:$q, QBlock_AnyMatrix:$kv_b), headArguments);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$q `,` $kv_b attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_MlaCoreOp : DeepSeek_MlaOp<"mla_core", [MemoryEffects<[MemRead]>]> {
  let summary = "attention over the latent cache";
  let description = [{
    `score[s] = (q_lat[t, h] . cache[s, :C] + rope(q_pe[t, h]) . cache[s, C:]) * softmax_scale` for `s <= position + t`;
    `y[t, h] = sum_s softmax(score)[s] * cache[s, :C]`. One pass with a running maximum.

    ```mlir
    %y = deepseek.mla_core %q_lat, %q, %rope, %cache, %position
      {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128, softmax_scale = 0.1352, interleaved = true}
      : (tensor<?x65536xf32>, tensor<?x24576xf32>, tensor<?x64xf32>, memref<?x576xf32>) -> tensor<?x65536xf32>
    ```
  }];
  let arguments = !con((ins AnyRankedTensor:$q_latent, AnyRankedTensor:$q, AnyRankedTensor:$rope, AnyMemRef:$cache,
                            Index:$position),
                       headArguments, (ins F64Attr:$softmax_scale, BoolAttr:$interleaved));
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $q_latent `,` $q `,` $rope `,` $cache `,` $position attr-dict `:`
    `(` type($q_latent) `,` type($q) `,` type($rope) `,` type($cache) `)` `->` type($result)
  }];
}

def DeepSeek_MlaExpandOp : DeepSeek_MlaOp<"mla_expand", [Pure]> {
  let summary = "takes the attended latents back to the heads' values";
  let description = [{
    `o[t, h, v] = sum_c y[t, h, c] * kv_b[h, nope_dim + v, c]`: the value rows of kv_b.

    ```mlir
    %o = deepseek.mla_expand %y, %kv_b {heads = 128, nope_dim = 128, rope_dim = 64, v_dim = 128}
      : (tensor<?x65536xf32>, !qblock.tensor<32768x512xf8E4M3FN, block<128x128>, f32>) -> tensor<?x16384xf32>
    ```
  }];
  let arguments = !con((ins AnyRankedTensor:$x, QBlock_AnyMatrix:$kv_b), headArguments);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $kv_b attr-dict `:` functional-type(operands, results)";
}

//===----------------------------------------------------------------------===//
// Mixture of experts
//===----------------------------------------------------------------------===//

def DeepSeek_MoeGateOp : DeepSeek_Op<"moe_gate", [Pure]> {
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
  let arguments = (ins AnyRankedTensor:$logits, Optional<AnyRankedTensor>:$bias, ConfinedAttr<I64Attr, [IntPositive]>:$top_k,
                       ConfinedAttr<I64Attr, [IntPositive]>:$groups, ConfinedAttr<I64Attr, [IntPositive]>:$limited_groups,
                       DeepSeek_ScoreFunc:$score_func, DeepSeek_GroupScore:$group_score, BoolAttr:$normalize,
                       F64Attr:$route_scale);
  let results = (outs AnyRankedTensor:$ids, AnyRankedTensor:$weights);
  let assemblyFormat = "$logits (`,` $bias^)? attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_ExpertsOp : DeepSeek_Op<"experts", [Pure]> {
  let summary = "the routed experts: dispatch, feed-forward, combine";
  let description = [{
    `y[t] = sum_j weights[t, j] * down[e] swiglu(gate[e] x[t], up[e] x[t])` with `e = ids[t, j]`. The weights of all experts
    are one value with a leading expert dimension. `decompose-experts` rewrites it to `moe_dispatch`, two or three
    `qblock.grouped_matmul`s, `swiglu` and `moe_combine`.

    ```mlir
    %y = deepseek.experts %x, %ids, %weights, %gate, %up, %down : (tensor<?x7168xf32>, tensor<?x8xi32>, tensor<?x8xf32>,
      tensor<256x2048x7168xf32>, tensor<256x2048x7168xf32>, tensor<256x7168x2048xf32>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$ids, AnyRankedTensor:$weights, QBlock_AnyMatrix:$gate,
                       QBlock_AnyMatrix:$up, QBlock_AnyMatrix:$down);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $ids `,` $weights `,` $gate `,` $up `,` $down attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_MoeDispatchOp : DeepSeek_Op<"moe_dispatch", [Pure]> {
  let summary = "sorts the chosen (token, expert) pairs by expert";
  let description = [{
    `rows` lists the pairs `t * top_k + j` by expert, in token order within one; `offsets[e] .. offsets[e + 1] - 1` are
    expert e's places in that list (a counting sort).

    ```mlir
    %offsets, %rows = deepseek.moe_dispatch %ids : (tensor<?x8xi32>) -> (tensor<257xi32>, tensor<?x8xi32>)
    ```
  }];
  let arguments = (ins AnyRankedTensor:$ids);
  let results = (outs AnyRankedTensor:$offsets, AnyRankedTensor:$rows);
  let assemblyFormat = "$ids attr-dict `:` functional-type(operands, results)";
}

def DeepSeek_MoeCombineOp : DeepSeek_Op<"moe_combine", [Pure]> {
  let summary = "sums each token's expert outputs by their weights";
  let description = [{
    `y[t] = sum_j weights[t, j] * x[place of (t, j) in rows]`, always in the order of j, so that results do not depend on
    the other tokens or on the number of threads.

    ```mlir
    %y = deepseek.moe_combine %x, %ids, %weights, %offsets, %rows : (tensor<?x8x7168xf32>, tensor<?x8xi32>, tensor<?x8xf32>,
      tensor<257xi32>, tensor<?x8xi32>) -> tensor<?x7168xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$ids, AnyRankedTensor:$weights, AnyRankedTensor:$offsets,
                       AnyRankedTensor:$rows);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $ids `,` $weights `,` $offsets `,` $rows attr-dict `:` functional-type(operands, results)";
}

#endif // QUANT_DEEPSEEK_OPS
