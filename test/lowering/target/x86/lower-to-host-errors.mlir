// RUN: split-file %s %t
// RUN: quant-opt %t/forms.mlir --lower-to-host --split-input-file -verify-diagnostics
// RUN: not quant-opt %t/tiles.mlir --lower-to-host=isa=sse 2>&1 | FileCheck %s --check-prefix=ISA
// RUN: not quant-opt %t/tiles.mlir --qblock-tile-matmuls=block-k=128 --canonicalize --lower-to-host 2>&1 | FileCheck %s --check-prefix=TILES
// RUN: not quant-opt %t/grouped.mlir --qblock-tile-matmuls=block-k=128 --canonicalize --lower-to-host 2>&1 | FileCheck %s --check-prefix=GROUPED

// RUN: not quant-opt %t/parts.mlir --lower-to-host 2>&1 | FileCheck %s --check-prefix=PARTS
// RUN: sed 's/dot_tokens/dot_token/' %t/parameters.mlir | not quant-opt --lower-to-host 2>&1 | FileCheck %s --check-prefix=PARAMETER
// RUN: sed 's/8 : i64/65 : i64/' %t/parameters.mlir | not quant-opt --lower-to-host 2>&1 | FileCheck %s --check-prefix=VALUE

// ISA: error: there is no instruction set 'sse': amx, avx512bf16, avx512 or avx2

//--- forms.mlir

// expected-error @+1 {{computes nothing that the host knows}}
func.func private @k(%x: tensor<?x4xf32>) -> tensor<?x4xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  return %x : tensor<?x4xf32>
}

// -----

func.func private @k(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>) -> tensor<?x4xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  // expected-error @+1 {{not tiled: --qblock-tile-matmuls makes the grid that the host needs}}
  %y = qblock.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func private @k(%x: tensor<?x2x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>) -> tensor<?x2x4xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (8)>} {
  // expected-error @+1 {{not tiled: --qblock-tile-matmuls makes the grid that the host needs}}
  %y = qblock.grouped_matmul %x, %w, %o : (tensor<?x2x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>) -> tensor<?x2x4xf32>
  return %y : tensor<?x2x4xf32>
}

// -----

func.func private @k(%q: tensor<?x48xf32>, %kv_a: tensor<?x40xf32>, %g: tensor<32xf32>, %kv_b: tensor<64x32xf32>, %r: tensor<?x8xf32>, %c: memref<?x40xf32>, %p: tensor<?xi32>, %s: tensor<?xi32>, %t: tensor<?x4xi32>) -> tensor<?x32xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  // expected-error @+1 {{the host has no kernel for this op}}
  %y = deepseek.mla_attention %q, %kv_a, %g, %kv_b, %r, %c[%p, %s, %t] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, eps = 1.0, softmax_scale = 1.0, interleaved = true}
    : (tensor<?x48xf32>, tensor<?x40xf32>, tensor<32xf32>, tensor<64x32xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}

// -----

func.func private @k(%x: tensor<?x64xf32>, %g: tensor<64xf32>) -> tensor<?x64xf8E4M3FN> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  // expected-error @+1 {{the host quantizes in a kernel of its own}}
  %y, %q = deepseek.rms_norm %x, %g {eps = 1.0} : (tensor<?x64xf32>, tensor<64xf32>) -> (tensor<?x64xf32>, !qblock.tensor<?x64xf8E4M3FN, block<1x64>, f32>)
  %d, %s = qblock.storage %q : !qblock.tensor<?x64xf8E4M3FN, block<1x64>, f32> -> (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>)
  return %d : tensor<?x64xf8E4M3FN>
}

// -----

func.func private @k(%x: tensor<?x64xf32>) -> (tensor<?x64xi4>, tensor<?x1xf32>) attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  // expected-error @+1 {{the host quantizes rows to f8E4M3FN or i8 with f32 or f8E8M0FNU scales, not to '!qblock.tensor<?x64xi4, block<1x64>, f32>'}}
  %q = qblock.quantize %x : tensor<?x64xf32> -> !qblock.tensor<?x64xi4, block<1x64>, f32>
  %d, %s = qblock.storage %q : !qblock.tensor<?x64xi4, block<1x64>, f32> -> (tensor<?x64xi4>, tensor<?x1xf32>)
  return %d, %s : tensor<?x64xi4>, tensor<?x1xf32>
}

// -----

func.func private @k(%d: tensor<?x64xi8>, %s: tensor<?x1xf32>) -> tensor<?x64xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  %q = qblock.assemble %d, %s : (tensor<?x64xi8>, tensor<?x1xf32>) -> !qblock.tensor<?x64xi8, block<1x64>, f32>
  // expected-error @+1 {{the host dequantizes rows of f8E4M3FN to f32, not '!qblock.tensor<?x64xi8, block<1x64>, f32>' to 'tensor<?x64xf32>'}}
  %y = qblock.dequantize %q : !qblock.tensor<?x64xi8, block<1x64>, f32> -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

