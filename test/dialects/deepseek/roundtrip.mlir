// Every op, with its weights in either form and with its optional operands and results.
// RUN: quant-opt %s --verify-roundtrip | FileCheck %s
// RUN: quant-opt %s --mlir-print-op-generic | quant-opt | FileCheck %s
// RUN: quant-opt %s --emit-bytecode | quant-opt | FileCheck %s

// CHECK-LABEL: @rows
func.func @rows(%ids: tensor<?xi32>, %table: tensor<512x64xbf16>, %gamma: tensor<64xbf16>, %positions: tensor<?xi32>, %selected: tensor<?xi32>) -> tensor<?x64xf32> {
  // CHECK: deepseek.embed %{{.*}}, %{{.*}} : (tensor<?xi32>, tensor<512x64xbf16>) -> tensor<?x64xf32>
  %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x64xbf16>) -> tensor<?x64xf32>
  // CHECK: deepseek.rms_norm %{{.*}}, %{{.*}} {eps = 9.9999999999999995E-7 : f64} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  %y = deepseek.rms_norm %x, %gamma {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  // CHECK: deepseek.rms_norm {{.*}} {amax_floor = 1.000000e-02 : f64, eps = {{.*}}, power_of_two} : {{.*}} -> (tensor<?x64xf32>, !qblock.tensor<?x64xf8E4M3FN, block<1x32>, f32>)
  %y2, %q = deepseek.rms_norm %x, %gamma {eps = 1.0e-6, amax_floor = 1.0e-2, power_of_two}
    : (tensor<?x64xf32>, tensor<64xbf16>) -> (tensor<?x64xf32>, !qblock.tensor<?x64xf8E4M3FN, block<1x32>, f32>)
  // CHECK: deepseek.rope_table %{{.*}} {factor = 1.000000e+00 : f64, inv_freq = array<f64: 1.000000e+00, 1.000000e-01>} : tensor<?x4xf32>
  %r = deepseek.rope_table %positions {inv_freq = array<f64: 1.0, 0.1>, factor = 1.0} : tensor<?x4xf32>
  // CHECK: deepseek.concat %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x128xf32>
  %both = deepseek.concat %y, %y : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x128xf32>
  // CHECK: deepseek.select_tokens %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  %l = deepseek.select_tokens %y, %selected : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  return %l : tensor<?x64xf32>
}

// CHECK-LABEL: @swiglu
func.func @swiglu(%g: tensor<?x64xf32>, %slots: tensor<?x8x64xf32>) {
  // CHECK: deepseek.swiglu %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  %0 = deepseek.swiglu %g, %g : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  // CHECK: deepseek.swiglu {{.*}} -> (tensor<?x8x64xf32>, !qblock.tensor<?x8x64xf8E4M3FN, block<1x1x32>, f8E8M0FNU>)
  %1:2 = deepseek.swiglu %slots, %slots : (tensor<?x8x64xf32>, tensor<?x8x64xf32>)
    -> (tensor<?x8x64xf32>, !qblock.tensor<?x8x64xf8E4M3FN, block<1x1x32>, f8E8M0FNU>)
  return
}

