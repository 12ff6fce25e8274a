// A kernel that sm_90a has no code for says why; the others are lowered all the same.
// RUN: quant-opt %s --stage=target --stage-options=target=sm_90a | FileCheck %s

// CHECK: func.func private @embed_320({{.*}} program.launch = {
// CHECK: func.func private @matmul_i8_256x320({{.*}} program.unsupported = "a weight has a scheme that kernels do not know: !qblock.tensor<256x320xi8, block<1x2>, f32>"
// CHECK: gpu.module @sm_90a
// CHECK: llvm.func @embed_320(
// CHECK-NOT: llvm.func @matmul_i8_256x320(

func.func @forward(%ids: tensor<?xi32> {program.dim = #program.dim<tokens>}, %selected: tensor<?xi32> {program.dim = #program.dim<outputs>}) -> (tensor<?x256xf32> {program.dim = #program.dim<outputs>}) attributes {program.max_context = 64 : i64} {
  %table = program.weight "model.embed_tokens.weight" : tensor<512x320xbf16>
  %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x320xbf16>) -> tensor<?x320xf32>
  %d = program.weight "mlp.up_proj.weight" : tensor<256x320xi8>
  %s = program.weight "mlp.up_proj.weight_scale" : tensor<256x160xf32>
  %q = qblock.assemble %d, %s : (tensor<256x320xi8>, tensor<256x160xf32>) -> !qblock.tensor<256x320xi8, block<1x2>, f32>
  %w = qblock.dequantize %q : !qblock.tensor<256x320xi8, block<1x2>, f32> -> tensor<256x320xf32>
  %y = qblock.matmul %x, %w : (tensor<?x320xf32>, tensor<256x320xf32>) -> tensor<?x256xf32>
  %l = deepseek.select_tokens %y, %selected : (tensor<?x256xf32>, tensor<?xi32>) -> tensor<?x256xf32>
  return %l : tensor<?x256xf32>
}
