// What stays as it is, and why.
// RUN: quant-opt %s --qblock-fuse-swiglu | FileCheck %s

!x = !qblock.tensor<?x2x320xf8E4M3FN, block<1x1x128>, f32, k_major>
!w = !qblock.tensor<8x256x320xf8E4M3FN, block<1x128x128>, f32>
!h = !qblock.tensor<?x2x128xf8E4M3FN, block<1x1x128>, f32, k_major>

// CHECK-NOT: grouped_swiglu

// The floating-point result is used, too.
func.func @both_results(%x: !x, %w: !w, %o: tensor<9xi32>, %t: index) -> (tensor<?x2x128xf32>, !h) {
  %y = qblock.grouped_matmul %x, %w, %o : (!x, !w, tensor<9xi32>) -> tensor<?x2x256xbf16>
  %e = arith.extf %y : tensor<?x2x256xbf16> to tensor<?x2x256xf32>
  %g = tensor.extract_slice %e[0, 0, 0] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %u = tensor.extract_slice %e[0, 0, 128] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %f, %h = deepseek.swiglu %g, %u : (tensor<?x2x128xf32>, tensor<?x2x128xf32>) -> (tensor<?x2x128xf32>, !h)
  return %f, %h : tensor<?x2x128xf32>, !h
}

// Up stands before the gate.
func.func @exchanged(%x: !x, %w: !w, %o: tensor<9xi32>, %t: index) -> !h {
  %y = qblock.grouped_matmul %x, %w, %o : (!x, !w, tensor<9xi32>) -> tensor<?x2x256xbf16>
  %e = arith.extf %y : tensor<?x2x256xbf16> to tensor<?x2x256xf32>
  %u = tensor.extract_slice %e[0, 0, 0] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %g = tensor.extract_slice %e[0, 0, 128] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %f, %h = deepseek.swiglu %g, %u : (tensor<?x2x128xf32>, tensor<?x2x128xf32>) -> (tensor<?x2x128xf32>, !h)
  return %h : !h
}

// Rows of 72 bytes, which TMA does not read.
func.func @short_rows(%x: !qblock.tensor<?x2x72xf8E4M3FN, block<1x1x128>, f32, k_major>,
                      %w: !qblock.tensor<8x256x72xf8E4M3FN, block<1x128x128>, f32>, %o: tensor<9xi32>, %t: index) -> !h {
  %y = qblock.grouped_matmul %x, %w, %o : (!qblock.tensor<?x2x72xf8E4M3FN, block<1x1x128>, f32, k_major>,
    !qblock.tensor<8x256x72xf8E4M3FN, block<1x128x128>, f32>, tensor<9xi32>) -> tensor<?x2x256xbf16>
  %e = arith.extf %y : tensor<?x2x256xbf16> to tensor<?x2x256xf32>
  %g = tensor.extract_slice %e[0, 0, 0] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %u = tensor.extract_slice %e[0, 0, 128] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %f, %h = deepseek.swiglu %g, %u : (tensor<?x2x128xf32>, tensor<?x2x128xf32>) -> (tensor<?x2x128xf32>, !h)
  return %h : !h
}
