// RUN: quant-opt %s --qblock-fuse-swiglu --canonicalize | FileCheck %s

!x = !qblock.tensor<?x2x320xf8E4M3FN, block<1x1x128>, f32, k_major>
!w = !qblock.tensor<8x256x320xf8E4M3FN, block<1x128x128>, f32>
!h = !qblock.tensor<?x2x128xf8E4M3FN, block<1x1x128>, f32, k_major>

// CHECK-LABEL: @experts
// CHECK-SAME: %[[X:[a-z0-9]+]]: !qblock{{.*}}, %[[W:[a-z0-9]+]]: !qblock{{.*}}, %[[O:[a-z0-9]+]]: tensor<9xi32>
// CHECK-NEXT: %[[H:.*]] = qblock.grouped_swiglu %[[X]], %[[W]], %[[O]] {power_of_two}
// CHECK-NEXT: return %[[H]]
func.func @experts(%x: !x, %w: !w, %o: tensor<9xi32>) -> !h {
  %c0 = arith.constant 0 : index
  %y = qblock.grouped_matmul %x, %w, %o : (!x, !w, tensor<9xi32>) -> tensor<?x2x256xbf16>
  %e = arith.extf %y : tensor<?x2x256xbf16> to tensor<?x2x256xf32>
  %t = tensor.dim %e, %c0 : tensor<?x2x256xf32>
  %g = tensor.extract_slice %e[0, 0, 0] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %u = tensor.extract_slice %e[0, 0, 128] [%t, 2, 128] [1, 1, 1] : tensor<?x2x256xf32> to tensor<?x2x128xf32>
  %f, %h = deepseek.swiglu %g, %u {power_of_two} : (tensor<?x2x128xf32>, tensor<?x2x128xf32>) -> (tensor<?x2x128xf32>, !h)
  return %h : !h
}
