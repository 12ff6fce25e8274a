// RUN: quant-opt %s --program-outline-dispatches --split-input-file -verify-diagnostics

// expected-error @+1 {{outlining: there must be a function @forward}}
module {}

// -----

// expected-error @+1 {{outlining: @forward must have one block, not 0}}
func.func private @forward(tensor<4xf32>)

// -----

// expected-error @+1 {{outlining: @forward must have one block, not 2}}
func.func @forward() {
  cf.br ^end
^end:
  return
}

// -----

func.func @forward(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @+1 {{no kernel can be made of arith.mulf}}
  %0 = arith.mulf %x, %x : tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

func.func @forward(%x: f32) -> f32 {
  // expected-error @+1 {{no kernel can be made of arith.addf}}
  %0 = arith.addf %x, %x : f32
  return %0 : f32
}

// -----

// An op without operands and results.
func.func @forward() {
  // expected-error @+1 {{no kernel can be made of llvm.fence}}
  llvm.fence seq_cst
  return
}
