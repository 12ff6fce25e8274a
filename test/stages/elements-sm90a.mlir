// Weights of INT8 and bf16 on the tensor cores of sm_90a: what becomes of x, which kernel multiplies, and what it is told.
// RUN: quant-opt %s --stage=fused --stage-options=target=sm_90a | FileCheck %s --check-prefix=INT8
// RUN: quant-opt %s --stage=scheduled --stage-options=target=sm_90a | FileCheck %s --check-prefix=UNITS
// RUN: quant-opt %s --stage=fused --stage-options="target=sm_90a activations=bf16" | FileCheck %s --check-prefix=BF16
// RUN: quant-opt %s --stage=tiled --stage-options=target=sm_90a | FileCheck %s --check-prefix=TILED
// RUN: quant-opt %s --stage=tiled --stage-options=target=sm_90a | FileCheck %s --check-prefix=TILED8
// RUN: quant-opt %s --stage=scheduled --stage-options="target=sm_90a activations=f32" | FileCheck %s --check-prefix=F32

// The norm quantizes its row; the head's x is rounded.
// INT8: deepseek.rms_norm {{.*}} -> (tensor<?x256xf32>, !qblock.tensor<?x256xi8, block<1x?>, f32>)
// INT8: qblock.matmul {{.*}} -> tensor<?x64xbf16>
// INT8: %[[X:.*]] = arith.truncf {{.*}} to tensor<?x64xbf16>
// INT8: qblock.matmul %[[X]], {{.*}} (tensor<?x64xbf16>, tensor<32x64xbf16>) -> tensor<?x32xf32>

// UNITS: @matmul_i8_64x256({{.*}}#program.schedule<tensor, {
// UNITS: @matmul_bf16_32x64({{.*}}#program.schedule<tensor, {

// F32: @matmul_i8_64x256({{.*}}#program.schedule<simt, {{.*}}why = "no tensor cores: 
// F32: @matmul_bf16_32x64({{.*}}#program.schedule<simt, {{.*}}why = "no tensor cores: x is not bf16 as the weight is

// BF16-NOT: qblock.quantize
// BF16: %[[X:.*]] = arith.truncf {{.*}} to tensor<?x64xbf16>
// BF16: qblock.matmul %[[X]], {{.*}} -> tensor<?x32xf32>

// TILED: func.func private @matmul_bf16_32x64({{.*}}program.launch
// TILED-SAME: dtype = "bf16", from = array<i64: 0>, name = "a"{{.*}}dtype = "bf16", early = true, from = array<i64: 1>, name = "b"
// TILED-SAME: dtype = "f32", from = array<i64: 2>, name = "d"
// TILED: hopper.kernel @sm90_bf16_gemm_n32_k64_

// TILED8: hopper.kernel @sm90_int8_gemm_n64_k256_{{.*}}_bf16scales(
// TILED8: hopper.load_scales {{.*}} : <bf16>
// TILED8: hopper.wgmma {{.*}} into {{.*}} : !hopper.fragment<64, {{[0-9]+}}, i32>
func.func @forward(%ids: tensor<?xi32> {program.dim = #program.dim<tokens>}, %rows: tensor<?xi32> {program.dim = #program.dim<outputs>})
    -> (tensor<?x32xf32> {program.dim = #program.dim<outputs>}) {
  %table = program.weight "embed.weight" : tensor<64x256xbf16>
  %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<64x256xbf16>) -> tensor<?x256xf32>
  %gamma = program.weight "norm.weight" : tensor<256xbf16>
  %n = deepseek.rms_norm %x, %gamma {eps = 1.0e-6} : (tensor<?x256xf32>, tensor<256xbf16>) -> tensor<?x256xf32>
  %codes = program.weight "down.weight" : tensor<64x256xi8>
  %scales = program.weight "down.weight_scale" : tensor<64x1xbf16>
  %a = qblock.assemble %codes, %scales : (tensor<64x256xi8>, tensor<64x1xbf16>) -> !qblock.tensor<64x256xi8, block<1x?>, bf16>
  %w = qblock.dequantize %a : !qblock.tensor<64x256xi8, block<1x?>, bf16> -> tensor<64x256xf32>
  %d = qblock.matmul %n, %w : (tensor<?x256xf32>, tensor<64x256xf32>) -> tensor<?x64xf32>
  %s = deepseek.select_tokens %d, %rows : (tensor<?x64xf32>, tensor<?xi32>) -> tensor<?x64xf32>
  %head = program.weight "head.weight" : tensor<32x64xbf16>
  %y = qblock.matmul %s, %head : (tensor<?x64xf32>, tensor<32x64xbf16>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}
