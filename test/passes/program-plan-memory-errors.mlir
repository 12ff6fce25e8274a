// RUN: quant-opt %s --program-plan-memory --split-input-file -verify-diagnostics
// RUN: not quant-opt %s --program-plan-memory=max-tokens=0 --split-input-file 2>&1 | FileCheck %s

// CHECK: error: max-tokens must be at least 1, not 0

// expected-error @+1 {{memory plan: there must be a function @forward}}
module {}

// -----

// expected-error @+1 {{memory plan: @forward must have one block, not 0}}
func.func private @forward(tensor<4xf32>)

// -----

func.func private @k() -> tensor<4xindex>
func.func @forward() {
  // expected-error @+1 {{memory plan: no size is known of 'tensor<4xindex>'}}
  %0 = program.dispatch @k() "" : () -> tensor<4xindex>
  return
}

// -----

func.func private @k() -> tensor<?x9223372036854775807xf32>
func.func @forward() {
  // expected-error @+1 {{memory plan: with 256 tokens there is no memory for 'tensor<?x9223372036854775807xf32>'}}
  %0 = program.dispatch @k() "" : () -> tensor<?x9223372036854775807xf32>
  return
}
