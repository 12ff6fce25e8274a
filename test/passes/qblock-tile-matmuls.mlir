// RUN: quant-opt %s --qblock-tile-matmuls --canonicalize --cse | FileCheck %s
// RUN: quant-opt %s --qblock-tile-matmuls=block-m=128 --canonicalize --cse | FileCheck %s --check-prefix=M128
// RUN: quant-opt %s --qblock-tile-matmuls="block-n=64 block-k=32" --canonicalize --cse | FileCheck %s --check-prefix=SMALL

// Blocks of 128x128: a grid over the rows of w, a loop over K; M stays whole.
// CHECK-LABEL: @even
// CHECK-SAME: %[[X:.*]]: tensor<?x256xf32>, %[[W:.*]]: !qblock.tensor
// CHECK: %[[ZERO:.*]] = linalg.fill
// CHECK: scf.forall (%[[N:.*]]) = (0) to (512) step (128) shared_outs(%{{.*}} = %[[ZERO]])
// CHECK: %[[ROWS:.*]] = qblock.extract_slice %[[W]][%[[N]], 0] [128, 256]
// CHECK: scf.for %[[K:.*]] = %c0 to %c256 step %c128
// CHECK: tensor.extract_slice %{{.*}}[0, %[[K]]] [%{{.*}}, 128] [1, 1] : tensor<?x256xf32> to tensor<?x128xf32>
// CHECK: qblock.extract_slice %[[ROWS]][0, %[[K]]] [128, 128] : {{.*}} to !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32>
// CHECK: qblock.matmul_acc {{.*}} -> tensor<?x128xf32>
// CHECK-NOT: qblock.matmul{{ }}

// block-m=128: the grid has two dimensions, of which the first counts tokens.
// M128-LABEL: @even
// M128: scf.forall (%[[M:.*]], %[[N:.*]]) = (0, 0) to (%{{.*}}, 512) step (128, 128)
// M128: tensor.extract_slice %{{.*}}[%[[M]], 0]
// M128: qblock.extract_slice %{{.*}}[%[[N]], 0] [128, 256]

// Tiles may lie inside a block.
// SMALL-LABEL: @even
// SMALL: scf.forall (%{{.*}}) = (0) to (512) step (64)
// SMALL: scf.for %{{.*}} = %c0 to %c256 step %c32
// SMALL: qblock.extract_slice {{.*}} [64, 32] : {{.*}} to !qblock.tensor<64x32xf8E4M3FN, block<128x128>, f32>
func.func private @even(%x: tensor<?x256xf32>, %w: !qblock.tensor<512x256xf8E4M3FN, block<128x128>, f32>) -> tensor<?x512xf32> {
  %y = qblock.matmul %x, %w : (tensor<?x256xf32>, !qblock.tensor<512x256xf8E4M3FN, block<128x128>, f32>) -> tensor<?x512xf32>
  return %y : tensor<?x512xf32>
}

