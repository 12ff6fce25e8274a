// RUN: quant-opt %s --qblock-dequantize-activations | FileCheck %s

!q = !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
!w = !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>

// Matmuls get floating point, whatever else gets codes; the numbers stay those of the codes.
// CHECK-LABEL: @matmuls
// CHECK-SAME: %[[X:.*]]: tensor<?x300xf32>, %[[W:.*]]: !qblock.tensor<256
// CHECK-NEXT: %[[Q:.*]] = qblock.quantize %[[X]]
// CHECK-NEXT: %[[F:.*]] = qblock.dequantize %[[Q]] : {{.*}} -> tensor<?x300xf32>
// CHECK-NEXT: %[[A:.*]] = qblock.matmul %[[F]], %[[W]]
// CHECK-NEXT: %[[B:.*]] = qblock.matmul %[[F]], %[[W]]
// CHECK-NEXT: return %[[Q]], %[[A]], %[[B]]
func.func @matmuls(%x: tensor<?x300xf32>, %w: !w) -> (!q, tensor<?x256xf32>, tensor<?x256xf32>) {
  %q = qblock.quantize %x : tensor<?x300xf32> -> !q
  %0 = qblock.matmul %q, %w : (!q, !w) -> tensor<?x256xf32>
  %1 = qblock.matmul %q, %w : (!q, !w) -> tensor<?x256xf32>
  return %q, %0, %1 : !q, tensor<?x256xf32>, tensor<?x256xf32>
}

// CHECK-LABEL: @grouped
// CHECK: %[[F:.*]] = qblock.dequantize {{.*}} -> tensor<?x2x256xf32>
// CHECK: qblock.grouped_matmul %[[F]]
func.func @grouped(%x: tensor<?x2x256xf32>, %w: !qblock.tensor<8x300x256xf8E4M3FN, block<1x128x128>, f32>, %o: tensor<9xi32>) -> tensor<?x2x300xf32> {
  %q = qblock.quantize %x : tensor<?x2x256xf32> -> !qblock.tensor<?x2x256xf8E4M3FN, block<1x1x128>, f32>
  %0 = qblock.grouped_matmul %q, %w, %o : (!qblock.tensor<?x2x256xf8E4M3FN, block<1x1x128>, f32>, !qblock.tensor<8x300x256xf8E4M3FN, block<1x128x128>, f32>, tensor<9xi32>) -> tensor<?x2x300xf32>
  return %0 : tensor<?x2x300xf32>
}
