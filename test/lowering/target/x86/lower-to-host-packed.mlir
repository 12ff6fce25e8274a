// RUN: quant-opt %s --qblock-tile-matmuls=block-k=4096 --canonicalize --lower-to-host=isa=amx | FileCheck %s --check-prefixes=CHECK,AMX
// RUN: quant-opt %s --program-schedule="unit=avx512bf16 round-inputs" --qblock-tile-matmuls --canonicalize --lower-to-host=isa=avx512bf16 | FileCheck %s --check-prefixes=CHECK,DOTS

#blocks = affine_map<(tokens, sequences, outputs, context) -> (3)>

// More rows of x than dot products take at once: two tiles are computed in one step, and x is multiplied as bf16, on AMX in three
// parts, elsewhere rounded in one.
// CHECK-LABEL: func.func @matmul_f8(
// CHECK: %[[MANY:.*]] = arith.cmpi slt, %{{.*}}, %{{.*}} : i64
// CHECK: %[[TILES:.*]] = arith.select %[[MANY]], %{{.*}}, %{{.*}} : i64
// Not where several sequences may share the call.
// CHECK: %[[SHARED:.*]] = arith.cmpi sle, %{{.*}}, %{{.*}} : i64
// CHECK: %[[STEP:.*]] = arith.select %[[SHARED]], %{{.*}}, %[[TILES]] : i64
// CHECK: scf.for %{{.*}} = %{{.*}} to %{{.*}} step %[[STEP]]
// CHECK: call @multiply_rows_f8E4M3FN_f32_128x128
// CHECK: func.func private @multiply_rows_f8E4M3FN_f32_128x128
// AMX: call_intrinsic "llvm.x86.ldtilecfg"
// AMX-COUNT-3: call_intrinsic "llvm.x86.avx512bf16.cvtne2ps2bf16.512"
// AMX: call_intrinsic "llvm.x86.tilezero"
// AMX-COUNT-8: call_intrinsic "llvm.x86.tdpbf16ps"
// AMX: call_intrinsic "llvm.x86.tilestored64"
// AMX: call_intrinsic "llvm.x86.tilerelease"
// DOTS: call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"
func.func private @matmul_f8(%x: tensor<?x256xf32> {program.dim = #program.dim<tokens>}, %d: tensor<300x256xf8E4M3FN>, %s: tensor<3x2xf32>)
    -> (tensor<?x300xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #blocks} {
  %w = qblock.assemble %d, %s : (tensor<300x256xf8E4M3FN>, tensor<3x2xf32>) -> !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32>
  %y = qblock.matmul %x, %w : (tensor<?x256xf32>, !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// f32 has more bits than bf16: the unit multiplies it in f32.
// CHECK-LABEL: func.func @matmul_f32(
// CHECK: func.func private @multiply_rows_f32
// CHECK-NOT: call_intrinsic
// CHECK: return
func.func private @matmul_f32(%x: tensor<?x256xf32> {program.dim = #program.dim<tokens>}, %w: tensor<300x256xf32>)
    -> (tensor<?x300xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #blocks} {
  %y = qblock.matmul %x, %w : (tensor<?x256xf32>, tensor<300x256xf32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// x in int8 against int8 with a scale for each row. Few tokens: bytes of the weight, 128 more than the codes, times those of x in
// integers, from what the 128 is too much on, and one sum of integers at the end. Many: tiles on AMX, otherwise the same bytes.
// CHECK-LABEL: func.func @matmul_i8(
// CHECK: func.func private @multiply_rows_i8_f32_1xK_x8
// CHECK: %[[OFFSET:.*]] = arith.constant dense<-128> : vector<64xi8>
// CHECK: arith.xori %{{.*}}, %{{.*}} : vector<64xi8>
// CHECK: call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// CHECK-NOT: math.fma
// CHECK: vector.reduction <add>, %{{.*}} : vector<16xi32> into i32
// AMX: call_intrinsic "llvm.x86.tdpbssd"
func.func private @matmul_i8(%c: tensor<?x256xi8> {program.dim = #program.dim<tokens>}, %xs: tensor<?x1xf32> {program.dim = #program.dim<tokens>}, %d: tensor<300x256xi8>, %s: tensor<300x1xf32>)
    -> (tensor<?x300xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #blocks} {
  %x = qblock.assemble %c, %xs : (tensor<?x256xi8>, tensor<?x1xf32>) -> !qblock.tensor<?x256xi8, block<1x?>, f32>
  %w = qblock.assemble %d, %s : (tensor<300x256xi8>, tensor<300x1xf32>) -> !qblock.tensor<300x256xi8, block<1x?>, f32>
  %y = qblock.matmul %x, %w : (!qblock.tensor<?x256xi8, block<1x?>, f32>, !qblock.tensor<300x256xi8, block<1x?>, f32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}