// CHECK-LABEL: @attention
func.func @attention(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %gamma: tensor<32xbf16>, %kv_b: tensor<64x32xf32>,
                     %kv_bq: !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>, %rope: tensor<?x8xf32>, %cache: memref<?x40xf32>,
                     %narrow: memref<?x40xbf16>, %bytes: memref<?x52xi8>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %pages: tensor<?x4xi32>) {
  // CHECK: deepseek.mla_attention {{.*}} : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xbf16>, tensor<64x32xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  %0 = deepseek.mla_attention %q, %kv_a, %gamma, %kv_b, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0e-6, softmax_scale = 0.25, interleaved = true}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xbf16>, tensor<64x32xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  // CHECK: deepseek.mla_attention {{.*}}interleaved = false{{.*}}!qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>
  %1 = deepseek.mla_attention %q, %kv_a, %gamma, %kv_bq, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0e-6, softmax_scale = 0.25, interleaved = false}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xbf16>, !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>)
    -> tensor<?x32xf32>
  // CHECK: deepseek.latent_append {{.*}} : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>
  deepseek.latent_append %kv_a, %gamma, %rope, %cache[%positions, %sequences, %pages] {eps = 1.0e-6, interleaved = true}
    : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>
  // CHECK: deepseek.latent_append {{.*}} : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xbf16>, tensor<?x4xi32>
  deepseek.latent_append %kv_a, %gamma, %rope, %narrow[%positions, %sequences, %pages] {eps = 1.0e-6, interleaved = true}
    : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xbf16>, tensor<?x4xi32>
  // CHECK: deepseek.latent_append {{.*}}cache_format = #deepseek.cache<fp8>{{.*}} memref<?x52xi8>
  deepseek.latent_append %kv_a, %gamma, %rope, %bytes[%positions, %sequences, %pages] {eps = 1.0e-6, interleaved = true, cache_format = #deepseek.cache<fp8>}
    : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x52xi8>, tensor<?x4xi32>
  // CHECK: deepseek.mla_absorb {{.*}} : (tensor<?x48xf32>, !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>) -> tensor<?x64xf32>
  %2 = deepseek.mla_absorb %q, %kv_bq {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16}
    : (tensor<?x48xf32>, !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>) -> tensor<?x64xf32>
  // CHECK: deepseek.mla_absorb %{{.*}}, %{{.*}} rope %{{.*}} {{{.*}}interleaved{{.*}}} : (tensor<?x48xf32>, tensor<64x32xf32>, tensor<?x8xf32>) -> tensor<?x80xbf16>
  %queries = deepseek.mla_absorb %q, %kv_b rope %rope {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, interleaved}
    : (tensor<?x48xf32>, tensor<64x32xf32>, tensor<?x8xf32>) -> tensor<?x80xbf16>
  // CHECK: deepseek.mla_decode {{.*}} : (tensor<?x80xbf16>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xbf16>
  %decoded = deepseek.mla_decode %queries, %cache[%positions, %sequences, %pages] {heads = 2, rope_dim = 8, softmax_scale = 0.25}
    : (tensor<?x80xbf16>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xbf16>
  // CHECK: deepseek.mla_core {{.*}} : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  %3 = deepseek.mla_core %2, %q, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, softmax_scale = 0.25, interleaved = true}
    : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  // CHECK: deepseek.mla_expand {{.*}} : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %4 = deepseek.mla_expand %3, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16}
    : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  return
}

// CHECK-LABEL: @experts
func.func @experts(%x: tensor<?x64xf32>, %logits: tensor<?x16xf32>, %bias: tensor<16xf32>, %gate: tensor<16x32x64xf32>,
                   %up: !qblock.tensor<16x32x64xi4, block<1x1x32>, f16, zero i8>, %down: tensor<16x64x32xbf16>) {
  // CHECK: deepseek.moe_gate %{{.*}}, %{{.*}} {{{.*}}top_k = 4 : i64} : (tensor<?x16xf32>, tensor<16xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
  %ids, %weights = deepseek.moe_gate %logits, %bias {top_k = 4, groups = 4, limited_groups = 2, score_func = 1 : i32,
    group_score = 1 : i32, normalize = true, route_scale = 2.5} : (tensor<?x16xf32>, tensor<16xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
  // CHECK: deepseek.moe_gate %{{.*}} {group_score = 0 : i32, {{.*}}normalize = false{{.*}}score_func = 0 : i32, {{.*}}} : (tensor<?x16xf32>) ->
  %ids2, %weights2 = deepseek.moe_gate %logits {top_k = 4, groups = 1, limited_groups = 1, score_func = 0 : i32,
    group_score = 0 : i32, normalize = false, route_scale = 1.0} : (tensor<?x16xf32>) -> (tensor<?x4xi32>, tensor<?x4xf32>)
  // CHECK: deepseek.experts {{.*}} -> tensor<?x64xf32>
  %y = deepseek.experts %x, %ids, %weights, %gate, %up, %down : (tensor<?x64xf32>, tensor<?x4xi32>, tensor<?x4xf32>,
    tensor<16x32x64xf32>, !qblock.tensor<16x32x64xi4, block<1x1x32>, f16, zero i8>, tensor<16x64x32xbf16>) -> tensor<?x64xf32>
  // CHECK: deepseek.moe_dispatch %{{.*}} : (tensor<?x4xi32>) -> (tensor<17xi32>, tensor<?x4xi32>)
  %offsets, %rows = deepseek.moe_dispatch %ids : (tensor<?x4xi32>) -> (tensor<17xi32>, tensor<?x4xi32>)
  return
}

// CHECK-LABEL: @combine
func.func @combine(%x: tensor<?x4x64xf32>, %ids: tensor<?x4xi32>, %weights: tensor<?x4xf32>, %offsets: tensor<17xi32>, %rows: tensor<?x4xi32>) {
  // CHECK: deepseek.moe_combine {{.*}} : (tensor<?x4x64xf32>, tensor<?x4xi32>, tensor<?x4xf32>, tensor<17xi32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  %y = deepseek.moe_combine %x, %ids, %weights, %offsets, %rows : (tensor<?x4x64xf32>, tensor<?x4xi32>, tensor<?x4xf32>,
    tensor<17xi32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  return
}
