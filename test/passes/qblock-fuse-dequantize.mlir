// RUN: quant-opt %s --qblock-fuse-dequantize --canonicalize -verify-diagnostics | FileCheck %s

!w = !qblock.tensor<576x300xf8E4M3FN, block<128x128>, f32>

// CHECK-LABEL: @plain
// CHECK-SAME: %[[X:.*]]: tensor<?x300xf32>, %[[W:.*]]: !qblock.tensor
// CHECK-NEXT: %[[Y:.*]] = qblock.matmul %[[X]], %[[W]]
// CHECK-NEXT: return %[[Y]]
func.func @plain(%x: tensor<?x300xf32>, %w: !w) -> tensor<?x576xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  %y = qblock.matmul %x, %f : (tensor<?x300xf32>, tensor<576x300xf32>) -> tensor<?x576xf32>
  return %y : tensor<?x576xf32>
}

// Another user keeps the dequantized values; the matmul reads codes all the same.
// CHECK-LABEL: @other_user
// CHECK-SAME: %[[W:.*]]: !qblock.tensor
// CHECK: %[[F:.*]] = qblock.dequantize %[[W]]
// CHECK: qblock.matmul %{{.*}}, %[[W]]
// CHECK: return %[[F]]
func.func @other_user(%w: !w, %x: tensor<?x300xf32>) -> (tensor<576x300xf32>, tensor<?x576xf32>) {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  %y = qblock.matmul %x, %f : (tensor<?x300xf32>, tensor<576x300xf32>) -> tensor<?x576xf32>
  return %f, %y : tensor<576x300xf32>, tensor<?x576xf32>
}

// CHECK-LABEL: @through_casts
// CHECK-SAME: %[[W:[a-z0-9]*]]: !qblock.tensor
// CHECK-NEXT: qblock.matmul %{{.*}}, %[[W]]
func.func @through_casts(%w: !w, %x: tensor<?x300xf32>) -> tensor<?x576xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  %b = arith.truncf %f : tensor<576x300xf32> to tensor<576x300xbf16>
  %g = arith.extf %b : tensor<576x300xbf16> to tensor<576x300xf32>
  %y = qblock.matmul %x, %g : (tensor<?x300xf32>, tensor<576x300xf32>) -> tensor<?x576xf32>
  return %y : tensor<?x576xf32>
}

// Codes and scales are transposed instead, each with its own shape: 576x300 codes have 5x3 scales.
// CHECK-LABEL: @through_transpose
// CHECK: %[[D:.*]], %[[S:.*]] = qblock.storage
// CHECK: %[[DT:.*]] = linalg.transpose ins(%[[D]] : tensor<576x300xf8E4M3FN>) outs(%{{.*}} : tensor<300x576xf8E4M3FN>) permutation = [1, 0]
// CHECK: %[[ST:.*]] = linalg.transpose ins(%[[S]] : tensor<5x3xf32>) outs(%{{.*}} : tensor<3x5xf32>) permutation = [1, 0]
// CHECK: %[[W:.*]] = qblock.assemble %[[DT]], %[[ST]] : {{.*}} -> !qblock.tensor<300x576xf8E4M3FN, block<128x128>, f32>
// CHECK: qblock.matmul %{{.*}}, %[[W]]
func.func @through_transpose(%w: !w, %x: tensor<?x576xf32>) -> tensor<?x300xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  %e = tensor.empty() : tensor<300x576xf32>
  %t = linalg.transpose ins(%f : tensor<576x300xf32>) outs(%e : tensor<300x576xf32>) permutation = [1, 0]
  %y = qblock.matmul %x, %t : (tensor<?x576xf32>, tensor<300x576xf32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// Blocks that are not square turn with the matrix; zero points go along.
// CHECK-LABEL: @transpose_of_groups
// CHECK: %[[Z:.*]] = linalg.transpose ins(%{{.*}} : tensor<64x2xi8>) outs(%{{.*}} : tensor<2x64xi8>)
// CHECK: qblock.assemble %{{.*}}, %{{.*}}, %[[Z]] : {{.*}} -> !qblock.tensor<256x64xi4, block<128x1>, f16, zero i8>
func.func @transpose_of_groups(%w: !qblock.tensor<64x256xi4, block<1x128>, f16, zero i8>, %x: tensor<?x64xf32>) -> tensor<?x256xf32> {
  %f = qblock.dequantize %w : !qblock.tensor<64x256xi4, block<1x128>, f16, zero i8> -> tensor<64x256xf32>
  %e = tensor.empty() : tensor<256x64xf32>
  %t = linalg.transpose ins(%f : tensor<64x256xf32>) outs(%e : tensor<256x64xf32>) permutation = [1, 0]
  %y = qblock.matmul %x, %t : (tensor<?x64xf32>, tensor<256x64xf32>) -> tensor<?x256xf32>
  return %y : tensor<?x256xf32>
}

// Two transposes that cancel leave nothing behind.
// CHECK-LABEL: @double_transpose
// CHECK-SAME: %[[W:[a-z0-9]*]]: !qblock.tensor
// CHECK-NEXT: qblock.matmul %{{.*}}, %[[W]]
func.func @double_transpose(%w: !w, %x: tensor<?x300xf32>) -> tensor<?x576xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  %e = tensor.empty() : tensor<300x576xf32>
  %t = linalg.transpose ins(%f : tensor<576x300xf32>) outs(%e : tensor<300x576xf32>) permutation = [1, 0]
  %e2 = tensor.empty() : tensor<576x300xf32>
  %t2 = linalg.transpose ins(%t : tensor<300x576xf32>) outs(%e2 : tensor<576x300xf32>) permutation = [1, 0]
  %y = qblock.matmul %x, %t2 : (tensor<?x300xf32>, tensor<576x300xf32>) -> tensor<?x576xf32>
  return %y : tensor<?x576xf32>
}

