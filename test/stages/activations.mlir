// FP8 activations on the host: quantized, then dequantized in front of the matmul, for the same numbers as on a GPU.
// RUN: quant-opt %S/mlp.mlir --stage=fused --stage-options=activations=fp8 | FileCheck %s
// RUN: quant-opt %S/mlp.mlir --stage=fused --stage-options="activations=fp8 scale-format=ue8m0" | FileCheck %s --check-prefix=UE8M0
// RUN: quant-opt %S/mlp.mlir --stage=fused --stage-options=activations=bf16 | FileCheck %s --check-prefix=BF16
// RUN: quant-opt %S/mlp.mlir --stage=target --stage-options=activations=fp8 | FileCheck %s --check-prefix=TARGET

// CHECK: %[[Q:.*]] = qblock.quantize {{.*}} -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
// CHECK: %[[X:.*]] = qblock.dequantize %[[Q]]
// CHECK: qblock.matmul %[[X]]
// UE8M0: qblock.quantize %{{.*}} {power_of_two}
// BF16-NOT: qblock.quantize
// TARGET: func.func @quantize_f8E4M3FN_300
// TARGET: func.func @dequantize_f8E4M3FN_300
