// What tensor cores multiply as bf16: x of matmuls by bf16 weights, once for all that share it; what they cannot stays f32.
// RUN: quant-opt %s --qblock-round-activations | FileCheck %s

// CHECK-LABEL: func.func @shared
// CHECK: %[[X:.*]] = arith.truncf %{{.*}} : tensor<?x144xf32> to tensor<?x144xbf16>
// CHECK-NOT: arith.truncf
// CHECK: qblock.matmul %[[X]], %{{.*}} : (tensor<?x144xbf16>, tensor<64x144xbf16>) -> tensor<?x64xf32>
// CHECK: qblock.matmul %[[X]], %{{.*}} : (tensor<?x144xbf16>, tensor<8x144xbf16>) -> tensor<?x8xf32>
func.func @shared(%x: tensor<?x144xf32>, %v: tensor<64x144xbf16>, %w: tensor<8x144xbf16>) -> (tensor<?x64xf32>, tensor<?x8xf32>) {
  %a = qblock.matmul %x, %v : (tensor<?x144xf32>, tensor<64x144xbf16>) -> tensor<?x64xf32>
  %b = qblock.matmul %x, %w : (tensor<?x144xf32>, tensor<8x144xbf16>) -> tensor<?x8xf32>
  return %a, %b : tensor<?x64xf32>, tensor<?x8xf32>
}

// Queries and latents that the projections of heads multiply by kv_b; a head of 16 numbers is no K block.
// CHECK-LABEL: func.func @heads
// CHECK-DAG: %[[Q:.*]] = arith.truncf %{{.*}} : tensor<?x576xf32> to tensor<?x576xbf16>
// CHECK-DAG: %[[X:.*]] = arith.truncf %{{.*}} : tensor<?x1536xf32> to tensor<?x1536xbf16>
// CHECK: deepseek.mla_absorb %[[Q]], {{.*}} -> tensor<?x1536xf32>
// CHECK: deepseek.mla_expand %[[X]], {{.*}} -> tensor<?x384xf32>
// CHECK: deepseek.mla_absorb {{.*}} : (tensor<?x48xf32>,
func.func @heads(%q: tensor<?x576xf32>, %x: tensor<?x1536xf32>, %kv_b: tensor<768x512xbf16>, %small: tensor<?x48xf32>,
                 %w: tensor<64x64xbf16>) -> (tensor<?x1536xf32>, tensor<?x384xf32>, tensor<?x128xf32>) {
  %a = deepseek.mla_absorb %q, %kv_b {heads = 3, nope_dim = 128, rope_dim = 64, v_dim = 128}
    : (tensor<?x576xf32>, tensor<768x512xbf16>) -> tensor<?x1536xf32>
  %b = deepseek.mla_expand %x, %kv_b {heads = 3, nope_dim = 128, rope_dim = 64, v_dim = 128}
    : (tensor<?x1536xf32>, tensor<768x512xbf16>) -> tensor<?x384xf32>
  %c = deepseek.mla_absorb %small, %w {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16}
    : (tensor<?x48xf32>, tensor<64x64xbf16>) -> tensor<?x128xf32>
  return %a, %b, %c : tensor<?x1536xf32>, tensor<?x384xf32>, tensor<?x128xf32>
}

// A row of 145 numbers does not end at a multiple of 16 bytes, 12 columns of f32 are no multiple of 8, and f32 weights are f32.
// CHECK-LABEL: func.func @exact
// CHECK-NOT: arith.truncf
func.func @exact(%x: tensor<?x145xf32>, %y: tensor<?x144xf32>, %u: tensor<64x145xbf16>, %v: tensor<12x144xbf16>,
                 %w: tensor<64x144xf32>) -> (tensor<?x64xf32>, tensor<?x12xf32>, tensor<?x64xf32>) {
  %a = qblock.matmul %x, %u : (tensor<?x145xf32>, tensor<64x145xbf16>) -> tensor<?x64xf32>
  %b = qblock.matmul %y, %v : (tensor<?x144xf32>, tensor<12x144xbf16>) -> tensor<?x12xf32>
  %c = qblock.matmul %y, %w : (tensor<?x144xf32>, tensor<64x144xf32>) -> tensor<?x64xf32>
  return %a, %b, %c : tensor<?x64xf32>, tensor<?x12xf32>, tensor<?x64xf32>
}