// Two turns of three dimensions do not cancel: they are one other turn.
// CHECK-LABEL: @two_rotations
// CHECK: linalg.transpose {{.*}} outs(%{{.*}} : tensor<8x256x128xi8>) permutation = [2, 0, 1]
// CHECK: linalg.transpose {{.*}} outs(%{{.*}} : tensor<8x8x8xf32>) permutation = [2, 0, 1]
// CHECK: qblock.assemble {{.*}} -> !qblock.tensor<8x256x128xi8, block<1x32x16>, f32>
// CHECK-NOT: qblock.dequantize
func.func @two_rotations(%w: !qblock.tensor<256x128x8xi8, block<32x16x1>, f32>, %x: tensor<?x128xf32>, %o: tensor<9xi32>,
                         %rows: tensor<?x2xi32>) -> tensor<?x2x256xf32> {
  %f = qblock.dequantize %w : !qblock.tensor<256x128x8xi8, block<32x16x1>, f32> -> tensor<256x128x8xf32>
  %e = tensor.empty() : tensor<128x8x256xf32>
  %t = linalg.transpose ins(%f : tensor<256x128x8xf32>) outs(%e : tensor<128x8x256xf32>) permutation = [1, 2, 0]
  %e2 = tensor.empty() : tensor<8x256x128xf32>
  %t2 = linalg.transpose ins(%t : tensor<128x8x256xf32>) outs(%e2 : tensor<8x256x128xf32>) permutation = [1, 2, 0]
  %y = qblock.grouped_matmul %x, %t2, %o gather(%rows) : (tensor<?x128xf32>, tensor<8x256x128xf32>, tensor<9xi32>, tensor<?x2xi32>) -> tensor<?x2x256xf32>
  return %y : tensor<?x2x256xf32>
}

// CHECK-LABEL: @through_collapse
// CHECK: tensor.collapse_shape %{{.*}} {{\[\[}}0, 1], [2]] : tensor<1x576x300xf8E4M3FN> into tensor<576x300xf8E4M3FN>
// CHECK: tensor.collapse_shape %{{.*}} {{\[\[}}0, 1], [2]] : tensor<1x5x3xf32> into tensor<5x3xf32>
// CHECK: qblock.assemble {{.*}} -> !qblock.tensor<576x300xf8E4M3FN, block<128x128>, f32>
// CHECK-NOT: qblock.dequantize
func.func @through_collapse(%w: !qblock.tensor<1x576x300xf8E4M3FN, block<1x128x128>, f32>, %x: tensor<?x300xf32>) -> tensor<?x576xf32> {
  %f = qblock.dequantize %w : !qblock.tensor<1x576x300xf8E4M3FN, block<1x128x128>, f32> -> tensor<1x576x300xf32>
  %c = tensor.collapse_shape %f [[0, 1], [2]] : tensor<1x576x300xf32> into tensor<576x300xf32>
  %y = qblock.matmul %x, %c : (tensor<?x300xf32>, tensor<576x300xf32>) -> tensor<?x576xf32>
  return %y : tensor<?x576xf32>
}

