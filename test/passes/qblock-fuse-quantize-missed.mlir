// RUN: quant-opt %s --qblock-fuse-quantize | FileCheck %s

!q = !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
!r = !qblock.tensor<?x300xf8E4M3FN, block<1x?>, f32>

// One op quantizes to one scheme; the other stays.
// CHECK-LABEL: @two_schemes
// CHECK: %[[Y:.*]], %{{.*}} = deepseek.rms_norm
// CHECK-NEXT: qblock.quantize %[[Y]]
func.func @two_schemes(%x: tensor<?x300xf32>, %g: tensor<300xbf16>) -> (!q, !r) {
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x300xf32>, tensor<300xbf16>) -> tensor<?x300xf32>
  %q = qblock.quantize %y : tensor<?x300xf32> -> !q
  %r = qblock.quantize %y : tensor<?x300xf32> -> !r
  return %q, %r : !q, !r
}

// One scheme with two floors is two.
// CHECK-LABEL: @two_floors
// CHECK: %[[Y:.*]], %{{.*}} = deepseek.rms_norm
// CHECK-NEXT: qblock.quantize %[[Y]]
func.func @two_floors(%x: tensor<?x300xf32>, %g: tensor<300xbf16>) -> (!q, !q) {
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x300xf32>, tensor<300xbf16>) -> tensor<?x300xf32>
  %q = qblock.quantize %y : tensor<?x300xf32> -> !q
  %r = qblock.quantize %y {amax_floor = 0.5} : tensor<?x300xf32> -> !q
  return %q, %r : !q, !q
}

// CHECK-LABEL: @other_producer
// CHECK: arith.addf
// CHECK-NEXT: qblock.quantize
func.func @other_producer(%x: tensor<?x300xf32>) -> !q {
  %y = arith.addf %x, %x : tensor<?x300xf32>
  %q = qblock.quantize %y : tensor<?x300xf32> -> !q
  return %q : !q
}
