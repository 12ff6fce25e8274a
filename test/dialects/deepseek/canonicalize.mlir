// What canonicalization may and may not drop: ops that touch the cache stay.
// RUN: quant-opt %s --canonicalize --cse | FileCheck %s

// CHECK-LABEL: @cache
// CHECK: deepseek.latent_append
// CHECK: deepseek.mla_core
// CHECK: deepseek.latent_append
// A read of the cache after a write is not the read before it.
// CHECK: deepseek.mla_core
// CHECK: return
func.func @cache(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %gamma: tensor<32xbf16>, %rope: tensor<?x8xf32>,
                 %cache: memref<?x40xf32>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %pages: tensor<?x4xi32>, %lat: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  deepseek.latent_append %kv_a, %gamma, %rope, %cache[%positions, %sequences, %pages] {eps = 1.0e-6, interleaved = true}
    : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>
  %0 = deepseek.mla_core %lat, %q, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, softmax_scale = 0.25, interleaved = true}
    : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  deepseek.latent_append %kv_a, %gamma, %rope, %cache[%positions, %sequences, %pages] {eps = 1.0e-6, interleaved = true}
    : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>
  %1 = deepseek.mla_core %lat, %q, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, softmax_scale = 0.25, interleaved = true}
    : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  return %0, %1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// An attention whose result nobody reads still writes the cache.
// CHECK-LABEL: @attention_unread
// CHECK: deepseek.mla_attention
func.func @attention_unread(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %gamma: tensor<32xbf16>, %kv_b: tensor<64x32xf32>,
                            %rope: tensor<?x8xf32>, %cache: memref<?x40xf32>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %pages: tensor<?x4xi32>) {
  %0 = deepseek.mla_attention %q, %kv_a, %gamma, %kv_b, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0e-6, softmax_scale = 0.25, interleaved = true}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xbf16>, tensor<64x32xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  return
}

// CHECK-LABEL: @pure
// CHECK-NEXT: return
func.func @pure(%x: tensor<?x64xf32>, %gamma: tensor<64xf32>, %ids: tensor<?x4xi32>) {
  %0 = deepseek.rms_norm %x, %gamma {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %offsets, %rows = deepseek.moe_dispatch %ids : (tensor<?x4xi32>) -> (tensor<17xi32>, tensor<?x4xi32>)
  return
}