// CHECK-LABEL: @through_expand
// CHECK: tensor.expand_shape %{{.*}} output_shape [1, 576, 300]
// CHECK: tensor.expand_shape %{{.*}} output_shape [1, 5, 3]
// CHECK: qblock.assemble {{.*}} -> !qblock.tensor<1x576x300xf8E4M3FN, block<1x128x128>, f32>
// CHECK-NOT: qblock.dequantize
func.func @through_expand(%w: !w, %x: tensor<?x300xf32>, %o: tensor<2xi32>, %rows: tensor<?x1xi32>) -> tensor<?x1x576xf32> {
  %f = qblock.dequantize %w : !w -> tensor<576x300xf32>
  %e = tensor.expand_shape %f [[0, 1], [2]] output_shape [1, 576, 300] : tensor<576x300xf32> into tensor<1x576x300xf32>
  %y = qblock.grouped_matmul %x, %e, %o gather(%rows) : (tensor<?x300xf32>, tensor<1x576x300xf32>, tensor<2xi32>, tensor<?x1xi32>) -> tensor<?x1x576xf32>
  return %y : tensor<?x1x576xf32>
}

// CHECK-LABEL: @experts
// CHECK-NOT: qblock.dequantize
// CHECK: deepseek.experts {{.*}}!qblock.tensor<8x256x300xi8, block<1x128x128>, f32>, !qblock.tensor<8x256x300xi8, block<1x128x128>, f32>, !qblock.tensor<8x300x256xi8, block<1x128x128>, f32>
func.func @experts(%x: tensor<?x300xf32>, %ids: tensor<?x2xi32>, %weights: tensor<?x2xf32>,
                   %g: !qblock.tensor<8x256x300xi8, block<1x128x128>, f32>, %d: !qblock.tensor<8x300x256xi8, block<1x128x128>, f32>) -> tensor<?x300xf32> {
  %gf = qblock.dequantize %g : !qblock.tensor<8x256x300xi8, block<1x128x128>, f32> -> tensor<8x256x300xf32>
  %df = qblock.dequantize %d : !qblock.tensor<8x300x256xi8, block<1x128x128>, f32> -> tensor<8x300x256xf32>
  %y = deepseek.experts %x, %ids, %weights, %gf, %gf, %df : (tensor<?x300xf32>, tensor<?x2xi32>, tensor<?x2xf32>,
    tensor<8x256x300xf32>, tensor<8x256x300xf32>, tensor<8x300x256xf32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// CHECK-LABEL: @attention
// CHECK-NOT: qblock.dequantize
// CHECK: deepseek.mla_attention {{.*}}!qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>
func.func @attention(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %gamma: tensor<32xbf16>, %w: !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>,
                     %rope: tensor<?x8xf32>, %cache: memref<?x40xf32>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %pages: tensor<?x4xi32>) -> tensor<?x32xf32> {
  %f = qblock.dequantize %w : !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32> -> tensor<64x32xf32>
  %0 = deepseek.mla_attention %q, %kv_a, %gamma, %f, %rope, %cache[%positions, %sequences, %pages]
    {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0e-6, softmax_scale = 0.25, interleaved = true}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xbf16>, tensor<64x32xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  return %0 : tensor<?x32xf32>
}

// Activations are no weights: the x of a matmul stays as it is, without a remark.
// CHECK-LABEL: @activations
// CHECK: qblock.dequantize
// CHECK: qblock.matmul %{{.*}}, %{{.*}} : (tensor<?x300xf32>, tensor<576x300xbf16>)
func.func @activations(%q: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, %w: tensor<576x300xbf16>) -> tensor<?x576xf32> {
  %x = qblock.dequantize %q : !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32> -> tensor<?x300xf32>
  %y = qblock.matmul %x, %w : (tensor<?x300xf32>, tensor<576x300xbf16>) -> tensor<?x576xf32>
  return %y : tensor<?x576xf32>
}
