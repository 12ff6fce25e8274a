// What --stage says where it cannot go on.
// RUN: split-file %s %t
// RUN: not quant-opt %S/mlp.mlir --stage=linked 2>&1 | FileCheck %s --check-prefix=STAGE
// RUN: not quant-opt %S/mlp.mlir --stage=fused --stage-options=colour=red 2>&1 | FileCheck %s --check-prefix=OPTION
// RUN: not quant-opt %S/mlp.mlir --stage=fused --stage-options="activations=fp8 scale-format=f16" 2>&1 | FileCheck %s --check-prefix=SCALE
// RUN: not quant-opt %S/mlp.mlir --stage=target --stage-options=isa=sse 2>&1 | FileCheck %s --check-prefix=ISA
// RUN: not quant-opt %S/mlp.mlir --stage=fused --stage-options=target=sm_80 2>&1 | FileCheck %s --check-prefix=TARGET
// RUN: not quant-opt %S/mlp.mlir --stage=fused --stage-options=activations=fp4 2>&1 | FileCheck %s --check-prefix=ACTIVATIONS
// RUN: not quant-opt %t/number.mlir --stage=fused 2>&1 | FileCheck %s --check-prefix=NUMBER
// RUN: not quant-opt %t/unknown.mlir --stage=fused 2>&1 | FileCheck %s --check-prefix=MARK
// RUN: not quant-opt %t/no-forward.mlir --stage=fused 2>&1 | FileCheck %s --check-prefix=FORWARD
// RUN: not quant-opt %t/no-kernel.mlir --stage=dispatched 2>&1 | FileCheck %s --check-prefix=KERNEL

// STAGE: error: there is no stage 'linked': model, fused, dispatched, scheduled, tiled or target
// OPTION: no such option colour
// SCALE: error: unknown scale-format 'f16': f32 or ue8m0
// ISA: error: there is no instruction set 'sse': amx, avx512bf16, avx512 or avx2

// TARGET: for the --target option: Cannot find option named 'sm_80'!
// ACTIVATIONS: for the --activations option: Cannot find option named 'fp4'!

//--- number.mlir
// NUMBER: error: program.stage names no stage: 3
module attributes {program.stage = 3 : i64} {}

//--- unknown.mlir
// MARK: error: program.stage names no stage: "baked"
module attributes {program.stage = "baked"} {}

//--- no-forward.mlir
// FORWARD: error: stage model: there must be a function @forward
module {}

//--- no-kernel.mlir
func.func @forward(%x: tensor<?x4xf32> {program.dim = #program.dim<tokens>}) -> tensor<?x4xf32> {
  // KERNEL: error: no kernel can be made of arith.mulf
  %0 = arith.mulf %x, %x : tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}
