// RUN: quant-opt %s --qblock-tile-matmuls --split-input-file -verify-diagnostics
// RUN: not quant-opt %s --qblock-tile-matmuls=block-k=0 --split-input-file 2>&1 | FileCheck %s

// CHECK: error: block sizes must be positive (block-m may be 0)

func.func @dynamic(%x: tensor<?x9xf32>, %w: tensor<?x9xf32>) -> tensor<?x?xf32> {
  // expected-error @+1 {{cannot be tiled: the weight must have static sizes other than 0, not 'tensor<?x9xf32>'}}
  %y = qblock.matmul %x, %w : (tensor<?x9xf32>, tensor<?x9xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

func.func @empty(%x: tensor<?x0xf32>, %w: tensor<4x0xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{cannot be tiled: the weight must have static sizes other than 0, not 'tensor<4x0xf32>'}}
  %y = qblock.matmul %x, %w : (tensor<?x0xf32>, tensor<4x0xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func @f64(%x: tensor<?x4xf64>, %w: tensor<4x4xf64>) -> tensor<?x4xf64> {
  // expected-error @+1 {{cannot be tiled: accumulates in f32, the result is 'tensor<?x4xf64>'}}
  %y = qblock.matmul %x, %w : (tensor<?x4xf64>, tensor<4x4xf64>) -> tensor<?x4xf64>
  return %y : tensor<?x4xf64>
}

// -----

func.func @cuts_blocks(%x: tensor<?x300xf32>, %w: !qblock.tensor<256x300xi8, block<100x100>, f32>) -> tensor<?x256xf32> {
  // expected-error @+1 {{cannot be tiled: tiles of 128 cut through the blocks of 100 of '!qblock.tensor<256x300xi8, block<100x100>, f32>'}}
  %y = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<100x100>, f32>) -> tensor<?x256xf32>
  return %y : tensor<?x256xf32>
}

// -----

func.func @grouped_rows_share_scales(%x: !qblock.tensor<?x8x256xf8E4M3FN, block<1x8x128>, f32>,
                                     %w: !qblock.tensor<16x128x256xf8E4M3FN, block<1x128x128>, f32>, %o: tensor<17xi32>) -> tensor<?x8x128xf32> {
  // expected-error @+1 {{cannot be tiled: x must have scales for each row, not '!qblock.tensor<?x8x256xf8E4M3FN, block<1x8x128>, f32>'}}
  %y = qblock.grouped_matmul %x, %w, %o : (!qblock.tensor<?x8x256xf8E4M3FN, block<1x8x128>, f32>,
    !qblock.tensor<16x128x256xf8E4M3FN, block<1x128x128>, f32>, tensor<17xi32>) -> tensor<?x8x128xf32>
  return %y : tensor<?x8x128xf32>
}
