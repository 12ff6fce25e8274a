// RUN: quant-opt %s --deepseek-decompose | FileCheck %s
// What the definitions compute is checked by test/reference/test_decompositions.py; here, how they read.

// CHECK-LABEL: @embed
// CHECK: %[[ROWS:.*]] = tensor.dim
// CHECK: %[[Y:.*]] = memref.alloc(%[[ROWS]]) : memref<?x64xf32>
// CHECK: scf.for %[[T:.*]] = %{{.*}} to %[[ROWS]]
// CHECK: %[[ID:.*]] = tensor.extract %{{.*}}[%[[T]]] : tensor<?xi32>
// CHECK: %[[ROW:.*]] = arith.index_cast %[[ID]] : i32 to index
// CHECK: scf.for %[[I:.*]] =
// CHECK: %[[VALUE:.*]] = tensor.extract %{{.*}}[%[[ROW]], %[[I]]] : tensor<512x64xbf16>
// CHECK: %[[WIDE:.*]] = arith.extf %[[VALUE]] : bf16 to f32
// CHECK: memref.store %[[WIDE]], %[[Y]][%[[T]], %[[I]]]
// CHECK: bufferization.to_tensor %[[Y]]
// CHECK-NOT: deepseek
func.func @embed(%ids: tensor<?xi32>, %table: tensor<512x64xbf16>) -> tensor<?x64xf32> {
  %y = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x64xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// A quantized second result is the first one, quantized: codes and scales by their bits.
// CHECK-LABEL: @rms_norm
// CHECK-DAG: %[[Y:.*]] = memref.alloc(%{{.*}}) : memref<?x256xf32>
// CHECK-DAG: %[[CODES:.*]] = memref.alloc(%{{.*}}) : memref<?x256xf8E4M3FN>
// CHECK-DAG: %[[SCALES:.*]] = memref.alloc(%{{.*}}) : memref<?x2xf32>
// CHECK: math.fma
// CHECK: math.sqrt
// CHECK: memref.store %{{.*}}, %[[Y]]
// CHECK: arith.maxnumf
// CHECK: %[[CODE:.*]] = arith.bitcast %{{.*}} : i8 to f8E4M3FN
// CHECK: memref.store %[[CODE]], %[[CODES]]
// CHECK: memref.store %{{.*}}, %[[SCALES]]
// CHECK: %[[Q:.*]] = qblock.assemble
// CHECK: return %{{.*}}, %[[Q]]
func.func @rms_norm(%x: tensor<?x256xf32>, %gamma: tensor<256xf32>) -> (tensor<?x256xf32>, !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>) {
  %y, %q = deepseek.rms_norm %x, %gamma {eps = 1.0e-6, power_of_two}
    : (tensor<?x256xf32>, tensor<256xf32>) -> (tensor<?x256xf32>, !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>)
  return %y, %q : tensor<?x256xf32>, !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>
}

// Block-scaled weights are dequantized first.
// CHECK-LABEL: @expand
// CHECK: %{{.*}}, %[[SCALE:.*]] = qblock.storage
// CHECK: tensor.extract %[[SCALE]]
// CHECK: %[[KV_B:.*]] = bufferization.to_tensor
// CHECK: tensor.generate
// CHECK: tensor.extract %[[KV_B]]
func.func @expand(%x: tensor<?x64xf32>, %kv_b: !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>) -> tensor<?x32xf32> {
  %y = deepseek.mla_expand %x, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16}
    : (tensor<?x64xf32>, !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}
