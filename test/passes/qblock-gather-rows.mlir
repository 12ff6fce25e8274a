// RUN: quant-opt %s --qblock-gather-rows | FileCheck %s

!x = !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32, k_major>
!w = !qblock.tensor<8x384x256xf8E4M3FN, block<1x128x128>, f32>

// Matmuls that share rows share their copy.
// CHECK-LABEL: @shared
// CHECK-SAME: %[[X:[a-z0-9]+]]: !qblock{{.*}}, %[[O:[a-z0-9]+]]: tensor<9xi32>, %[[R:[a-z0-9]+]]: tensor<?x2xi32>
// CHECK-NEXT: %[[Y:.*]] = qblock.gather_rows %[[X]] by %[[R]] : {{.*}} -> !qblock.tensor<?x2x256xf8E4M3FN, block<1x1x128>, f32, k_major>
// CHECK-NEXT: qblock.grouped_matmul %[[Y]], %{{.*}}, %[[O]] :
// CHECK-NEXT: qblock.grouped_matmul %[[Y]], %{{.*}}, %[[O]] :
func.func @shared(%x: !x, %w: !w, %o: tensor<9xi32>, %r: tensor<?x2xi32>) -> (tensor<?x2x384xbf16>, tensor<?x2x384xbf16>) {
  %0 = qblock.grouped_matmul %x, %w, %o gather(%r) : (!x, !w, tensor<9xi32>, tensor<?x2xi32>) -> tensor<?x2x384xbf16>
  %1 = qblock.grouped_matmul %x, %w, %o gather(%r) : (!x, !w, tensor<9xi32>, tensor<?x2xi32>) -> tensor<?x2x384xbf16>
  return %0, %1 : tensor<?x2x384xbf16>, tensor<?x2x384xbf16>
}

// Rows that are not quantized are read by their list, and those in order where they are.
// CHECK-LABEL: @as_it_is
// CHECK-NEXT: qblock.grouped_matmul {{.*}} gather
// CHECK-NEXT: qblock.grouped_matmul
// CHECK-NEXT: return
func.func @as_it_is(%x: tensor<?x256xf32>, %q: !qblock.tensor<?x2x256xf8E4M3FN, block<1x1x128>, f32>, %w: !w, %o: tensor<9xi32>,
                    %r: tensor<?x2xi32>) -> (tensor<?x2x384xf32>, tensor<?x2x384xf32>) {
  %0 = qblock.grouped_matmul %x, %w, %o gather(%r) : (tensor<?x256xf32>, !w, tensor<9xi32>, tensor<?x2xi32>) -> tensor<?x2x384xf32>
  %1 = qblock.grouped_matmul %q, %w, %o : (!qblock.tensor<?x2x256xf8E4M3FN, block<1x1x128>, f32>, !w, tensor<9xi32>) -> tensor<?x2x384xf32>
  return %0, %1 : tensor<?x2x384xf32>, tensor<?x2x384xf32>
}
