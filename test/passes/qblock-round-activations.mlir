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
