// The same MLP on its way to H100 kernels: from `fused` on it differs from mlp.mlir, since activations are quantized online.
// RUN: quant-opt %s --stage=fused --stage-options=target=sm_90a | FileCheck %s --check-prefix=FUSED
// RUN: quant-opt %s --stage=scheduled --stage-options=target=sm_90a | FileCheck %s --check-prefix=SCHEDULED
// RUN: quant-opt %s --stage=tiled --stage-options=target=sm_90a | FileCheck %s --check-prefix=TILED
// RUN: quant-opt %s --stage=target --stage-options=target=sm_90a | FileCheck %s --check-prefix=TARGET
// RUN: quant-opt %s --stage=target --stage-options="target=sm_90a activations=bf16" | FileCheck %s --check-prefix=BF16
// RUN: quant-opt %s --stage=fused --stage-options="target=sm_90a scale-format=ue8m0" | FileCheck %s --check-prefix=UE8M0

// FUSED-NOT: qblock.dequantize
// FUSED: %[[X:.*]] = qblock.quantize %{{.*}} : tensor<?x320xf32> -> !qblock.tensor<?x320xf8E4M3FN, block<1x128>, f32, k_major>
// FUSED: qblock.matmul %[[X]], %{{.*}} -> tensor<?x512xbf16>
// FUSED: %{{.*}}, %[[H:.*]] = deepseek.swiglu {{.*}} -> (tensor<?x256xf32>, !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32, k_major>)
// FUSED: qblock.matmul %[[H]], %{{.*}} -> tensor<?x320xbf16>

// UE8M0: qblock.quantize %{{.*}} {power_of_two}
// UE8M0: deepseek.swiglu %{{.*}} {power_of_two}

// A schedule from the cost model, with its reason.
// SCHEDULED: func.func private @embed_320({{.*}} program.schedule = #program.schedule<simt>
// SCHEDULED: func.func private @matmul_f8E4M3FN_512x320({{.*}} program.schedule = #program.schedule<tensor, {block_m = [[#M:]] : i64, block_n = [[#N:]] : i64{{.*}} why = "at M = {{.*}}", next = "sm90_fp8_gemm_1d2d_n512_k320_{{.*}} us, this one {{.*}} us">

// Its tiles, in the hopper dialect: what runs. The sums are rounded to bf16 at the end.
// TILED: func.func private @matmul_f8E4M3FN_512x320({{.*}} program.launch = {
// TILED-NOT: qblock.matmul
// TILED: gpu.module @sm_90a
// TILED: hopper.kernel @sm90_fp8_gemm_1d2d_n512_k320_bm[[#M:]]_bn[[#N:]]
// TILED: hopper.for_tiles {{.*}} x 512 tile [[[#M]], [[#N]]]
// TILED: hopper.wgmma

// Matmuls on the tensor cores, the rest without.
// TARGET: func.func private @embed_320({{.*}} program.launch = {
// TARGET: func.func private @matmul_f8E4M3FN_512x320({{.*}} program.launch = {
// TARGET: func.func private @matmul_f8E4M3FN_320x256({{.*}} program.launch = {
// TARGET: gpu.module @sm_90a
// The cost model chooses the tile.
// TARGET: llvm.func @sm90_fp8_gemm_1d2d_n512_k320_bm
// TARGET: nvvm.wgmma.mma_async {{.*}} <m = 64, n = {{[0-9]+}}, k = 32>, {{.*}}<e4m3>{{.*}}<e4m3>
// TARGET: nvvm.cp.async.bulk.tensor.shared.cluster.global
// TARGET: llvm.func @sm90_fp8_gemm_1d2d_n320_k256_bm

// Activations that are not quantized: no tensor cores.
// BF16: @matmul_f8E4M3FN_512x320({{.*}} program.launch = {
// BF16-NOT: wgmma
// BF16: llvm.func @matmul_f8E4M3FN_512x320(
// BF16-NOT: wgmma

func.func @forward(%ids: tensor<?xi32> {program.dim = #program.dim<tokens>}, %selected: tensor<?xi32> {program.dim = #program.dim<outputs>}) -> (tensor<?x320xf32> {program.dim = #program.dim<outputs>}) attributes {program.max_context = 64 : i64} {
  %table = program.weight "model.embed_tokens.weight" : tensor<512x320xbf16>
  %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x320xbf16>) -> tensor<?x320xf32>
  %gd = program.weight "mlp.gate_proj.weight" : tensor<256x320xf8E4M3FN>
  %gs = program.weight "mlp.gate_proj.weight_scale_inv" : tensor<2x3xf32>
  %gq = qblock.assemble %gd, %gs : (tensor<256x320xf8E4M3FN>, tensor<2x3xf32>) -> !qblock.tensor<256x320xf8E4M3FN, block<128x128>, f32>
  %gw = qblock.dequantize %gq : !qblock.tensor<256x320xf8E4M3FN, block<128x128>, f32> -> tensor<256x320xf32>
  %g = qblock.matmul %x, %gw : (tensor<?x320xf32>, tensor<256x320xf32>) -> tensor<?x256xf32>
  %ud = program.weight "mlp.up_proj.weight" : tensor<256x320xf8E4M3FN>
  %us = program.weight "mlp.up_proj.weight_scale_inv" : tensor<2x3xf32>
  %uq = qblock.assemble %ud, %us : (tensor<256x320xf8E4M3FN>, tensor<2x3xf32>) -> !qblock.tensor<256x320xf8E4M3FN, block<128x128>, f32>
  %uw = qblock.dequantize %uq : !qblock.tensor<256x320xf8E4M3FN, block<128x128>, f32> -> tensor<256x320xf32>
  %u = qblock.matmul %x, %uw : (tensor<?x320xf32>, tensor<256x320xf32>) -> tensor<?x256xf32>
  %h = deepseek.swiglu %g, %u : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  %dd = program.weight "mlp.down_proj.weight" : tensor<320x256xf8E4M3FN>
  %ds = program.weight "mlp.down_proj.weight_scale_inv" : tensor<3x2xf32>
  %dq = qblock.assemble %dd, %ds : (tensor<320x256xf8E4M3FN>, tensor<3x2xf32>) -> !qblock.tensor<320x256xf8E4M3FN, block<128x128>, f32>
  %dw = qblock.dequantize %dq : !qblock.tensor<320x256xf8E4M3FN, block<128x128>, f32> -> tensor<320x256xf32>
  %y = qblock.matmul %h, %dw : (tensor<?x256xf32>, tensor<320x256xf32>) -> tensor<?x320xf32>
  %l = deepseek.select_tokens %y, %selected : (tensor<?x320xf32>, tensor<?xi32>) -> tensor<?x320xf32>
  return %l : tensor<?x320xf32>
}
