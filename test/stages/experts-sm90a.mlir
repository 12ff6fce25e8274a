// A layer's experts on their way to H100 kernels: gate|up of all experts, SwiGLU and quantization in one kernel on
// tensor cores, whose rows stand in order.
// RUN: quant-opt %s --stage=fused --stage-options=target=sm_90a | FileCheck %s --check-prefix=FUSED
// RUN: quant-opt %s --stage=scheduled --stage-options=target=sm_90a | FileCheck %s --check-prefix=SCHEDULED
// RUN: quant-opt %s --stage=tiled --stage-options=target=sm_90a | FileCheck %s --check-prefix=TILED
// RUN: quant-opt %s --stage=scheduled --stage-options="target=sm_90a activations=bf16" | FileCheck %s --check-prefix=BF16

// A token is quantized once; its codes are copied to the place of each of its experts.
// FUSED: %[[X:.*]] = qblock.quantize
// FUSED: %[[OFFSETS:.*]], %[[ROWS:.*]] = deepseek.moe_dispatch
// FUSED: %[[Y:.*]] = qblock.gather_rows %[[X]] by %[[ROWS]]
// FUSED: %[[H:.*]] = qblock.grouped_swiglu %[[Y]], %{{.*}}, %[[OFFSETS]] : {{.*}} -> !qblock.tensor<?x2x128xf8E4M3FN, block<1x1x128>, f32, k_major>
// FUSED-NOT: swiglu
// FUSED: qblock.grouped_matmul %[[H]], {{.*}} -> tensor<?x2x320xbf16>

// Few tokens take tiles of few, with the weight on wgmma's rows.
// SCHEDULED: func.func private @grouped_swiglu_f8E4M3FN_8x256x320({{.*}}#program.schedule<tensor, {{.*}}why = "at M = {{[0-9]+}}: 8 groups of
// SCHEDULED: func.func private @grouped_matmul_f8E4M3FN_8x320x128({{.*}}#program.schedule<tensor, m = [1, {{[0-9]+}}], {{{.*}}swap_ab}, {{.*}}#program.schedule<tensor, m = [

// Codes and scales of gate and up are stacked expert by expert, and the kernel reads where groups end behind the first offset.
// TILED: func.func private @grouped_swiglu_f8E4M3FN_8x256x320(
// TILED-SAME: from = array<i64: 2, 4>, name = "b", shape = array<i64: 8, 256, 320>, stacked = true
// TILED-SAME: from = array<i64: 3, 5>, name = "scale_b", shape = array<i64: 8, 2, 3>, stacked = true
// TILED-SAME: from = array<i64: 8>, name = "scale_d"
// TILED-SAME: name = "offsets"
// TILED-SAME: kind = "pointer", offset_bytes = 4 : i64
// TILED: hopper.kernel @sm90_fp8_grouped_gemm_1d2d_g8_top2_n128_k320_{{.*}}_swiglu(
// TILED: hopper.scan_groups %{{.*}} of %{{.*}} : <i32> -> <8,
// TILED: hopper.for_tiles groups
// TILED: hopper.swiglu_quantize
// TILED: hopper.tma_load %{{.*}} until

// Rows that are not quantized have no kernel on tensor cores.
// BF16: func.func private @grouped_matmul_f8E4M3FN_8x256x320({{.*}}#program.schedule<simt, {{.*}}why = "no tensor cores: 

func.func @forward(%ids: tensor<?xi32> {program.dim = #program.dim<tokens>}, %selected: tensor<?xi32> {program.dim = #program.dim<outputs>}) -> (tensor<?x320xf32> {program.dim = #program.dim<outputs>}) attributes {program.max_context = 64 : i64} {
  %table = program.weight "model.embed_tokens.weight" : tensor<512x320xbf16>
  %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x320xbf16>) -> tensor<?x320xf32>
  %router = program.weight "mlp.gate.weight" : tensor<8x320xbf16>
  %logits = qblock.matmul %x, %router : (tensor<?x320xf32>, tensor<8x320xbf16>) -> tensor<?x8xf32>
  %chosen, %weights = deepseek.moe_gate %logits {groups = 1 : i64, group_score = 0 : i32, limited_groups = 1 : i64, normalize = true, route_scale = 1.0 : f64, score_func = 0 : i32, top_k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
  %gd = program.weight_group "mlp.experts.{}.gate_proj.weight" : tensor<8x128x320xf8E4M3FN>
  %gs = program.weight_group "mlp.experts.{}.gate_proj.weight_scale_inv" : tensor<8x1x3xf32>
  %gq = qblock.assemble %gd, %gs : (tensor<8x128x320xf8E4M3FN>, tensor<8x1x3xf32>) -> !qblock.tensor<8x128x320xf8E4M3FN, block<1x128x128>, f32>
  %gw = qblock.dequantize %gq : !qblock.tensor<8x128x320xf8E4M3FN, block<1x128x128>, f32> -> tensor<8x128x320xf32>
  %ud = program.weight_group "mlp.experts.{}.up_proj.weight" : tensor<8x128x320xf8E4M3FN>
  %us = program.weight_group "mlp.experts.{}.up_proj.weight_scale_inv" : tensor<8x1x3xf32>
  %uq = qblock.assemble %ud, %us : (tensor<8x128x320xf8E4M3FN>, tensor<8x1x3xf32>) -> !qblock.tensor<8x128x320xf8E4M3FN, block<1x128x128>, f32>
  %uw = qblock.dequantize %uq : !qblock.tensor<8x128x320xf8E4M3FN, block<1x128x128>, f32> -> tensor<8x128x320xf32>
  %dd = program.weight_group "mlp.experts.{}.down_proj.weight" : tensor<8x320x128xf8E4M3FN>
  %ds = program.weight_group "mlp.experts.{}.down_proj.weight_scale_inv" : tensor<8x3x1xf32>
  %dq = qblock.assemble %dd, %ds : (tensor<8x320x128xf8E4M3FN>, tensor<8x3x1xf32>) -> !qblock.tensor<8x320x128xf8E4M3FN, block<1x128x128>, f32>
  %dw = qblock.dequantize %dq : !qblock.tensor<8x320x128xf8E4M3FN, block<1x128x128>, f32> -> tensor<8x320x128xf32>
  %y = deepseek.experts %x, %chosen, %weights, %gw, %uw, %dw : (tensor<?x320xf32>, tensor<?x2xi32>, tensor<?x2xf32>, tensor<8x128x320xf32>, tensor<8x128x320xf32>, tensor<8x320x128xf32>) -> tensor<?x320xf32>
  %l = deepseek.select_tokens %y, %selected : (tensor<?x320xf32>, tensor<?xi32>) -> tensor<?x320xf32>
  return %l : tensor<?x320xf32>
}
