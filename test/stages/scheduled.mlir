// A schedule is data: who edits it in the printed IR and resumes gets that kernel.

// On the host: 64 rows of the weight in a tile instead of 128, twice as many blocks.
// RUN: quant-opt %S/mlp.mlir --stage=scheduled | sed 's/tile = array<i64: 0, 128, 0>/tile = array<i64: 0, 64, 0>/' > %t.host.mlir
// RUN: quant-opt %t.host.mlir --stage=tiled | FileCheck %s --check-prefix=HOST
// HOST: #[[BLOCKS:.*]] = affine_map<(d0, d1, d2, d3) -> (8)>
// HOST: func.func private @matmul_f8E4M3FN_512x300({{.*}}program.grid = #[[BLOCKS]]
// HOST: scf.forall (%{{.*}}) = (0) to (512) step (64)
// HOST: qblock.extract_slice {{.*}} [64, 300]

// RUN: quant-opt %t.host.mlir --stage=target | FileCheck %s --check-prefix=CODE
// CODE: func.func @matmul_f8E4M3FN_512x300({{.*}} tile = array<i64: 0, 64, 0>

// On sm_90a: another tile, and with it another kernel.
// RUN: quant-opt %S/walk-sm90a.mlir --stage=scheduled --stage-options=target=sm_90a | sed 's/{block_m = 64 : i64, block_n = 16 : i64}/{block_m = 16 : i64, block_n = 128 : i64, swap_ab}/' > %t.gpu.mlir
// RUN: quant-opt %t.gpu.mlir --stage=tiled --stage-options=target=sm_90a | FileCheck %s --check-prefix=GPU
// GPU: func.func private @matmul_f8E4M3FN_512x320({{.*}} kernel = "sm90_fp8_gemm_1d2d_n512_k320_bm16_bn128_swap"
// GPU: hopper.kernel @sm90_fp8_gemm_1d2d_n512_k320_bm16_bn128_swap
// GPU: hopper.for_tiles {{.*}} tile [16, 128]

// What cannot be done is refused, with the place.
// RUN: sed 's/swap_ab/swap/' %t.gpu.mlir | not quant-opt --stage=tiled --stage-options=target=sm_90a 2>&1 | FileCheck %s --check-prefix=PARAMETER
// PARAMETER: error: cannot be built as its schedule says: the matmul's schedule has no parameter 'swap = unit': block_m, block_n, stages, split_k (i64), swap_ab (unit), multicast ("a" or "b")
// RUN: sed 's/block_n = 128/block_n = 96/' %t.gpu.mlir | not quant-opt --stage=tiled --stage-options=target=sm_90a 2>&1 | FileCheck %s --check-prefix=TILE
// TILE: error: cannot be built as its schedule says: {{.*}}with swapAB blockN must be 64 or 128
// RUN: sed 's/swap_ab/swap_ab, split_k = 2 : i64/' %t.gpu.mlir | not quant-opt --stage=tiled --stage-options=target=sm_90a 2>&1 | FileCheck %s --check-prefix=SPLIT
// SPLIT: error: cannot be built as its schedule says: the schedule asks for operands that the program does not have (split_k needs a workspace)
// RUN: sed 's/schedule<avx512/schedule<avx2/' %t.host.mlir | not quant-opt --stage=target 2>&1 | FileCheck %s --check-prefix=UNIT
// UNIT: error: is scheduled for avx2, but this is code for avx512

// A matmul that does not get the tensor cores says why: here because its activations stay in bf16.
// RUN: quant-opt %S/walk-sm90a.mlir --stage=scheduled --stage-options="target=sm_90a activations=bf16" 2>&1 | FileCheck %s --check-prefix=REMARK
// REMARK: remark: runs on plain threads: no tensor cores: the activations are not f8E4M3FN in groups of 128 with k_major f32 scales
// REMARK: program.schedule = #program.schedule<simt, {tile = array<i64: 0, 4, 0>}, why = "no tensor cores: the activations
