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

// -----

// expected-error @+1 {{program.dim must be one of #program.dim<tokens>, <sequences>, <outputs>, <context>, not "tokens"}}
func.func private @untyped_dim(tensor<?x64xf32> {program.dim = "tokens"})

// -----

// expected-error @+2 {{expected ::quant::program::Dim to be one of}}
// expected-error @+1 {{failed to parse Program_DimAttr parameter 'value'}}
func.func private @misspelt_dim(tensor<?x64xf32> {program.dim = #program.dim<token>})

// -----

// expected-error @+1 {{program.dim is of a leading dimension, not of 'f32'}}
func.func private @dim_of_scalar(f32 {program.dim = #program.dim<tokens>})

// -----

// expected-error @+1 {{there is no attribute 'program.dims' of arguments and results}}
func.func private @misspelt_argument_attribute(index {program.dims = #program.dim<tokens>})

// -----

// expected-error @+1 {{there is no attribute 'program.gird'}}
func.func private @misspelt_attribute() attributes {program.gird = affine_map<(d0, d1, d2, d3) -> (d0)>}

// -----

// expected-error @+1 {{program.grid must be an affine map of (tokens, sequences, outputs, context), not affine_map<(d0) -> (d0)>}}
func.func private @grid() attributes {program.grid = affine_map<(d0) -> (d0)>}

// -----

// expected-error @+1 {{program.scratch_bytes must be an i64 that is not negative, not -1}}
func.func private @scratch() attributes {program.scratch_bytes = -1 : i64}

// -----

// expected-error @+1 {{program.schedule must be a #program.schedule<...> or a list of them, not "simt"}}
func.func private @schedule() attributes {program.schedule = "simt"}

// -----

// expected-error @+1 {{program.schedule: the schedules must be for M from 1 on without a gap; one for M = 17 is missing before #program.schedule<tensor, m = [18, 64]>}}
func.func private @gap() attributes {program.schedule = [#program.schedule<tensor, m = [1, 16]>, #program.schedule<tensor, m = [18, 64]>]}

// -----

// expected-error @+1 {{program.schedule: the only schedule of a kernel is for every M}}
func.func private @range() attributes {program.schedule = #program.schedule<tensor, m = [1, 16]>}

// -----

// expected-error @+1 {{tile must be array<i64: M, N, K> with 0 for all of a dimension, not 128 : i64}}
func.func private @tile() attributes {program.schedule = #program.schedule<avx512, {tile = 128 : i64}>}

// -----

// expected-error @+1 {{m must be [first, last], not array<i64: 3, 1>}}
func.func private @backwards() attributes {program.schedule = [#program.schedule<tensor, m = [3, 1]>]}

// -----

// expected-error @+1 {{program.launch: a recipe must be a dictionary, not "{}"}}
func.func private @launch() attributes {program.launch = "{}"}

// -----

// expected-error @+1 {{program.launch: the recipe}}
func.func private @incomplete_launch() attributes {program.launch = {kernel = "k"}}

// -----

func.func @unknown_repack() {
  // expected-error @+1 {{repack: "marlin" is no repack}}
  %0 = program.weight "a.qweight" {repack = "marlin"} : tensor<8x16xui4>
  return
}

// -----

func.func @repack_of_another_type() {
  // expected-error @+1 {{repack: gptq_codes gives no i8}}
  %0 = program.weight "a.qweight" {repack = "gptq_codes"} : tensor<8x16xi8>
  return
}

// -----

func.func @repack_of_partial_words() {
  // expected-error @+1 {{repack: awq_codes of 12 rows and 16 columns: they do not fill words of eight}}
  %0 = program.weight_group "a.{}.qweight" {repack = "awq_codes"} : tensor<4x12x16xui4>
  return
}

// -----

func.func @order_without_groups() {
  // expected-error @+1 {{a column_order has a group_size above 0, nothing else has one}}
  %0 = program.weight "a.g_idx" {repack = "column_order"} : tensor<1x16xi32>
  return
}

// -----

func.func @order_of_an_order() {
  // expected-error @+1 {{order is the name of the tensor by whose groups columns of rows are sorted, not of}}
  %0 = program.weight "a.g_idx" {repack = "column_order", group_size = 8 : i64, order = "a.g_idx"} : tensor<1x16xi32>
  return
}

// -----

func.func @order_of_one_expert() {
  // expected-error @+1 {{order must hold '{}' once, as the name does: "a.0.g_idx"}}
  %0 = program.weight_group "a.{}.qweight" {repack = "gptq_codes", order = "a.0.g_idx"} : tensor<4x8x16xui4>
  return
}

// -----

func.func @repack_of_a_vector() {
  // expected-error @+1 {{repack gives rows and columns of a tensor}}
  %0 = program.weight "a.scales" {repack = "transposed"} : tensor<16xf16>
  return
}
