// Kernels that go without tensor cores, by the pass alone; the stages before it need not have run.
// RUN: split-file %s %t
// RUN: quant-opt %t/kernels.mlir --lower-to-nvvm | FileCheck %s
// RUN: not quant-opt %t/unit.mlir --lower-to-nvvm 2>&1 | FileCheck %s --check-prefix=UNIT
// RUN: quant-opt %t/tiled.mlir --qblock-tile-matmuls --canonicalize --lower-to-nvvm | FileCheck %s --check-prefix=TILED
// RUN: quant-opt %t/tiled.mlir --qblock-tile-matmuls=block-k=64 --canonicalize --lower-to-nvvm | FileCheck %s --check-prefix=CUT

//--- kernels.mlir

// What is left of a kernel is a declaration that says how its code is launched.
// CHECK: func.func private @norm(tensor<?x64xf32> {program.dim = #program.dim<outputs>}, tensor<64xbf16>)
// CHECK-SAME: program.launch = {{{.*}}kernel = "norm"
func.func private @norm(%x: tensor<?x64xf32> {program.dim = #program.dim<outputs>}, %g: tensor<64xbf16>)
    -> (tensor<?x64xf32> {program.dim = #program.dim<outputs>})
    attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d2)>} {
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// One that there is no code for stays, and says why.
// CHECK: func.func private @whole({{.*}}program.unsupported = "there is no kernel for qblock.matmul"
// CHECK: qblock.matmul
func.func private @whole(%x: tensor<?x64xf32>, %w: tensor<8x64xbf16>) -> tensor<?x8xf32>
    attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (1)>} {
  %y = qblock.matmul %x, %w : (tensor<?x64xf32>, tensor<8x64xbf16>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// CHECK: gpu.module @sm_90a
// CHECK: llvm.func @norm(
// CHECK-NOT: llvm.func @whole(

//--- unit.mlir

// UNIT: error: sm_90a has no unit 'dsp': tensor or simt
func.func private @norm(%x: tensor<?x64xf32>, %g: tensor<64xbf16>) -> tensor<?x64xf32>
    attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (d0)>, program.schedule = #program.schedule<dsp>} {
  %y = deepseek.rms_norm %x, %g {eps = 1.0e-6} : (tensor<?x64xf32>, tensor<64xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

//--- tiled.mlir

// A block for each tile of the weight's rows. A tile takes all of K: a loop along it is refused.
// TILED: #[[TILES:.*]] = affine_map<(d0, d1, d2, d3) -> (3)>
// TILED: func.func private @k({{.*}}program.grid = #[[TILES]]{{.*}} grid = 3 : i64
// TILED: llvm.func @k(
// CUT: program.unsupported = "a loop cuts it along K, of which a tile takes all"
func.func private @k(%x: tensor<?x128xf32>, %w: tensor<300x128xbf16>) -> tensor<?x300xf32>
    attributes {program.grid = affine_map<(d0, d1, d2, d3) -> (1)>} {
  %y = qblock.matmul %x, %w : (tensor<?x128xf32>, tensor<300x128xbf16>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}
