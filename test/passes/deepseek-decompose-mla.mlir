// RUN: quant-opt %s --deepseek-decompose-mla | FileCheck %s
// RUN: quant-opt %s --deepseek-decompose-mla=tensor-cores=true | FileCheck %s --check-prefix=CORES

// A target with attention on tensor cores: only of what their kernel computes, the others are as they were.
// CORES-LABEL: @attention
// CORES: deepseek.mla_core
// CORES-LABEL: @published
// CORES: deepseek.latent_append
// CORES-NEXT: %[[Q:.*]] = deepseek.mla_absorb %{{.*}}, %{{.*}} rope %{{.*}} {heads = 16 : i64, interleaved, nope_dim = 128 : i64, rope_dim = 64 : i64, v_dim = 128 : i64} : {{.*}} -> tensor<?x9216xbf16>
// CORES-NEXT: %[[O:.*]] = deepseek.mla_decode %[[Q]], %{{.*}}[%{{.*}}, %{{.*}}, %{{.*}}] {heads = 16 : i64, rope_dim = 64 : i64, softmax_scale = 1.352000e-01 : f64} : (tensor<?x9216xbf16>, memref<?x576xbf16>, tensor<?x4xi32>) -> tensor<?x8192xbf16>
// CORES-NEXT: deepseek.mla_expand %[[O]], %{{.*}} : (tensor<?x8192xbf16>, tensor<4096x512xbf16>) -> tensor<?x2048xf32>

// CHECK-LABEL: @attention
// CHECK-SAME: %[[Q:.*]]: tensor<?x48xf32>, %[[KVA:.*]]: tensor<?x40xf32>, %[[G:.*]]: tensor<32xbf16>, %[[KVB:.*]]: !qblock.tensor<{{.*}}>, %[[R:.*]]: tensor<?x8xf32>, %[[C:.*]]: memref<?x40xf32>, %[[P:.*]]: tensor<?xi32>, %[[S:.*]]: tensor<?xi32>, %[[T:.*]]: tensor<?x4xi32>
func.func @attention(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %gamma: tensor<32xbf16>, %kv_b: !qblock.tensor<72x32xf8E4M3FN, block<128x128>, f32>,
                     %rope: tensor<?x8xf32>, %cache: memref<?x40xf32>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %pages: tensor<?x4xi32>) -> tensor<?x40xf32> {
  // The cache is written before it is read.
  // CHECK-NEXT: deepseek.latent_append %[[KVA]], %[[G]], %[[R]], %[[C]][%[[P]], %[[S]], %[[T]]] {eps = {{.*}}, interleaved = false}
  // CHECK-NEXT: %[[L:.*]] = deepseek.mla_absorb %[[Q]], %[[KVB]] {heads = 2 : i64, nope_dim = 16 : i64, rope_dim = 8 : i64, v_dim = 20 : i64} : {{.*}} -> tensor<?x64xf32>
  // CHECK-NEXT: %[[A:.*]] = deepseek.mla_core %[[L]], %[[Q]], %[[R]], %[[C]][%[[P]], %[[S]], %[[T]]] {{.*}}interleaved = false{{.*}}softmax_scale = 2.500000e-01{{.*}} -> tensor<?x64xf32>
  // CHECK-NEXT: %[[O:.*]] = deepseek.mla_expand %[[A]], %[[KVB]] {{.*}} -> tensor<?x40xf32>
  // CHECK-NEXT: return %[[O]]
  %0 = deepseek.mla_attention %q, %kv_a, %gamma, %kv_b, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 20, eps = 1.0e-6, softmax_scale = 0.25, interleaved = false}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xbf16>, !qblock.tensor<72x32xf8E4M3FN, block<128x128>, f32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>)
    -> tensor<?x40xf32>
  return %0 : tensor<?x40xf32>
}

// CHECK-LABEL: @published
// CHECK: deepseek.mla_core
func.func @published(%q: tensor<?x3072xf32>, %kv_a: tensor<?x576xf32>, %gamma: tensor<512xbf16>, %kv_b: tensor<4096x512xbf16>,
                     %rope: tensor<?x64xf32>, %cache: memref<?x576xbf16>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %pages: tensor<?x4xi32>) -> tensor<?x2048xf32> {
  %0 = deepseek.mla_attention %q, %kv_a, %gamma, %kv_b, %rope, %cache[%positions, %sequences, %pages]
    {heads = 16, nope_dim = 128, rope_dim = 64, v_dim = 128, eps = 1.0e-6, softmax_scale = 0.1352, interleaved = true}
    : (tensor<?x3072xf32>, tensor<?x576xf32>, tensor<512xbf16>, tensor<4096x512xbf16>, tensor<?x64xf32>, memref<?x576xbf16>, tensor<?x4xi32>)
    -> tensor<?x2048xf32>
  return %0 : tensor<?x2048xf32>
}
