// RUN: quant-opt %s --qblock-fuse-quantize | FileCheck %s

!q = !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>

// CHECK-LABEL: @norm
// CHECK: %[[Y:.*]], %[[Q:.*]] = deepseek.rms_norm {{.*}} -> (tensor<?x300xf32>, !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>)
// CHECK-NEXT: return %[[Q]]
func.func @norm(%x: tensor<?x300xf32>, %g: tensor<300xbf16>) -> !q {
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x300xf32>, tensor<300xbf16>) -> tensor<?x300xf32>
  %q = qblock.quantize %y : tensor<?x300xf32> -> !q
  return %q : !q
}

// The floating-point result stays for its other users, before and after the quantize.
// CHECK-LABEL: @other_users
// CHECK: %[[Y:.*]], %[[Q:.*]] = deepseek.swiglu
// CHECK-NEXT: arith.negf %[[Y]]
// CHECK-NOT: qblock.quantize
// CHECK: return %[[Q]], %[[Y]]
func.func @other_users(%g: tensor<?x300xf32>) -> (!q, tensor<?x300xf32>, tensor<?x300xf32>) {
  %y = deepseek.swiglu %g, %g : (tensor<?x300xf32>, tensor<?x300xf32>) -> tensor<?x300xf32>
  %n = arith.negf %y : tensor<?x300xf32>
  %q = qblock.quantize %y : tensor<?x300xf32> -> !q
  return %q, %y, %n : !q, tensor<?x300xf32>, tensor<?x300xf32>
}

// What the quantize says about its scales goes along.
// CHECK-LABEL: @attributes
// CHECK: deepseek.rms_norm {{.*}} {amax_floor = 5.000000e-01 : f64, eps = {{.*}}, power_of_two}
func.func @attributes(%x: tensor<?x300xf32>, %g: tensor<300xbf16>) -> !q {
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x300xf32>, tensor<300xbf16>) -> tensor<?x300xf32>
  %q = qblock.quantize %y {amax_floor = 0.5, power_of_two} : tensor<?x300xf32> -> !q
  return %q : !q
}

// The same quantize twice is one result.
// CHECK-LABEL: @twice
// CHECK: %{{.*}}, %[[Q:.*]] = deepseek.rms_norm
// CHECK-NEXT: return %[[Q]], %[[Q]]
func.func @twice(%x: tensor<?x300xf32>, %g: tensor<300xbf16>) -> (!q, !q) {
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x300xf32>, tensor<300xbf16>) -> tensor<?x300xf32>
  %q = qblock.quantize %y : tensor<?x300xf32> -> !q
  %r = qblock.quantize %y : tensor<?x300xf32> -> !q
  return %q, %r : !q, !q
}
