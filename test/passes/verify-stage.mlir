// A module that passes a stage is marked with its name.
// RUN: quant-opt %s --verify-stage | FileCheck %s --check-prefix=MODEL
// RUN: quant-opt %s --verify-stage=name=fused | FileCheck %s --check-prefix=FUSED
// RUN: quant-opt %s --verify-stage=name=dispatched | FileCheck %s --check-prefix=DISPATCHED
// RUN: quant-opt %s --verify-stage=name=tiled | FileCheck %s --check-prefix=TILED
// RUN: quant-opt %s --verify-stage=name=target | FileCheck %s --check-prefix=TARGET

// MODEL: module attributes {program.stage = "model"}
// FUSED: module attributes {program.stage = "fused"}
// DISPATCHED: module attributes {program.stage = "dispatched"}
// TILED: module attributes {program.stage = "tiled"}
// TARGET: module attributes {program.stage = "target"}
module {
  func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {program.workspace_bytes = 0 : i64} {
    %g = program.weight "g" : tensor<64xbf16>
    %y = program.dispatch @norm(%x, %g) "norm" {placement = array<i64: -1>} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
  // What a target cannot lower yet may keep its ops.
  func.func private @norm(%x: tensor<?x64xf32>, %g: tensor<64xbf16>) -> tensor<?x64xf32>
      attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>, program.unsupported = "no kernel yet"} {
    %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}
