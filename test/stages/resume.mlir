// A stage's output, printed, is the next stage's input: on the way or in one go the result is the same, byte by byte.
// RUN: quant-opt %S/mlp.mlir --stage=target -o %t.at-once.mlir
// RUN: quant-opt %S/mlp.mlir --stage=model | quant-opt --stage=fused | quant-opt --stage=dispatched | quant-opt --stage=scheduled | quant-opt --stage=tiled | quant-opt --stage=target -o %t.in-steps.mlir
// RUN: diff %t.at-once.mlir %t.in-steps.mlir
// RUN: quant-opt %S/mlp.mlir --stage=fused | quant-opt --stage=target | diff %t.at-once.mlir -

// A stage that has been passed is not run again.
// RUN: quant-opt %t.at-once.mlir --stage=fused | diff %t.at-once.mlir -

// Each stage's own passes have a flag; so have its options.
// RUN: quant-opt %S/mlp.mlir --stage-model --stage-fused --stage-dispatched="max-tokens=8" | FileCheck %s
// RUN: quant-opt %S/mlp.mlir --stage=dispatched --stage-options="max-tokens=8" | FileCheck %s
// CHECK: program.max_tokens = 8 : i64
