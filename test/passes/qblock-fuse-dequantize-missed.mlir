// What keeps a dequantize: a remark at the op, a note at what stands between. The IR stays as it is.
// RUN: quant-opt %s --qblock-fuse-dequantize -verify-diagnostics | FileCheck %s

!w = !qblock.tensor<576x300xf8E4M3FN, block<128x128>, f32>

// CHECK-LABEL: @arithmetic
// CHECK: qblock.matmul %{{.*}}, %{{.*}} : (tensor<?x300xf32>, tensor<576x300xf32>)
func.func @arithmetic(%w: !w, %x: tensor<?x300xf32>, %lora: tensor<576x300xf32>) -> tensor<?x576xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  // expected-note @+1 {{by this arith.addf}}
  %s = arith.addf %f, %lora : tensor<576x300xf32>
  // expected-remark @+1 {{dequantize not fused: operand 1 is changed in a way that does not keep blocks whole}}
  %y = qblock.matmul %x, %s : (tensor<?x300xf32>, tensor<576x300xf32>) -> tensor<?x576xf32>
  return %y : tensor<?x576xf32>
}

// A reshape that splits a dimension in two splits blocks.
// CHECK-LABEL: @reshape
// CHECK: tensor.expand_shape {{.*}} tensor<576x300xf32>
func.func @reshape(%w: !w, %x: tensor<?x300xf32>, %o: tensor<3xi32>, %rows: tensor<?x1xi32>) -> tensor<?x1x288xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  // expected-note @+1 {{by this tensor.expand_shape}}
  %e = tensor.expand_shape %f [[0, 1], [2]] output_shape [2, 288, 300] : tensor<576x300xf32> into tensor<2x288x300xf32>
  // expected-remark @+1 {{dequantize not fused}}
  %y = qblock.grouped_matmul %x, %e, %o gather(%rows) : (tensor<?x300xf32>, tensor<2x288x300xf32>, tensor<3xi32>, tensor<?x1xi32>) -> tensor<?x1x288xf32>
  return %y : tensor<?x1x288xf32>
}

// The innermost op in the way is named, not those that could be looked through.
// CHECK-LABEL: @behind_a_transpose
func.func @behind_a_transpose(%w: !w, %x: tensor<?x576xf32>) -> tensor<?x300xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  // expected-note @+1 {{by this arith.negf}}
  %n = arith.negf %f : tensor<576x300xf32>
  %e = tensor.empty() : tensor<300x576xf32>
  %t = linalg.transpose ins(%n : tensor<576x300xf32>) outs(%e : tensor<300x576xf32>) permutation = [1, 0]
  // expected-remark @+1 {{dequantize not fused}}
  %y = qblock.matmul %x, %t : (tensor<?x576xf32>, tensor<300x576xf32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// Weights are static; a dynamic transpose is not rebuilt.
// CHECK-LABEL: @dynamic
func.func @dynamic(%w: !qblock.tensor<4x?xi8, block<1x?>, f32>, %x: tensor<?x4xf32>, %e: tensor<?x4xf32>) -> tensor<?x?xf32> {
  %f = qblock.dequantize %w : !qblock.tensor<4x?xi8, block<1x?>, f32> -> tensor<4x?xf32>
  // expected-note @+1 {{by this linalg.transpose}}
  %t = linalg.transpose ins(%f : tensor<4x?xf32>) outs(%e : tensor<?x4xf32>) permutation = [1, 0]
  // expected-remark @+1 {{dequantize not fused}}
  %y = qblock.matmul %x, %t : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// No remark where no dequantize is: a bf16 weight that is transposed.
// CHECK-LABEL: @no_dequantize
func.func @no_dequantize(%w: tensor<300x576xbf16>, %x: tensor<?x300xf32>, %e: tensor<576x300xbf16>) -> tensor<?x576xf32> {
  %t = linalg.transpose ins(%w : tensor<300x576xbf16>) outs(%e : tensor<576x300xbf16>) permutation = [1, 0]
  %y = qblock.matmul %x, %t : (tensor<?x300xf32>, tensor<576x300xbf16>) -> tensor<?x576xf32>
  return %y : tensor<?x576xf32>
}
