// RUN: quant-opt %s --program-outline-dispatches --split-input-file | FileCheck %s

// Equal kernels are one; labels come from locations; dims say which run-time size a row is.
// CHECK-DAG: #[[$TOKENS:.*]] = affine_map<(d0, d1, d2, d3) -> (d0)>
// CHECK-DAG: #[[$OUTPUTS:.*]] = affine_map<(d0, d1, d2, d3) -> (d2)>
// CHECK-DAG: #[[$BLOCKS:.*]] = affine_map<(d0, d1, d2, d3) -> (3)>
// CHECK-LABEL: func.func @forward
func.func @forward(%x: tensor<?x64xf32> {program.dim = #program.dim<tokens>}, %selected: tensor<?xi32> {program.dim = #program.dim<outputs>}) -> tensor<?x300xf32> {
  // CHECK: program.dispatch @rms_norm_64(%{{.*}}, %{{.*}}) "layer 0 input_layernorm"
  // CHECK: program.dispatch @rms_norm_64(%{{.*}}, %{{.*}}) "layer 1 input_layernorm"
  // Another eps is another kernel, of another name.
  // CHECK: program.dispatch @rms_norm_64_1(%{{.*}}, %{{.*}}) "deepseek.rms_norm"
  // CHECK: program.dispatch @select_tokens_64(%{{.*}}, %{{.*}}) "fused"
  // The weight's parts go into the kernel; assemble stays behind in no one's way.
  // CHECK-NOT: qblock.assemble
  // CHECK: program.dispatch @matmul_f8E4M3FN_300x64(%{{.*}}, %{{.*}}, %{{.*}}) "lm_head" : (tensor<?x64xf32>, tensor<300x64xf8E4M3FN>, tensor<3x1xf32>) -> tensor<?x300xf32>
  // CHECK-NEXT: return
  %g = program.weight "g" : tensor<64xbf16>
  %0 = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32> loc("layer 0 input_layernorm")
  %1 = deepseek.rms_norm %0, %g {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32> loc("layer 1 input_layernorm")
  %2 = deepseek.rms_norm %1, %g {eps = 1.0e-5} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  %3 = deepseek.select_tokens %2, %selected : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32> loc(fused["a.py":1:1, "fused", "other"])
  %d = program.weight "w" : tensor<300x64xf8E4M3FN>
  %s = program.weight "s" : tensor<3x1xf32>
  %w = qblock.assemble %d, %s : (tensor<300x64xf8E4M3FN>, tensor<3x1xf32>) -> !qblock.tensor<300x64xf8E4M3FN, block<128x128>, f32>
  %4 = qblock.matmul %3, %w : (tensor<?x64xf32>, !qblock.tensor<300x64xf8E4M3FN, block<128x128>, f32>) -> tensor<?x300xf32> loc("lm_head")
  return %4 : tensor<?x300xf32>
}

// CHECK: func.func private @rms_norm_64(%{{.*}}: tensor<?x64xf32> {program.dim = #program.dim<tokens>}, %{{.*}}: tensor<64xbf16>) -> (tensor<?x64xf32> {program.dim = #program.dim<tokens>})
// CHECK-SAME: program.grid = #[[$TOKENS]]
// CHECK: func.func private @rms_norm_64_1
// CHECK: func.func private @select_tokens_64({{.*}}#program.dim<tokens>{{.*}}: tensor<?xi32> {program.dim = #program.dim<outputs>}) -> (tensor<?x64xf32> {program.dim = #program.dim<outputs>})
// CHECK-SAME: program.grid = #[[$OUTPUTS]]
// CHECK: func.func private @matmul_f8E4M3FN_300x64(%{{.*}}: tensor<?x64xf32> {program.dim = #program.dim<outputs>}, {{.*}}) -> (tensor<?x300xf32> {program.dim = #program.dim<outputs>})
// CHECK-SAME: program.grid = #[[$BLOCKS]]
// CHECK: qblock.assemble
// CHECK: qblock.matmul
// CHECK-NOT: func.func

// -----

// Attention: kernels by head, by token and head, by token; the cache is an operand.
// CHECK-DAG: #[[$HEADS:.*]] = affine_map<(d0, d1, d2, d3) -> (2)>
// CHECK-DAG: #[[$TOKENS_HEADS:.*]] = affine_map<(d0, d1, d2, d3) -> (d0 * 2)>
// CHECK-LABEL: func.func @forward
func.func @forward(%q: tensor<?x48xf32> {program.dim = #program.dim<tokens>}, %kv_a: tensor<?x40xf32> {program.dim = #program.dim<tokens>}, %rope: tensor<?x8xf32> {program.dim = #program.dim<tokens>},
                   %positions: tensor<?xi32> {program.dim = #program.dim<tokens>}, %sequences: tensor<?xi32> {program.dim = #program.dim<tokens>}, %pages: tensor<?x4xi32> {program.dim = #program.dim<sequences>}) -> tensor<?x32xf32> {
  %g = program.weight "g" : tensor<32xbf16>
  %kv_b = program.weight "kv_b" : tensor<64x32xf32>
  %cache = program.cache "kv.0" : memref<?x40xf32>
  // CHECK: program.dispatch @latent_append_40(%{{.*}}) "deepseek.latent_append" : (tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x4xi32>) -> ()
  deepseek.latent_append %kv_a, %g, %rope, %cache[%positions, %sequences, %pages] {eps = 1.0e-6, interleaved = true} : tensor<?x40xf32>, tensor<32xbf16>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>
  %0 = deepseek.mla_absorb %q, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x48xf32>, tensor<64x32xf32>) -> tensor<?x64xf32>
  %1 = deepseek.mla_core %0, %q, %rope, %cache[%positions, %sequences, %pages] {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16, softmax_scale = 0.25, interleaved = true}
    : (tensor<?x64xf32>, tensor<?x48xf32>, tensor<?x8xf32>, memref<?x40xf32>, tensor<?x4xi32>) -> tensor<?x64xf32>
  %2 = deepseek.mla_expand %1, %kv_b {heads = 2, nope_dim = 16, rope_dim = 8, v_dim = 16} : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  return %2 : tensor<?x32xf32>
}
// CHECK: func.func private @latent_append_40({{.*}}: memref<?x40xf32> {program.dim = #program.dim<context>}, %{{.*}}: tensor<?xi32> {program.dim = #program.dim<tokens>}, %{{.*}}: tensor<?xi32> {program.dim = #program.dim<tokens>}, %{{.*}}: tensor<?x4xi32> {program.dim = #program.dim<sequences>}
// CHECK: func.func private @mla_absorb_64({{.*}}program.grid = #[[$HEADS]]
// CHECK: func.func private @mla_core_64({{.*}}program.grid = #[[$TOKENS_HEADS]]
// CHECK: func.func private @mla_expand_32({{.*}}program.grid = #[[$HEADS]]

// -----

// A quantized result leaves its kernel as codes and scales, and comes together again in the kernels that use it.
// CHECK-LABEL: func.func @forward
// CHECK: %[[Q:.*]]:2 = program.dispatch @quantize_f8E4M3FN_64(%{{.*}}) "qblock.quantize" : (tensor<?x64xf32>) -> (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>)
// CHECK: program.dispatch @matmul_f8E4M3FN_300x64(%[[Q]]#0, %[[Q]]#1, %{{.*}}, %{{.*}})
// CHECK: func.func private @quantize_f8E4M3FN_64({{.*}}) -> (tensor<?x64xf8E4M3FN> {program.dim = #program.dim<tokens>}, tensor<?x1xf32> {program.dim = #program.dim<tokens>})
// CHECK: qblock.storage
func.func @forward(%x: tensor<?x64xf32> {program.dim = #program.dim<tokens>}, %d: tensor<300x64xf8E4M3FN>, %s: tensor<3x1xf32>) -> tensor<?x300xf32> {
  %q = qblock.quantize %x : tensor<?x64xf32> -> !qblock.tensor<?x64xf8E4M3FN, block<1x128>, f32>
  %w = qblock.assemble %d, %s : (tensor<300x64xf8E4M3FN>, tensor<3x1xf32>) -> !qblock.tensor<300x64xf8E4M3FN, block<128x128>, f32>
  %y = qblock.matmul %q, %w : (!qblock.tensor<?x64xf8E4M3FN, block<1x128>, f32>, !qblock.tensor<300x64xf8E4M3FN, block<128x128>, f32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// -----

// A name that is taken is not taken twice.
// CHECK: program.dispatch @swiglu_64_1
// CHECK: func.func private @swiglu_64(i32)
// CHECK: func.func private @swiglu_64_1(
func.func @forward(%x: tensor<?x64xf32> {program.dim = #program.dim<tokens>}) -> tensor<?x64xf32> {
  %y = deepseek.swiglu %x, %x : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
func.func private @swiglu_64(i32)
