// RUN: quant-opt %s --qblock-tile-matmuls=block-k=4096 --canonicalize --lower-to-host | FileCheck %s --check-prefixes=CHECK,AVX512
// RUN: quant-opt %s --qblock-tile-matmuls=block-k=4096 --canonicalize --lower-to-host=isa=avx2 | FileCheck %s --check-prefixes=CHECK,AVX2

#rows = affine_map<(tokens, sequences, outputs, context) -> (tokens)>
#blocks = affine_map<(tokens, sequences, outputs, context) -> (3)>

// The host kernel ABI: operand table, sizes, scratch, a range of the grid.
// CHECK-LABEL: func.func @add(
// CHECK-SAME: %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %[[BEGIN:.*]]: i64, %[[END:.*]]: i64)
// CHECK-SAME: program.grid = #{{.*}}, program.scratch_bytes = 0 : i64
// CHECK: scf.for %{{.*}} = %[[BEGIN]] to %[[END]]
// CHECK: arith.addf %{{.*}}, %{{.*}} : vector<16xf32>
// 40 columns are two vectors of 16 and one of 8.
// CHECK: arith.addf %{{.*}}, %{{.*}} : vector<8xf32>
// CHECK-NOT: tensor<
func.func private @add(%x: tensor<?x40xf32> {program.dim = #program.dim<tokens>}) -> (tensor<?x40xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #rows} {
  %y = arith.addf %x, %x : tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}

// A kernel calls the product of its block's rows, which it shares with all kernels whose weights are stored alike. FP8 is decoded by
// byte tables where the CPU has them, elsewhere a code becomes the upper half of an f32.
// CHECK-LABEL: func.func @matmul_f8(
// CHECK: call @multiply_rows_f8E4M3FN_f32_128x128_aligned
// CHECK: func.func private @multiply_rows_f8E4M3FN_f32_128x128_aligned(
// AVX512: arith.constant dense<{{.*}}> : vector<64xi8>
// AVX512: llvm.call_intrinsic "llvm.x86.avx512.vpermi2var.qi.512"
// AVX2-NOT: vpermi2var
// AVX2: arith.shrsi %{{.*}}, %{{.*}} : vector<16xi16>
// AVX2: vector.shuffle %{{.*}}, %{{.*}} {{.*}} : vector<16xi16>, vector<16xi16>
// AVX2: vector.bitcast %{{.*}} : vector<16xi16> to vector<8xf32>
// CHECK: math.fma %{{.*}}, %{{.*}}, %{{.*}} : vector<16xf32>
// CHECK: vector.reduction <add>
func.func private @matmul_f8(%x: tensor<?x256xf32> {program.dim = #program.dim<tokens>}, %d: tensor<300x256xf8E4M3FN>, %s: tensor<3x2xf32>)
    -> (tensor<?x300xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #blocks} {
  %w = qblock.assemble %d, %s : (tensor<300x256xf8E4M3FN>, tensor<3x2xf32>) -> !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32>
  %y = qblock.matmul %x, %w : (tensor<?x256xf32>, !qblock.tensor<300x256xf8E4M3FN, block<128x128>, f32>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// A weight of other sizes, but of the same form: the same function.
// CHECK-LABEL: func.func @matmul_f8_again
// CHECK: call @multiply_rows_f8E4M3FN_f32_128x128_aligned
// CHECK-NOT: func.func private
func.func private @matmul_f8_again(%x: tensor<?x512xf32> {program.dim = #program.dim<tokens>}, %d: tensor<200x512xf8E4M3FN>, %s: tensor<2x4xf32>)
    -> (tensor<?x200xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #blocks} {
  %w = qblock.assemble %d, %s : (tensor<200x512xf8E4M3FN>, tensor<2x4xf32>) -> !qblock.tensor<200x512xf8E4M3FN, block<128x128>, f32>
  %y = qblock.matmul %x, %w : (tensor<?x512xf32>, !qblock.tensor<200x512xf8E4M3FN, block<128x128>, f32>) -> tensor<?x200xf32>
  return %y : tensor<?x200xf32>
}

// INT4 with zero points: nibbles are sign-extended, the zero point is taken off each code.
// CHECK-LABEL: func.func @matmul_i4
// CHECK: arith.shrsi %{{.*}}, %{{.*}} : vector<8xi8>
// CHECK: vector.shuffle {{.*}} : vector<8xi8>, vector<8xi8>
// CHECK: arith.sitofp {{.*}} : vector<16xi32> to vector<16xf32>
// CHECK: arith.subf {{.*}} : vector<16xf32>
func.func private @matmul_i4(%x: tensor<?x256xf32> {program.dim = #program.dim<tokens>}, %d: tensor<300x256xi4>, %s: tensor<300x8xf16>, %z: tensor<300x8xi8>)
    -> (tensor<?x300xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #blocks} {
  %w = qblock.assemble %d, %s, %z : (tensor<300x256xi4>, tensor<300x8xf16>, tensor<300x8xi8>) -> !qblock.tensor<300x256xi4, block<1x32>, f16, zero i8>
  %y = qblock.matmul %x, %w : (tensor<?x256xf32>, !qblock.tensor<300x256xi4, block<1x32>, f16, zero i8>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// Packed INT4 of signed numbers: codes are unsigned, and 8 more than the numbers.
// CHECK-LABEL: func.func @matmul_ui4
// CHECK: %[[EIGHT:.*]] = arith.constant 8.000000e+00 : f32
// CHECK-NOT: arith.shrsi
// CHECK: arith.subf {{.*}} : vector<16xf32>
func.func private @matmul_ui4(%x: tensor<?x256xf32> {program.dim = #program.dim<tokens>}, %d: tensor<300x256xui4>, %s: tensor<300x8xbf16>)
    -> (tensor<?x300xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #blocks} {
  %w = qblock.assemble %d, %s : (tensor<300x256xui4>, tensor<300x8xbf16>) -> !qblock.tensor<300x256xui4, block<1x32>, bf16, zero 8>
  %y = qblock.matmul %x, %w : (tensor<?x256xf32>, !qblock.tensor<300x256xui4, block<1x32>, bf16, zero 8>) -> tensor<?x300xf32>
  return %y : tensor<?x300xf32>
}

// No library is called: exp becomes a polynomial.
// CHECK-LABEL: func.func @swiglu
// CHECK-NOT: math.exp
// CHECK: return
func.func private @swiglu(%g: tensor<?x64xf32> {program.dim = #program.dim<tokens>}) -> (tensor<?x64xf32> {program.dim = #program.dim<tokens>}) attributes {program.grid = #rows} {
  %y = deepseek.swiglu %g, %g : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// A function without a grid is no kernel.
// CHECK-LABEL: func.func @forward
// CHECK: program.dispatch @add
func.func @forward(%x: tensor<?x40xf32>) -> tensor<?x40xf32> {
  %y = program.dispatch @add(%x) "" : (tensor<?x40xf32>) -> tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}
