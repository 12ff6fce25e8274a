// One violation of each stage's contract after another.
// RUN: split-file %s %t
// RUN: not quant-opt %t/empty.mlir --verify-stage=name=linked 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: quant-opt %t/model.mlir --verify-stage=name=model --split-input-file -verify-diagnostics
// RUN: quant-opt %t/fused.mlir --verify-stage=name=fused --split-input-file -verify-diagnostics
// RUN: quant-opt %t/dispatched.mlir --verify-stage=name=dispatched --split-input-file -verify-diagnostics
// RUN: quant-opt %t/scheduled.mlir --verify-stage=name=scheduled --split-input-file -verify-diagnostics
// RUN: quant-opt %t/tiled.mlir --verify-stage=name=tiled --split-input-file -verify-diagnostics
// RUN: quant-opt %t/target.mlir --verify-stage=name=target --split-input-file -verify-diagnostics

//--- empty.mlir

// NAME: error: there is no stage 'linked': model, fused, dispatched, scheduled, tiled or target

//--- model.mlir

// expected-error @+1 {{stage model: there must be a function @forward}}
module {}

// -----

// expected-error @+1 {{stage model: @forward must have one block, not 0}}
func.func private @forward()

//--- fused.mlir

func.func @matmul(%x: tensor<?x300xf32>, %w: !qblock.tensor<256x300xi8, block<128x128>, f32>) -> tensor<?x256xf32> {
  %f = qblock.dequantize %w : !qblock.tensor<256x300xi8, block<128x128>, f32> -> tensor<256x300xf32>
  // expected-error @+1 {{stage fused: reads a dequantized weight}}
  %y = qblock.matmul %x, %f : (tensor<?x300xf32>, tensor<256x300xf32>) -> tensor<?x256xf32>
  return %y : tensor<?x256xf32>
}

// -----

func.func @experts(%x: tensor<?x4xf32>, %i: tensor<?x2xi32>, %w: tensor<?x2xf32>, %g: tensor<8x4x4xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{stage fused: must have been decomposed}}
  %0 = deepseek.experts %x, %i, %w, %g, %g, %g : (tensor<?x4xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x4x4xf32>, tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

//--- dispatched.mlir

// expected-error @+1 {{stage dispatched: @forward must have a memory plan}}
func.func @forward() {
  return
}

// -----

// expected-error @+1 {{stage dispatched: @forward must have one block, not 0}}
func.func private @forward() attributes {program.workspace_bytes = 0 : i64}

// -----

func.func @forward(%x: tensor<4xf32>) attributes {program.workspace_bytes = 0 : i64} {
  // expected-error @+1 {{stage dispatched: @forward may hold weights, caches and dispatches only}}
  %y = arith.negf %x : tensor<4xf32>
  return
}

// -----

func.func @forward() attributes {program.workspace_bytes = 0 : i64} {
  // expected-error @+1 {{stage dispatched: results have no place in the workspace}}
  %y = program.dispatch @k() "" : () -> tensor<4xf32>
  return
}
func.func private @k() -> tensor<4xf32>

// -----

func.func @forward() attributes {program.workspace_bytes = 0 : i64} {
  return
}
// expected-error @+1 {{stage dispatched: kernel without a grid}}
func.func private @k() -> tensor<4xf32>

//--- scheduled.mlir

// expected-error @+1 {{stage scheduled: kernel without a schedule}}
func.func private @k(%x: tensor<?x4xf32>) -> tensor<?x4xf32> attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>} {
  return %x : tensor<?x4xf32>
}

//--- tiled.mlir

func.func @k(%x: tensor<?x300xf32>, %w: tensor<256x300xf32>) -> tensor<?x256xf32> {
  // expected-error @+1 {{stage tiled: a matmul must have been cut into tiles}}
  %y = qblock.matmul %x, %w : (tensor<?x300xf32>, tensor<256x300xf32>) -> tensor<?x256xf32>
  return %y : tensor<?x256xf32>
}

//--- target.mlir

func.func @k(%x: tensor<?x64xf32>, %g: tensor<64xbf16>) -> tensor<?x64xf32> {
  // expected-error @+1 {{stage target: not lowered}}
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
