// One MLP on its way to host code, stage by stage; walk-sm90a.mlir takes the other fork.
// RUN: quant-opt %s --stage=model | FileCheck %s --check-prefix=MODEL
// RUN: quant-opt %s --stage=fused | FileCheck %s --check-prefix=FUSED
// RUN: quant-opt %s --stage=dispatched | FileCheck %s --check-prefix=DISPATCHED
// RUN: quant-opt %s --stage=scheduled | FileCheck %s --check-prefix=SCHEDULED
// RUN: quant-opt %s --stage=tiled | FileCheck %s --check-prefix=TILED
// RUN: quant-opt %s --stage=target | FileCheck %s --check-prefix=TARGET
// RUN: quant-opt %s --stage=target --stage-options=isa=avx2 | FileCheck %s --check-prefix=AVX2

// The module is only checked and marked.
// MODEL: module attributes {program.stage = "model"}
// MODEL-COUNT-3: qblock.dequantize

// No weight is dequantized: the matmuls read codes, and gate|up is one.
// FUSED: module attributes {program.stage = "fused"}
// FUSED-NOT: qblock.dequantize
// FUSED: %[[GATE_UP:.*]] = qblock.concat
// FUSED: qblock.matmul %{{.*}}, %[[GATE_UP]] : (tensor<?x300xf32>, !qblock.tensor<512x300xf8E4M3FN, block<128x128>, f32>) -> tensor<?x512xf32>
// FUSED: deepseek.swiglu
// FUSED: qblock.matmul {{.*}} -> tensor<?x300xf32>

// The model is a list of dispatches, each result with its place; the down projection overwrites what gate|up gave.
// DISPATCHED: module attributes {program.stage = "dispatched"}
// DISPATCHED: program.workspace_bytes = 831488 : i64
// DISPATCHED: program.dispatch @embed_300({{.*}} {placement = array<i64: 524288>}
// DISPATCHED: program.dispatch @matmul_f8E4M3FN_512x300({{.*}} {placement = array<i64: 0>}
// DISPATCHED: program.dispatch @swiglu_256({{.*}} {placement = array<i64: 524288>}
// DISPATCHED: program.dispatch @matmul_f8E4M3FN_300x256({{.*}} {placement = array<i64: 0>}
// DISPATCHED: program.dispatch @select_tokens_300({{.*}} {placement = array<i64: -1>}
// DISPATCHED: func.func private @matmul_f8E4M3FN_512x300
// DISPATCHED: qblock.matmul

// How each kernel runs, and why.
// SCHEDULED: module attributes {program.stage = "scheduled"}
// SCHEDULED: func.func private @embed_300({{.*}} program.schedule = #program.schedule<avx512>
// SCHEDULED: func.func private @matmul_f8E4M3FN_512x300({{.*}} program.schedule = #program.schedule<avx512, {
// SCHEDULED-SAME: tile = array<i64: 0, 128, 0>
// SCHEDULED-SAME: why = "f32 multiply-adds{{.*}}", next = "64 weight rows{{.*}}">
// SCHEDULED: qblock.matmul

// 512 rows of the weight in tiles of 128, with all tokens and all of K.
// TILED: module attributes {program.stage = "tiled"}
// TILED: func.func private @matmul_f8E4M3FN_512x300
// TILED: scf.forall (%[[N:.*]]) = (0) to (512) step (128)
// TILED: qblock.extract_slice {{.*}}[%[[N]], 0] [128, 300] : {{.*}} to !qblock.tensor<128x300xf8E4M3FN, block<128x128>, f32>
// TILED: qblock.matmul_acc
// TILED-NOT: qblock.matmul{{ }}

// Kernels in the host ABI, on 512-bit vectors. FP8 goes through byte tables in two registers of 64.
// TARGET: module attributes {program.stage = "target"}
// TARGET: func.func @matmul_f8E4M3FN_512x300(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64)
// TARGET: arith.constant dense<{{.*}}> : vector<64xi8>
// TARGET: llvm.call_intrinsic "llvm.x86.avx512.vpermi2var.qi.512"({{.*}}) : (vector<64xi8>, vector<64xi8>, vector<64xi8>) -> vector<64xi8>
// TARGET: math.fma {{.*}} : vector<16xf32>

// AVX2-NOT: vpermi2var
// AVX2: arith.extf {{.*}} : vector<16xf16> to vector<16xf32>

func.func @forward(%ids: tensor<?xi32> {program.dim = #program.dim<tokens>}, %selected: tensor<?xi32> {program.dim = #program.dim<outputs>}) -> (tensor<?x300xf32> {program.dim = #program.dim<outputs>}) attributes {program.max_context = 64 : i64} {
  %table = program.weight "model.embed_tokens.weight" : tensor<512x300xbf16>
  %x = deepseek.embed %ids, %table : (tensor<?xi32>, tensor<512x300xbf16>) -> tensor<?x300xf32>
  %gd = program.weight "mlp.gate_proj.weight" : tensor<256x300xf8E4M3FN>
  %gs = program.weight "mlp.gate_proj.weight_scale_inv" : tensor<2x3xf32>
  %gq = qblock.assemble %gd, %gs : (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>) -> !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>
  %gw = qblock.dequantize %gq : !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32> -> tensor<256x300xf32>
  %g = qblock.matmul %x, %gw : (tensor<?x300xf32>, tensor<256x300xf32>) -> tensor<?x256xf32>
  %ud = program.weight "mlp.up_proj.weight" : tensor<256x300xf8E4M3FN>
  %us = program.weight "mlp.up_proj.weight_scale_inv" : tensor<2x3xf32>
  %uq = qblock.assemble %ud, %us : (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>) -> !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>
  %uw = qblock.dequantize %uq : !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32> -> tensor<256x300xf32>
  %u = qblock.matmul %x, %uw : (tensor<?x300xf32>, tensor<256x300xf32>) -> tensor<?x256xf32>
  %h = deepseek.swiglu %g, %u : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  %dd = program.weight "mlp.down_proj.weight" : tensor<300x256xf8E4M3FN>
  %ds = program.weight "mlp.down_proj.weight_scale_inv" : tensor<3x2xf32>
  %dq = qblock.assemble %dd, %ds : (tensor<300x256xf8E4M3FN>, tensor<3x2xf32>) -> !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32>
  %dw = qblock.dequantize %dq : !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32> -> tensor<300x256xf32>
  %y = qblock.matmul %h, %dw : (tensor<?x256xf32>, tensor<300x256xf32>) -> tensor<?x300xf32>
  %l = deepseek.select_tokens %y, %selected : (tensor<?x300xf32>, tensor<?xi32>) -> tensor<?x300xf32>
  return %l : tensor<?x300xf32>
}
