// RUN: quant-opt %s --deepseek-decompose | FileCheck %s
// What the definitions compute is checked by test/reference/test_decompositions.py; here, how they read.

// CHECK-LABEL: @embed
// CHECK: tensor.generate
// CHECK: ^bb0(%[[T:.*]]: index, %[[I:.*]]: index):
// CHECK: %[[ID:.*]] = tensor.extract %{{.*}}[%[[T]]] : tensor<?xi32>
// CHECK: %[[ROW:.*]] = arith.index_cast %[[ID]] : i32 to index
// CHECK: %[[VALUE:.*]] = tensor.extract %{{.*}}[%[[ROW]], %[[I]]] : tensor<512x64xbf16>
// CHECK: %[[WIDE:.*]] = arith.extf %[[VALUE]] : bf16 to f32
// CHECK: tensor.yield %[[WIDE]]
// CHECK-NOT: deepseek
func.func @embed(%ids: tensor<?xi32>, %table: tensor<512x64xbf16>) -> tensor<?x64xf32> {
  %y = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x64xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// A quantized second result is the first one, quantized.
// CHECK-LABEL: @rms_norm
// CHECK: %[[INVERSE:.*]] = tensor.generate
// CHECK: scf.for
// CHECK: math.sqrt
// CHECK: %[[Y:.*]] = tensor.generate
// CHECK: tensor.extract %[[INVERSE]]
// CHECK: %[[Q:.*]] = qblock.quantize %[[Y]] {power_of_two} : tensor<?x256xf32> -> !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>
// CHECK: return %[[Y]], %[[Q]]
func.func @rms_norm(%x: tensor<?x256xf32>, %gamma: tensor<256xf32>) -> (tensor<?x256xf32>, !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>) {
  %y, %q = deepseek.rms_norm %x, %gamma {eps = 1.0e-6, power_of_two}
    : (tensor<?x256xf32>, tensor<256xf32>) -> (tensor<?x256xf32>, !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>)
  return %y, %q : tensor<?x256xf32>, !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>
}

// Block-scaled weights are dequantized first.
// CHECK-LABEL: @expand
// CHECK: %[[KV_B:.*]] = qblock.dequantize %{{.*}} : !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32> -> tensor<64x32xf32>
// CHECK: tensor.generate
// CHECK: tensor.extract %[[KV_B]]
func.func @expand(%x: tensor<?x64xf32>, %kv_b: !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>) -> tensor<?x32xf32> {
  %y = deepseek.mla_expand %x, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16}
    : (tensor<?x64xf32>, !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}
