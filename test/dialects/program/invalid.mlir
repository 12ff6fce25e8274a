// Every message of the verifiers.
// RUN: quant-opt %s -verify-diagnostics -split-input-file

func.func @weight() {
  // expected-error @+1 {{needs the tensor's name in the checkpoint}}
  %0 = program.weight "" : tensor<4xf32>
  return
}

// -----

func.func @dynamic_weight() {
  // expected-error @+1 {{result #0 must be statically shaped tensor of any type values, but got 'tensor<?xf32>'}}
  %0 = program.weight "a" : tensor<?xf32>
  return
}

// -----

func.func @group_name() {
  // expected-error @+1 {{name must hold '{}' once, where the index goes: "a.{}.b.{}"}}
  %0 = program.weight_group "a.{}.b.{}" : tensor<8x4xf32>
  return
}

// -----

func.func @group_rank() {
  // expected-error @+1 {{result needs a leading dimension that counts the tensors, not 'tensor<8xf32>'}}
  %0 = program.weight_group "a.{}" : tensor<8xf32>
  return
}

// -----

func.func @cache() {
  // expected-error @+1 {{result #0 must be 2D memref of any type values, but got 'memref<f32>'}}
  %0 = program.cache "kv" : memref<f32>
  return
}

// -----

func.func @no_kernel() {
  // expected-error @+1 {{there is no kernel @k}}
  program.dispatch @k() "" : () -> ()
  return
}

// -----

func.func @wrong_operands(%x: tensor<4xf32>) {
  // expected-error @+1 {{does not fit the kernel @k of type '(tensor<5xf32>) -> ()'}}
  program.dispatch @k(%x) "" : (tensor<4xf32>) -> ()
  return
}
// expected-note @+1 {{the kernel is here}}
func.func private @k(tensor<5xf32>)

// -----

func.func @wrong_results() {
  // expected-error @+1 {{does not fit the kernel @k of type '() -> ()'}}
  %0 = program.dispatch @k() "" : () -> (tensor<4xf32>)
  return
}
// expected-note @+1 {{the kernel is here}}
func.func private @k()

// -----

func.func @placement() {
  // expected-error @+1 {{placement has 2 offsets for 1 results}}
  %0 = program.dispatch @k() "" {placement = array<i64: 0, 64>} : () -> (tensor<4xf32>)
  return
}
func.func private @k() -> tensor<4xf32>
