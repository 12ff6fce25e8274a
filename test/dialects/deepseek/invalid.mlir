// Every message of the verifiers, and one of each operand type.
// RUN: quant-opt %s -verify-diagnostics -split-input-file

//===--- Operand types ---===//

func.func @rows(%x: tensor<f32>, %n: tensor<?xi32>) {
  // expected-error @+1 {{operand #0 must be a floating-point tensor of rows x columns, columns static, but got 'tensor<f32>'}}
  %0 = deepseek.select_tokens %x, %n : (tensor<f32>, tensor<?xi32>) -> tensor<f32>
  return
}

// -----

func.func @dynamic_columns(%x: tensor<?x?xf32>, %n: tensor<?xi32>) {
  // expected-error @+1 {{operand #0 must be a floating-point tensor of rows x columns, columns static, but got 'tensor<?x?xf32>'}}
  %0 = deepseek.select_tokens %x, %n : (tensor<?x?xf32>, tensor<?xi32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @rows_or_slots(%x: tensor<4xf32>) {
  // expected-error @+1 {{operand #0 must be a floating-point tensor of rows (x top_k) x columns, but got 'tensor<4xf32>'}}
  %0 = deepseek.swiglu %x, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @list(%x: tensor<?x4xf32>) {
  // expected-error @+1 {{operand #1 must be a floating-point list, but got 'tensor<?x4xf32>'}}
  %0 = deepseek.rms_norm %x, %x {eps = 1.0} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @ids(%ids: tensor<?xi64>, %table: tensor<8x4xf32>) {
  // expected-error @+1 {{operand #0 must be a list of i32, but got 'tensor<?xi64>'}}
  %0 = deepseek.embed %ids, %table : (tensor<?xi64>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @pairs(%ids: tensor<?xi32>) {
  // expected-error @+1 {{operand #0 must be an i32 tensor of tokens x top_k, but got 'tensor<?xi32>'}}
  %0:2 = deepseek.moe_dispatch %ids : (tensor<?xi32>) -> (tensor<17xi32>, tensor<?x4xi32>)
  return
}

// -----

func.func @slots(%x: tensor<?x4xf32>, %ids: tensor<?x4xi32>, %w: tensor<?x4xf32>, %o: tensor<17xi32>) {
  // expected-error @+1 {{operand #0 must be a floating-point tensor of tokens x top_k x columns, but got 'tensor<?x4xf32>'}}
  %0 = deepseek.moe_combine %x, %ids, %w, %o, %ids : (tensor<?x4xf32>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<17xi32>, tensor<?x4xi32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @cache(%x: tensor<?x8xf32>, %g: tensor<4xf32>, %r: tensor<?x4xf32>, %c: memref<f32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{operand #3 must be a memref of rows x columns, floating-point or of bytes, but got 'memref<f32>'}}
  deepseek.latent_append %x, %g, %r, %c[%p, %s, %t] {eps = 1.0, interleaved = true} : tensor<?x8xf32>, tensor<4xf32>, tensor<?x4xf32>, memref<f32>, tensor<?x4xi32>
  return
}

// -----

func.func @size(%q: tensor<?x8xf32>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{attribute 'heads' failed to satisfy constraint: 64-bit signless integer attribute whose value is positive whose maximum value is 1048576}}
  %0 = deepseek.mla_absorb %q, %w {heads = 4611686018427387904, nope_dim = 4, rope_dim = 4, v_dim = 4} : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

//===--- embed, rms_norm, rope_table, swiglu, select_tokens ---===//

func.func @embed(%ids: tensor<?xi32>, %table: tensor<8x4xf32>) {
  // expected-error @+1 {{the result must be ?x4, not 'tensor<?x5xf32>'}}
  %0 = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @norm_gamma(%x: tensor<?x4xf32>, %g: tensor<5xf32>) {
  // expected-error @+1 {{gamma must be 4, not 'tensor<5xf32>'}}
  %0 = deepseek.rms_norm %x, %g {eps = 1.0} : (tensor<?x4xf32>, tensor<5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @norm_eps(%x: tensor<?x4xf32>, %g: tensor<4xf32>) {
  // expected-error @+1 {{eps must not be negative}}
  %0 = deepseek.rms_norm %x, %g {eps = -1.0} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @norm_quantized(%x: tensor<?x4xf32>, %g: tensor<4xf32>) {
  // expected-error @+1 {{the quantized result must be ?x4, not '!qblock.tensor<?x8xf8E4M3FN, block<1x4>, f32>'}}
  %0:2 = deepseek.rms_norm %x, %g {eps = 1.0} : (tensor<?x4xf32>, tensor<4xf32>) -> (tensor<?x4xf32>, !qblock.tensor<?x8xf8E4M3FN, block<1x4>, f32>)
  return
}

// -----

func.func @rope_empty(%ids: tensor<?xi32>) {
  // expected-error @+1 {{needs at least one inverse frequency}}
  %0 = deepseek.rope_table %ids {inv_freq = array<f64>, factor = 1.0} : tensor<?x0xf32>
  return
}

// -----

func.func @rope_columns(%ids: tensor<?xi32>) {
  // expected-error @+1 {{the result must be ?x2, not 'tensor<?x4xf32>'}}
  %0 = deepseek.rope_table %ids {inv_freq = array<f64: 1.0>, factor = 1.0} : tensor<?x4xf32>
  return
}

// -----

func.func @swiglu(%g: tensor<?x4xf32>, %u: tensor<?x5xf32>) {
  // expected-error @+1 {{gate, up and the result must have one type}}
  %0 = deepseek.swiglu %g, %u : (tensor<?x4xf32>, tensor<?x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @select_tokens(%x: tensor<?x4xf32>, %n: tensor<?xi32>) {
  // expected-error @+1 {{the result must be ?x4, not 'tensor<?x5xf32>'}}
  %0 = deepseek.select_tokens %x, %n : (tensor<?x4xf32>, tensor<?xi32>) -> tensor<?x5xf32>
  return
}

// -----

//===--- Attention: 2 heads of 16 + 8, latent 32 ---===//

func.func @no_latent(%q: tensor<?x48xf32>, %kv_a: tensor<?x8xf32>, %g: tensor<32xf32>, %kv_b: tensor<64x32xf32>, %r: tensor<?x8xf32>, %c: memref<?x40xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{rows of 'tensor<?x8xf32>' hold no latent beside the rope key of 8}}
  %0 = deepseek.mla_attention %q, %kv_a, %g, %kv_b, %r, %c[%p, %s, %t] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0, softmax_scale = 1.0, interleaved = true}
    : (tensor<?x48xf32>, tensor<?x8xf32>, tensor<32xf32>, tensor<64x32xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @odd_rope(%q: tensor<?x46xf32>, %kv_b: tensor<64x32xf32>) {
  // expected-error @+1 {{rope_dim must be even, not 7}}
  %0 = deepseek.mla_absorb %q, %kv_b {heads = 2, nope_dim = 16, rope_dim = 7, v_dim = 16} : (tensor<?x46xf32>, tensor<64x32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @queries(%q: tensor<?x46xf32>, %kv_b: tensor<64x32xf32>) {
  // expected-error @+1 {{q must be ?x48, not 'tensor<?x46xf32>'}}
  %0 = deepseek.mla_absorb %q, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x46xf32>, tensor<64x32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @kv_b_rank(%q: tensor<?x48xf32>, %kv_b: tensor<f32>) {
  // expected-error @+1 {{kv_b must be a matrix with static columns, not 'tensor<f32>'}}
  %0 = deepseek.mla_absorb %q, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<f32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @concat_columns(%a: tensor<?x4xf32>, %b: tensor<?x6xf32>) {
  // expected-error @+1 {{the result must be ?x10, not 'tensor<?x8xf32>'}}
  %0 = deepseek.concat %a, %b : (tensor<?x4xf32>, tensor<?x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @kv_b_rows(%q: tensor<?x48xf32>, %kv_b: tensor<60x32xf32>) {
  // expected-error @+1 {{kv_b must be 64x32, not 'tensor<60x32xf32>'}}
  %0 = deepseek.mla_absorb %q, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<60x32xf32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @absorbed(%q: tensor<?x48xf32>, %kv_b: tensor<64x32xf32>) {
  // expected-error @+1 {{the result must be ?x64, not 'tensor<?x32xf32>'}}
  %0 = deepseek.mla_absorb %q, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @absorb_rope(%q: tensor<?x48xf32>, %kv_b: tensor<64x32xf32>, %r: tensor<?x4xf32>) {
  // expected-error @+1 {{rope must be ?x8, not 'tensor<?x4xf32>'}}
  %0 = deepseek.mla_absorb %q, %kv_b rope %r {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<64x32xf32>, tensor<?x4xf32>) -> tensor<?x80xbf16>
  return
}

// -----

func.func @absorbed_with_rope(%q: tensor<?x48xf32>, %kv_b: tensor<64x32xf32>, %r: tensor<?x8xf32>) {
  // expected-error @+1 {{the result must be ?x80, not 'tensor<?x64xbf16>'}}
  %0 = deepseek.mla_absorb %q, %kv_b rope %r {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<64x32xf32>, tensor<?x8xf32>) -> tensor<?x64xbf16>
  return
}

// -----

func.func @decode_queries(%q: tensor<?x64xbf16>, %c: memref<?x40xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{queries must be ?x80, not 'tensor<?x64xbf16>'}}
  %0 = deepseek.mla_decode %q, %c[%p, %s, %t] {heads = 2, rope_dim = 8, softmax_scale = 1.0} : (tensor<?x64xbf16>, memref<?x40xbf16>, tensor<?x4xi32>) -> tensor<?x64xbf16>
  return
}

// -----

func.func @decode_bytes(%q: tensor<?x80xbf16>, %c: memref<?x40xi8>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{reads a cache of numbers, not 'memref<?x40xi8>'}}
  %0 = deepseek.mla_decode %q, %c[%p, %s, %t] {heads = 2, rope_dim = 8, softmax_scale = 1.0} : (tensor<?x80xbf16>, memref<?x40xi8>, tensor<?x4xi32>) -> tensor<?x64xbf16>
  return
}

// -----

func.func @decoded(%q: tensor<?x80xbf16>, %c: memref<?x40xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{the result must be ?x64, not 'tensor<?x80xbf16>'}}
  %0 = deepseek.mla_decode %q, %c[%p, %s, %t] {heads = 2, rope_dim = 8, softmax_scale = 1.0} : (tensor<?x80xbf16>, memref<?x40xbf16>, tensor<?x4xi32>) -> tensor<?x80xbf16>
  return
}

// -----

func.func @attention_gamma(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %g: tensor<31xf32>, %kv_b: tensor<64x32xf32>, %r: tensor<?x8xf32>, %c: memref<?x40xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{gamma must be 32, not 'tensor<31xf32>'}}
  %0 = deepseek.mla_attention %q, %kv_a, %g, %kv_b, %r, %c[%p, %s, %t] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0, softmax_scale = 1.0, interleaved = true}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<31xf32>, tensor<64x32xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @attention_rope(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %g: tensor<32xf32>, %kv_b: tensor<64x32xf32>, %r: tensor<?x6xf32>, %c: memref<?x40xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{rope must be ?x8, not 'tensor<?x6xf32>'}}
  %0 = deepseek.mla_attention %q, %kv_a, %g, %kv_b, %r, %c[%p, %s, %t] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0, softmax_scale = 1.0, interleaved = true}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xf32>, tensor<64x32xf32>, tensor<?x6xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @append_cache(%kv_a: tensor<?x40xf32>, %g: tensor<32xf32>, %r: tensor<?x8xf32>, %c: memref<?x44xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{cache must be ?x40, not 'memref<?x44xf32>'}}
  deepseek.latent_append %kv_a, %g, %r, %c[%p, %s, %t] {eps = 1.0, interleaved = true} : tensor<?x40xf32>, tensor<32xf32>, tensor<?x8xf32>, memref<?x44xf32>, tensor<?x4xi32>
  return
}

// -----

func.func @core(%l: tensor<?x60xf32>, %q: tensor<?x48xf32>, %r: tensor<?x8xf32>, %c: memref<?x40xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{q_latent must be ?x64, not 'tensor<?x60xf32>'}}
  %0 = deepseek.mla_core %l, %q, %r, %c[%p, %s, %t] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, softmax_scale = 1.0, interleaved = true}
    : (tensor<?x60xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @expand(%x: tensor<?x60xf32>, %kv_b: tensor<64x32xf32>) {
  // expected-error @+1 {{x must be ?x64, not 'tensor<?x60xf32>'}}
  %0 = deepseek.mla_expand %x, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x60xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  return
}

// -----

//===--- Experts ---===//

func.func @gate_groups(%l: tensor<?x16xf32>) {
  // expected-error @+1 {{16 experts do not divide into 3 groups}}
  %0:2 = deepseek.moe_gate %l {top_k = 1, groups = 3, limited_groups = 1, score_func = 1 : i32, group_score = 0 : i32, normalize = true, route_scale = 1.0}
    : (tensor<?x16xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  return
}

// -----

func.func @gate_limited(%l: tensor<?x16xf32>) {
  // expected-error @+1 {{limited_groups 5 is more than the 4 groups}}
  %0:2 = deepseek.moe_gate %l {top_k = 1, groups = 4, limited_groups = 5, score_func = 1 : i32, group_score = 0 : i32, normalize = true, route_scale = 1.0}
    : (tensor<?x16xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  return
}

// -----

func.func @gate_top_k(%l: tensor<?x16xf32>) {
  // expected-error @+1 {{top_k 9 is more than the 8 experts of the groups taken}}
  %0:2 = deepseek.moe_gate %l {top_k = 9, groups = 4, limited_groups = 2, score_func = 1 : i32, group_score = 0 : i32, normalize = true, route_scale = 1.0}
    : (tensor<?x16xf32>) -> (tensor<?x9xi32>, tensor<?x9xf32>)
  return
}

// -----

func.func @first_position(%l: tensor<?x64xf32>, %q: tensor<?x48xf32>, %r: tensor<?x8xf32>, %c: memref<?x40xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{attribute 'first_position' failed to satisfy constraint: 64-bit signless integer attribute whose value is non-negative whose maximum value is 15}}
  %0 = deepseek.mla_core %l, %q, %r, %c[%p, %s, %t] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, softmax_scale = 1.0, interleaved = true, first_position = 16 : i64}
    : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @gate_top2(%l: tensor<?x4xf32>) {
  // expected-error @+1 {{top2_sum needs groups of at least two experts}}
  %0:2 = deepseek.moe_gate %l {top_k = 1, groups = 4, limited_groups = 1, score_func = 1 : i32, group_score = 1 : i32, normalize = true, route_scale = 1.0}
    : (tensor<?x4xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  return
}

// -----

func.func @gate_bias(%l: tensor<?x4xf32>, %b: tensor<5xf32>) {
  // expected-error @+1 {{bias must be 4, not 'tensor<5xf32>'}}
  %0:2 = deepseek.moe_gate %l, %b {top_k = 1, groups = 1, limited_groups = 1, score_func = 1 : i32, group_score = 1 : i32, normalize = true, route_scale = 1.0}
    : (tensor<?x4xf32>, tensor<5xf32>) -> (tensor<?x1xi32>, tensor<?x1xf32>)
  return
}

// -----

func.func @gate_ids(%l: tensor<?x4xf32>) {
  // expected-error @+1 {{ids must be ?x1, not 'tensor<?x2xi32>'}}
  %0:2 = deepseek.moe_gate %l {top_k = 1, groups = 1, limited_groups = 1, score_func = 1 : i32, group_score = 1 : i32, normalize = true, route_scale = 1.0}
    : (tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x1xf32>)
  return
}

// -----

func.func @experts_rank(%x: tensor<?x4xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>, %g: tensor<8x4xf32>) {
  // expected-error @+1 {{gate must be experts x inner x dim, all static, not 'tensor<8x4xf32>'}}
  %0 = deepseek.experts %x, %i, %w, %g, %g, %g : (tensor<?x4xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x4xf32>, tensor<8x4xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @experts_down(%x: tensor<?x4xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>, %g: tensor<8x6x4xf32>) {
  // expected-error @+1 {{down must be 8x4x6, not 'tensor<8x6x4xf32>'}}
  %0 = deepseek.experts %x, %i, %w, %g, %g, %g : (tensor<?x4xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x6x4xf32>, tensor<8x6x4xf32>, tensor<8x6x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @experts_weights(%x: tensor<?x4xf32>, %i: tensor<?x2xi32>, %w: tensor<?x3xf32>, %g: tensor<8x4x4xf32>) {
  // expected-error @+1 {{weights must be ?x2, not 'tensor<?x3xf32>'}}
  %0 = deepseek.experts %x, %i, %w, %g, %g, %g : (tensor<?x4xf32>, tensor<?x2xi32>, tensor<?x3xf32>, tensor<8x4x4xf32>, tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dispatch_rows(%ids: tensor<?x4xi32>) {
  // expected-error @+1 {{rows must be ?x4, not 'tensor<?x3xi32>'}}
  %0:2 = deepseek.moe_dispatch %ids : (tensor<?x4xi32>) -> (tensor<17xi32>, tensor<?x3xi32>)
  return
}

// -----

func.func @dispatch_offsets(%ids: tensor<?x4xi32>) {
  // expected-error @+1 {{offsets must have a static size, not 'tensor<?xi32>'}}
  %0:2 = deepseek.moe_dispatch %ids : (tensor<?x4xi32>) -> (tensor<?xi32>, tensor<?x4xi32>)
  return
}

// -----

func.func @combine_top_k(%x: tensor<?x3x4xf32>, %ids: tensor<?x4xi32>, %w: tensor<?x4xf32>, %o: tensor<17xi32>) {
  // expected-error @+1 {{x must be ?x4x?, not 'tensor<?x3x4xf32>'}}
  %0 = deepseek.moe_combine %x, %ids, %w, %o, %ids : (tensor<?x3x4xf32>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<17xi32>, tensor<?x4xi32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @bytes_without_format(%kv_a: tensor<?x40xf32>, %g: tensor<32xf32>, %r: tensor<?x8xf32>, %c: memref<?x52xi8>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{a cache of bytes must have a cache_format}}
  deepseek.latent_append %kv_a, %g, %r, %c[%p, %s, %t] {eps = 1.0, interleaved = true} : tensor<?x40xf32>, tensor<32xf32>, tensor<?x8xf32>, memref<?x52xi8>, tensor<?x4xi32>
  return
}

// -----

func.func @numbers_with_format(%kv_a: tensor<?x40xf32>, %g: tensor<32xf32>, %r: tensor<?x8xf32>, %c: memref<?x40xbf16>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{cache_format is of caches of bytes: fp8, int8 or int4, not bf16}}
  deepseek.latent_append %kv_a, %g, %r, %c[%p, %s, %t] {eps = 1.0, interleaved = true, cache_format = #deepseek.cache<bf16>} : tensor<?x40xf32>, tensor<32xf32>, tensor<?x8xf32>, memref<?x40xbf16>, tensor<?x4xi32>
  return
}

// -----

func.func @rows_of_other_bytes(%l: tensor<?x64xf32>, %q: tensor<?x48xf32>, %r: tensor<?x8xf32>, %c: memref<?x52xi8>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) {
  // expected-error @+1 {{a cache in int4 must be 'memref<?x34xi8>', not 'memref<?x52xi8>'}}
  %0 = deepseek.mla_core %l, %q, %r, %c[%p, %s, %t] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, softmax_scale = 1.0, interleaved = true, cache_format = #deepseek.cache<int4>}
    : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x52xi8>, tensor<?x4xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @experts_order(%x: tensor<?x4xf32>, %ids: tensor<?x2xi32>, %w: tensor<?x2xf32>, %g: tensor<8x6x4xf32>, %d: tensor<8x4x6xf32>, %o: tensor<8x1x4xi32>) {
  // expected-error @+1 {{down_order must be i32 of 8x1x6, not 'tensor<8x1x4xi32>'}}
  %0 = deepseek.experts %x, %ids, %w, %g, %g, %d down_order %o : (tensor<?x4xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x6x4xf32>, tensor<8x6x4xf32>, tensor<8x4x6xf32>, tensor<8x1x4xi32>) -> tensor<?x4xf32>
  return
}
