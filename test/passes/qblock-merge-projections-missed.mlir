// Matmuls that must stay apart.
// RUN: quant-opt %s --qblock-merge-projections | FileCheck %s

// CHECK-NOT: qblock.concat

!a = !qblock.tensor<256x300xi8, block<128x128>, f32>

// CHECK-LABEL: @different_inputs
func.func @different_inputs(%x: tensor<?x300xf32>, %z: tensor<?x300xf32>, %w: !a) -> (tensor<?x256xf32>, tensor<?x256xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !a) -> tensor<?x256xf32>
  %1 = qblock.matmul %z, %w : (tensor<?x300xf32>, !a) -> tensor<?x256xf32>
  return %0, %1 : tensor<?x256xf32>, tensor<?x256xf32>
}

// CHECK-LABEL: @different_schemes
func.func @different_schemes(%x: tensor<?x300xf32>, %w: !a, %b: !qblock.tensor<256x300xi8, block<1x128>, f32>,
                             %s: !qblock.tensor<256x300xi8, block<128x128>, f16>, %f: tensor<256x300xbf16>)
    -> (tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !a) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %b : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<1x128>, f32>) -> tensor<?x256xf32>
  %2 = qblock.matmul %x, %s : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<128x128>, f16>) -> tensor<?x256xf32>
  %3 = qblock.matmul %x, %f : (tensor<?x300xf32>, tensor<256x300xbf16>) -> tensor<?x256xf32>
  return %0, %1, %2, %3 : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>
}

// Two ragged ones: only one can go last.
// CHECK-LABEL: @two_ragged
func.func @two_ragged(%x: tensor<?x300xf32>, %w: !qblock.tensor<576x300xi8, block<128x128>, f32>) -> (tensor<?x576xf32>, tensor<?x576xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<576x300xi8, block<128x128>, f32>) -> tensor<?x576xf32>
  %1 = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<576x300xi8, block<128x128>, f32>) -> tensor<?x576xf32>
  return %0, %1 : tensor<?x576xf32>, tensor<?x576xf32>
}

// One scale for all rows ends at no edge.
// CHECK-LABEL: @per_tensor
func.func @per_tensor(%x: tensor<?x300xf32>, %w: !qblock.tensor<256x300xi8, block<?x?>, f32>) -> (tensor<?x256xf32>, tensor<?x256xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<?x?>, f32>) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<?x?>, f32>) -> tensor<?x256xf32>
  return %0, %1 : tensor<?x256xf32>, tensor<?x256xf32>
}

// CHECK-LABEL: @different_results
func.func @different_results(%x: tensor<?x300xf32>, %w: !a) -> (tensor<?x256xf32>, tensor<?x256xbf16>) {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !a) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %w : (tensor<?x300xf32>, !a) -> tensor<?x256xbf16>
  return %0, %1 : tensor<?x256xf32>, tensor<?x256xbf16>
}

// CHECK-LABEL: @dynamic_rows
func.func @dynamic_rows(%x: tensor<?x4xf32>, %w: tensor<?x4xf32>) -> (tensor<?x?xf32>, tensor<?x?xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x?xf32>
  %1 = qblock.matmul %x, %w : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x?xf32>
  return %0, %1 : tensor<?x?xf32>, tensor<?x?xf32>
}

// The second weight is computed from the first matmul.
// CHECK-LABEL: @depends_on_the_other
func.func @depends_on_the_other(%x: tensor<4x4xf32>, %w: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %0 = qblock.matmul %x, %w : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %n = arith.negf %0 : tensor<4x4xf32>
  %1 = qblock.matmul %x, %n : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  return %1 : tensor<4x4xf32>
}

// CHECK-LABEL: @different_blocks
func.func @different_blocks(%x: tensor<4x4xf32>, %w: tensor<4x4xf32>, %c: i1) -> (tensor<4x4xf32>, tensor<4x4xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %1 = scf.if %c -> tensor<4x4xf32> {
    %2 = qblock.matmul %x, %w : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
    scf.yield %2 : tensor<4x4xf32>
  } else {
    scf.yield %w : tensor<4x4xf32>
  }
  return %0, %1 : tensor<4x4xf32>, tensor<4x4xf32>
}