func.func private @k(%x: tensor<?x64xf32>, %s: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  %n = arith.negf %x : tensor<?x64xf32>
  // expected-error @+1 {{an operand is no view of the kernel's arguments that the host knows}}
  %y = deepseek.swiglu %n, %s : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

func.func private @k(%x: tensor<?x5xf32>, %d: tensor<1x4x5xi4>, %s: tensor<1x4x1xf32>, %o: tensor<2xi32>, %acc: tensor<?x4xf32>) -> tensor<?x4xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  %w = qblock.assemble %d, %s : (tensor<1x4x5xi4>, tensor<1x4x1xf32>) -> !qblock.tensor<1x4x5xi4, block<1x1x8>, f32>
  // expected-error @+1 {{rows of 5 4-bit codes do not start on a byte}}
  %y = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2} : (tensor<?x5xf32>, !qblock.tensor<1x4x5xi4, block<1x1x8>, f32>, tensor<2xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func private @k(%x: tensor<?x4xbf16>, %w: tensor<1x4x4xf32>, %o: tensor<2xi32>, %acc: tensor<?x4xf32>) -> tensor<?x4xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  // expected-error @+1 {{the host multiplies activations of f32, or of i8 with a scale for each row, not}}
  %y = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2} : (tensor<?x4xbf16>, tensor<1x4x4xf32>, tensor<2xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func private @k(%x: tensor<?x4xf32>, %w: tensor<1x4x4xf64>, %o: tensor<2xi32>, %acc: tensor<?x4xf32>) -> tensor<?x4xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  // expected-error @+1 {{the weight is of a type or a form that the host cannot read}}
  %y = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2} : (tensor<?x4xf32>, tensor<1x4x4xf64>, tensor<2xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

func.func private @k(%q: tensor<?x48xf32>, %a: tensor<32x32xf32>) -> tensor<?x64xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  %w = qblock.concat %a, %a : (tensor<32x32xf32>, tensor<32x32xf32>) -> tensor<64x32xf32>
  // expected-error @+1 {{q must be f32 rows and kv_b one tensor}}
  %y = deepseek.mla_absorb %q, %w {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<64x32xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

func.func private @k(%q: tensor<?x64xf32>, %a: tensor<32x32xf32>) -> tensor<?x32xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  %w = qblock.concat %a, %a : (tensor<32x32xf32>, tensor<32x32xf32>) -> tensor<64x32xf32>
  // expected-error @+1 {{x must be f32 rows and kv_b one tensor}}
  %y = deepseek.mla_expand %q, %w {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}

// -----

func.func @complete(%q: tensor<?x48xf32>, %kv_b: tensor<64x32xf32>, %r: tensor<?x8xf32>) -> tensor<?x80xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (2)>} {
  // expected-error @+1 {{queries complete with rope are for tensor cores: mla_core takes them apart}}
  %0 = deepseek.mla_absorb %q, %kv_b rope %r {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<64x32xf32>, tensor<?x8xf32>) -> tensor<?x80xf32>
  return %0 : tensor<?x80xf32>
}

// -----

func.func private @k(%x: tensor<?x64xf32>) -> tensor<?x64xbf16> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  %b = arith.truncf %x : tensor<?x64xf32> to tensor<?x64xbf16>
  // expected-error @+1 {{the host computes f32 results, not 'tensor<?x64xbf16>'}}
  %y = arith.addf %b, %b : tensor<?x64xbf16>
  return %y : tensor<?x64xbf16>
}

// -----

func.func private @k(%x: tensor<f32>) -> tensor<f32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (1)>} {
  // expected-error @+1 {{the host takes tensors whose first dimension alone is dynamic, not 'tensor<f32>'}}
  %y = arith.addf %x, %x : tensor<f32>
  return %y : tensor<f32>
}

// -----

func.func private @k(%x: tensor<4x?xf32>) -> tensor<4x?xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (4)>} {
  // expected-error @+1 {{the host takes tensors whose first dimension alone is dynamic, not 'tensor<4x?xf32>'}}
  %y = arith.addf %x, %x : tensor<4x?xf32>
  return %y : tensor<4x?xf32>
}

//--- tiles.mlir
#blocks = affine_map<(tokens, sequences, outputs, context) -> (3)>
// Tiles of any weight rows, but of all of K.
// TILES: error: the host cannot find its tile: a loop cuts it along K, of which a tile takes all
func.func private @k(%x: tensor<?x256xf32>, %w: tensor<300x256xf32>) -> tensor<?x300xf32> attributes {program.grid = #blocks} {
  %y = qblock.matmul %x, %w : (tensor<?x256xf32>, tensor<300x256xf32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

//--- grouped.mlir
// GROUPED: error: the host cannot find its tile: a loop cuts it along K, of which a tile takes all
func.func private @k(%x: tensor<?x2x256xf32>, %w: tensor<4x300x256xf32>, %o: tensor<5xi32>) -> tensor<?x2x300xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (12)>} {
  %y = qblock.grouped_matmul %x, %w, %o : (tensor<?x2x256xf32>, tensor<4x300x256xf32>, tensor<5xi32>) -> tensor<?x2x300xf32>
  return %y : tensor<?x2x300xf32>
}

//--- parts.mlir
// PARTS: error: input_parts is 3, but avx512 has no dot products of bf16
func.func private @k(%x: tensor<?x4xf32>) -> tensor<?x4xf32> attributes {
    program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>, program.schedule = #program.schedule<avx512, {input_parts = 3 : i64}>} {
  %y = arith.addf %x, %x : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

//--- parameters.mlir
// PARAMETER: error: the host's schedules have no parameter 'dot_token'
// VALUE: error: dot_tokens must be an integer from 1 to 64, not 65 : i64
func.func private @k(%x: tensor<?x4xf32>) -> tensor<?x4xf32> attributes {
    program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>, program.schedule = #program.schedule<avx512, {dot_tokens = 8 : i64}>} {
  %y = arith.addf %x, %x : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
