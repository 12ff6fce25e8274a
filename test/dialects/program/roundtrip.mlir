// RUN: quant-opt %s --verify-roundtrip | FileCheck %s
// RUN: quant-opt %s --mlir-print-op-generic | quant-opt | FileCheck %s
// RUN: quant-opt %s --emit-bytecode | quant-opt | FileCheck %s

// CHECK: module attributes {program.stage = "dispatched"}
module attributes {program.stage = "dispatched"} {
  // CHECK-LABEL: @forward
  // CHECK-SAME: program.dim = #program.dim<tokens>
  // CHECK-SAME: program.dim = #program.dim<sequences>, program.name = "pages"
  // CHECK-SAME: program.max_context = 64 : i64, program.max_tokens = 8 : i64, program.workspace_bytes = 2048 : i64
  func.func @forward(%x: tensor<?x64xf32> {program.dim = #program.dim<tokens>}, %p: tensor<?x1xi32> {program.dim = #program.dim<sequences>, program.name = "pages"})
      -> (tensor<?x64xf32> {program.dim = #program.dim<tokens>})
      attributes {program.max_context = 64 : i64, program.max_tokens = 8 : i64, program.workspace_bytes = 2048 : i64} {
    // CHECK: program.weight "model.norm.weight" : tensor<64xbf16>
    %g = program.weight "model.norm.weight" : tensor<64xbf16>
    // CHECK: program.weight "lm_head.weight" {aliases = ["model.embed_tokens.weight"]} : tensor<512x64xbf16>
    %h = program.weight "lm_head.weight" {aliases = ["model.embed_tokens.weight"]} : tensor<512x64xbf16>
    // CHECK: program.weight_group "experts.{}.up_proj.weight" : tensor<16x32x64xf8E4M3FN>
    %e = program.weight_group "experts.{}.up_proj.weight" : tensor<16x32x64xf8E4M3FN>
    // CHECK: program.weight "up_proj.qweight" {repack = "gptq_codes"} : tensor<32x64xui4>
    %q = program.weight "up_proj.qweight" {repack = "gptq_codes"} : tensor<32x64xui4>
    // CHECK: program.weight_group "experts.{}.scales" {repack = "transposed"} : tensor<16x32x2xf16>
    %t = program.weight_group "experts.{}.scales" {repack = "transposed"} : tensor<16x32x2xf16>
    // CHECK: program.weight "up.weight_packed" {order = "up.weight_g_idx"} : tensor<32x64xui4>
    %s = program.weight "up.weight_packed" {order = "up.weight_g_idx"} : tensor<32x64xui4>
    // CHECK: program.weight_group "experts.{}.g_idx" {group_size = 32 : i64, repack = "column_order"} : tensor<16x1x64xi32>
    %o = program.weight_group "experts.{}.g_idx" {group_size = 32 : i64, repack = "column_order"} : tensor<16x1x64xi32>
    // CHECK: program.cache "kv.0" : memref<?x40xf32>
    %kv = program.cache "kv.0" : memref<?x40xf32>
    // CHECK: program.dispatch @rms_norm_64(%{{.*}}, %{{.*}}) "layer 0 input_layernorm" {placement = array<i64: 0>} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
    %y = program.dispatch @rms_norm_64(%x, %g) "layer 0 input_layernorm" {placement = array<i64: 0>}
      : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
    // CHECK: program.dispatch @append(%{{.*}}) "layer 0 kv" : (memref<?x40xf32>) -> ()
    program.dispatch @append(%kv) "layer 0 kv" : (memref<?x40xf32>) -> ()
    // CHECK: program.dispatch @lowered(%{{.*}}) "any operands" : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %z = program.dispatch @lowered(%y) "any operands" : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
  // CHECK: func.func private @rms_norm_64({{.*}}) -> tensor<?x64xf32> attributes {program.grid =
  func.func private @rms_norm_64(tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
    attributes {program.grid = affine_map<(tokens, sequences, outputs, context) -> (tokens)>, program.unsupported = "not yet"}
  func.func private @append(memref<?x40xf32>)
  // A kernel in the host ABI takes tables, whatever the dispatch's operands are.
  func.func private @lowered(!llvm.ptr, !llvm.ptr, !llvm.ptr, i64, i64) attributes {program.scratch_bytes = 0 : i64}
}

// CHECK-LABEL: @scheduled
// CHECK-SAME: program.schedule = [#program.schedule<tensor, m = [1, 16], {block_m = 16 : i64, swap_ab}, why = "small M", next = "64 x 128">, #program.schedule<simt, m = [17, 4096]>]
func.func private @scheduled() attributes {program.schedule = [
  #program.schedule<tensor, m = [1, 16], {block_m = 16 : i64, swap_ab}, why = "small M", next = "64 x 128">,
  #program.schedule<simt, m = [17, 4096]>]}