// 300 rows and 300 columns: the last tile is of 44.
// CHECK-LABEL: @ragged
// CHECK: scf.forall (%[[N:.*]]) = (0) to (300) step (128)
// CHECK: %[[ROWS:.*]] = affine.min #[[REST:.*]](%[[N]])
// CHECK: qblock.extract_slice %{{.*}}[%[[N]], 0] [%[[ROWS]], 300] : {{.*}} to !qblock.tensor<?x300xi8, block<128x128>, f32>
// CHECK: scf.for %[[K:.*]] = %c0 to %c300 step %c128
// CHECK: %[[COLUMNS:.*]] = affine.min #[[REST]](%[[K]])
// CHECK: qblock.extract_slice %{{.*}}[0, %[[K]]] [%[[ROWS]], %[[COLUMNS]]] : {{.*}} to !qblock.tensor<?x?xi8, block<128x128>, f32>
func.func private @ragged(%x: tensor<?x300xf32>, %w: !qblock.tensor<300x300xi8, block<128x128>, f32>) -> tensor<?x300xf32> {
  %y = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<300x300xi8, block<128x128>, f32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// One tile needs neither grid nor loop. The accumulator is f32 all the same, rounded once.
// CHECK-LABEL: @one_tile
// CHECK-SAME: %[[X:.*]]: tensor<?x128xf32>, %[[W:.*]]: !qblock.tensor
// CHECK-NOT: scf.for
// CHECK: qblock.matmul_acc %{{.*}}, %[[W]] into %{{.*}} -> tensor<?x128xf32>
// CHECK: arith.truncf %{{.*}} : tensor<?x128xf32> to tensor<?x128xbf16>
func.func private @one_tile(%x: tensor<?x128xf32>, %w: !qblock.tensor<128x128xi8, block<128x128>, f32>) -> tensor<?x128xbf16> {
  %y = qblock.matmul %x, %w : (tensor<?x128xf32>, !qblock.tensor<128x128xi8, block<128x128>, f32>) -> tensor<?x128xbf16>
  return %y : tensor<?x128xbf16>
}

// Quantized activations are cut like weights: 128 of K are one group.
// CHECK-LABEL: @quantized
// CHECK: qblock.extract_slice %{{.*}}[0, %{{.*}}] [%{{.*}}, 128] : {{.*}} to !qblock.tensor<?x128xf8E4M3FN, block<1x128>, f32>
// M128-LABEL: @quantized
// M128: qblock.extract_slice %{{.*}}[%{{.*}}, 0] [%{{.*}}, 256] : {{.*}} to !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>
func.func private @quantized(%x: !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>, %w: !qblock.tensor<256x256xf8E4M3FN, block<128x128>, f32>) -> tensor<?x256xbf16> {
  %y = qblock.matmul %x, %w : (!qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>, !qblock.tensor<256x256xf8E4M3FN, block<128x128>, f32>) -> tensor<?x256xbf16>
  return %y : tensor<?x256xbf16>
}

// A scale for each row, for the whole tensor, for 32 columns: whatever the tiles do not cut through.
// CHECK-LABEL: @schemes
// CHECK-COUNT-3: qblock.matmul_acc
func.func private @schemes(%x: tensor<?x256xf32>, %a: !qblock.tensor<256x256xi8, block<1x?>, f32>, %b: !qblock.tensor<256x256xi8, block<?x?>, f32>,
                           %c: !qblock.tensor<256x256xi4, block<1x32>, f16, zero i8>) -> (tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>) {
  %0 = qblock.matmul %x, %a : (tensor<?x256xf32>, !qblock.tensor<256x256xi8, block<1x?>, f32>) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %b : (tensor<?x256xf32>, !qblock.tensor<256x256xi8, block<?x?>, f32>) -> tensor<?x256xf32>
  %2 = qblock.matmul %x, %c : (tensor<?x256xf32>, !qblock.tensor<256x256xi4, block<1x32>, f16, zero i8>) -> tensor<?x256xf32>
  return %0, %1, %2 : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>
}

// A block for each group and 128 rows of its weight. A group's rows are those between its offsets; gathered tokens stay whole.
// CHECK-LABEL: @grouped
// CHECK-SAME: %[[X:.*]]: tensor<?x256xf32>, %[[W:.*]]: !qblock.tensor<{{.*}}, %[[OFFSETS:.*]]: tensor<17xi32>, %[[ROWS:.*]]: tensor<?x8xi32>
// CHECK: %[[FLAT:.*]] = tensor.collapse_shape %[[ROWS]] {{\[\[}}0, 1]]
// CHECK: scf.forall (%[[G:.*]], %[[N:.*]]) = (0, 0) to (16, 192) step (1, 128) shared_outs(%[[ACC:.*]] = %{{.*}}) -> (tensor<?x192xf32>)
// CHECK: tensor.extract %[[OFFSETS]][%c0]
// CHECK: tensor.extract %[[OFFSETS]][%[[G]]]
// CHECK: qblock.extract_slice %[[W]][%[[G]], %[[N]], 0] [1, %{{.*}}, 256]
// CHECK: tensor.extract_slice %[[OFFSETS]][%[[G]]] [2] [1]
// CHECK: tensor.extract_slice %[[FLAT]][%[[FIRST:.*]]] [%[[COUNT:.*]]] [1]
// CHECK: tensor.extract_slice %[[ACC]][%[[FIRST]], %[[N]]] [%[[COUNT]], %{{.*}}]
// CHECK: scf.for %[[K:.*]] = %c0 to %c256 step %c128
// CHECK: qblock.grouped_matmul_acc {{.*}} gather(%{{.*}}) into {{.*}} {top_k = 8 : i64}
// CHECK: tensor.parallel_insert_slice %{{.*}} into %[[ACC]][%[[FIRST]], %[[N]]]
// CHECK: tensor.expand_shape {{.*}} : tensor<?x192xf32> into tensor<?x8x192xf32>
func.func private @grouped(%x: tensor<?x256xf32>, %w: !qblock.tensor<16x192x256xf8E4M3FN, block<1x128x128>, f32>,
                           %offsets: tensor<17xi32>, %rows: tensor<?x8xi32>) -> tensor<?x8x192xf32> {
  %y = qblock.grouped_matmul %x, %w, %offsets gather(%rows)
    : (tensor<?x256xf32>, !qblock.tensor<16x192x256xf8E4M3FN, block<1x128x128>, f32>, tensor<17xi32>, tensor<?x8xi32>) -> tensor<?x8x192xf32>
  return %y : tensor<?x8x192xf32>
}

// Not gathered: x has a row for each slot, cut like the result; quantized ones keep their scales.
// CHECK-LABEL: @grouped_slots
// CHECK: %[[CODES:.*]] = tensor.collapse_shape {{.*}} : tensor<?x8x256xf8E4M3FN> into tensor<?x256xf8E4M3FN>
// CHECK: %[[SCALES:.*]] = tensor.collapse_shape {{.*}} : tensor<?x8x2xf32> into tensor<?x2xf32>
// CHECK: %[[X:.*]] = qblock.assemble %[[CODES]], %[[SCALES]] : {{.*}} -> !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>
// CHECK: scf.forall
// CHECK: qblock.extract_slice %[[X]][%[[FIRST:.*]], 0] [%[[COUNT:.*]], 256]
// CHECK: tensor.extract_slice %{{.*}}[%[[FIRST]], %{{.*}}] [%[[COUNT]], %{{.*}}]
// CHECK: arith.truncf {{.*}} to tensor<?x8x192xbf16>
func.func private @grouped_slots(%x: !qblock.tensor<?x8x256xf8E4M3FN, block<1x1x128>, f32>,
                                 %w: !qblock.tensor<16x192x256xf8E4M3FN, block<1x128x128>, f32>,
                                 %offsets: tensor<17xi32>) -> tensor<?x8x192xbf16> {
  %y = qblock.grouped_matmul %x, %w, %offsets
    : (!qblock.tensor<?x8x256xf8E4M3FN, block<1x1x128>, f32>, !qblock.tensor<16x192x256xf8E4M3FN, block<1x128x128>, f32>, tensor<17xi32>) -> tensor<?x8x192xbf16>
  return %y : tensor<?x8x192xbf16>
}
