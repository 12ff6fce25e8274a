// Every op and every form of the type, as text, in the generic form and as bytecode.
// RUN: quant-opt %s --verify-roundtrip | FileCheck %s
// RUN: quant-opt %s --mlir-print-op-generic | quant-opt | FileCheck %s
// RUN: quant-opt %s --emit-bytecode | quant-opt | FileCheck %s

//===--- !qblock.tensor: storage, block, scale, zero point ---===//

// CHECK-LABEL: @storages
// CHECK-SAME: !qblock.tensor<64x256xf8E4M3FN, block<1x128>, f32>
// CHECK-SAME: !qblock.tensor<64x256xf8E5M2, block<1x128>, f32>
// CHECK-SAME: !qblock.tensor<64x256xi8, block<1x128>, f32>
// CHECK-SAME: !qblock.tensor<64x256xi4, block<1x128>, f32>
func.func private @storages(!qblock.tensor<64x256xf8E4M3FN, block<1x128>, f32>, !qblock.tensor<64x256xf8E5M2, block<1x128>, f32>,
                            !qblock.tensor<64x256xi8, block<1x128>, f32>, !qblock.tensor<64x256xi4, block<1x128>, f32>)

// CHECK-LABEL: @scales
// CHECK-SAME: block<1x128>, f32>
// CHECK-SAME: block<1x128>, f16>
// CHECK-SAME: block<1x128>, bf16>
// CHECK-SAME: block<1x128>, f8E8M0FNU>
func.func private @scales(!qblock.tensor<64x256xi8, block<1x128>, f32>, !qblock.tensor<64x256xi8, block<1x128>, f16>,
                          !qblock.tensor<64x256xi8, block<1x128>, bf16>, !qblock.tensor<64x256xi8, block<1x128>, f8E8M0FNU>)

// Per tensor, per channel, weight block, three dimensions, one dimension, ragged, a block of more than the dimension.
// CHECK-LABEL: @blocks
// CHECK-SAME: 64x256xi8, block<?x?>
// CHECK-SAME: 64x256xi8, block<1x?>
// CHECK-SAME: 64x256xi8, block<128x128>
// CHECK-SAME: 8x64x256xi8, block<1x128x128>
// CHECK-SAME: <256xi8, block<32>
// CHECK-SAME: 576x300xi8, block<128x128>
// CHECK-SAME: 4x4xi8, block<9223372036854775807x128>
func.func private @blocks(!qblock.tensor<64x256xi8, block<?x?>, f32>, !qblock.tensor<64x256xi8, block<1x?>, f32>,
                          !qblock.tensor<64x256xi8, block<128x128>, f32>, !qblock.tensor<8x64x256xi8, block<1x128x128>, f32>,
                          !qblock.tensor<256xi8, block<32>, f32>, !qblock.tensor<576x300xi8, block<128x128>, f32>,
                          !qblock.tensor<4x4xi8, block<9223372036854775807x128>, f32>)

// CHECK-LABEL: @k_major_scales
// CHECK-SAME: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32, k_major>
func.func @k_major_scales(%q: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32, k_major>) -> tensor<?x3xf32, #qblock.layout<k_major>> {
  // CHECK: qblock.storage {{.*}} -> (tensor<?x300xf8E4M3FN>, tensor<?x3xf32, #qblock.layout<k_major>>)
  %data, %scale = qblock.storage %q : !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32, k_major>
    -> (tensor<?x300xf8E4M3FN>, tensor<?x3xf32, #qblock.layout<k_major>>)
  return %scale : tensor<?x3xf32, #qblock.layout<k_major>>
}

// CHECK-LABEL: @zero_points
// CHECK-SAME: 64x256xi4, block<1x128>, f16, zero i8>
// CHECK-SAME: 64x256xi8, block<1x128>, bf16, zero ui8>
// CHECK-SAME: 64x256xui4, block<1x32>, bf16, zero 8>
// CHECK-SAME: 64x256xf4E2M1FN, block<1x32>, f8E8M0FNU>
func.func private @zero_points(!qblock.tensor<64x256xi4, block<1x128>, f16, zero i8>,
                               !qblock.tensor<64x256xi8, block<1x128>, bf16, zero ui8>,
                               !qblock.tensor<64x256xui4, block<1x32>, bf16, zero 8>,
                               !qblock.tensor<64x256xf4E2M1FN, block<1x32>, f8E8M0FNU>)

// CHECK-LABEL: @sizes
// CHECK-SAME: !qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>
// CHECK-SAME: !qblock.tensor<?x?xf8E4M3FN, block<?x?>, f32>
// CHECK-SAME: !qblock.tensor<0x256xf8E4M3FN, block<128x128>, f32>
func.func private @sizes(!qblock.tensor<?x256xf8E4M3FN, block<1x128>, f32>, !qblock.tensor<?x?xf8E4M3FN, block<?x?>, f32>,
                         !qblock.tensor<0x256xf8E4M3FN, block<128x128>, f32>)

//===--- assemble, storage ---===//

// The last block is ragged: 576 rows have 5 scales, 300 columns 3.
// CHECK-LABEL: @assemble_and_storage
func.func @assemble_and_storage(%data: tensor<576x300xf8E4M3FN>, %scale: tensor<5x3xf32>) -> (tensor<576x300xf8E4M3FN>, tensor<5x3xf32>) {
  // CHECK: %[[W:.*]] = qblock.assemble %{{.*}}, %{{.*}} : (tensor<576x300xf8E4M3FN>, tensor<5x3xf32>) -> !qblock.tensor<576x300xf8E4M3FN, block<128x128>, f32>
  %w = qblock.assemble %data, %scale : (tensor<576x300xf8E4M3FN>, tensor<5x3xf32>) -> !qblock.tensor<576x300xf8E4M3FN, block<128x128>, f32>
  // CHECK: qblock.storage %[[W]] : !qblock.tensor<576x300xf8E4M3FN, block<128x128>, f32> -> (tensor<576x300xf8E4M3FN>, tensor<5x3xf32>)
  %d, %s = qblock.storage %w : !qblock.tensor<576x300xf8E4M3FN, block<128x128>, f32> -> (tensor<576x300xf8E4M3FN>, tensor<5x3xf32>)
  return %d, %s : tensor<576x300xf8E4M3FN>, tensor<5x3xf32>
}

// CHECK-LABEL: @global_scale
func.func @global_scale(%data: tensor<64x256xf4E2M1FN>, %scale: tensor<64x16xf8E4M3FN>, %global: tensor<1x1xf32>) {
  // CHECK: qblock.assemble %{{.*}}, %{{.*}}, %{{.*}} : (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>) -> !qblock.tensor<64x256xf4E2M1FN, block<1x16>, f8E4M3FN, global f32>
  %w = qblock.assemble %data, %scale, %global : (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>) -> !qblock.tensor<64x256xf4E2M1FN, block<1x16>, f8E4M3FN, global f32>
  // CHECK: qblock.storage %{{.*}} : !qblock.tensor<64x256xf4E2M1FN, block<1x16>, f8E4M3FN, global f32> -> (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>)
  %d, %s, %g = qblock.storage %w : !qblock.tensor<64x256xf4E2M1FN, block<1x16>, f8E4M3FN, global f32> -> (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>)
  return
}

// CHECK-LABEL: @gather_columns
func.func @gather_columns(%x: tensor<?x576xf32>, %o: tensor<1x512xi32>, %orders: tensor<4x1x576xi32>, %r: tensor<?x8xi32>) {
  // CHECK: qblock.gather_columns %{{.*}} by %{{.*}} : (tensor<?x576xf32>, tensor<1x512xi32>) -> tensor<?x576xf32>
  %0 = qblock.gather_columns %x by %o : (tensor<?x576xf32>, tensor<1x512xi32>) -> tensor<?x576xf32>
  // CHECK: qblock.gather_columns %{{.*}} by %{{.*}} of(%{{.*}}, %{{.*}}) : (tensor<?x576xf32>, tensor<4x1x576xi32>, tensor<?x8xi32>, tensor<?x8xi32>) -> tensor<?x8x576xf32>
  %1 = qblock.gather_columns %x by %orders of(%r, %r) : (tensor<?x576xf32>, tensor<4x1x576xi32>, tensor<?x8xi32>, tensor<?x8xi32>) -> tensor<?x8x576xf32>
  return
}

// CHECK-LABEL: @with_zero_points
func.func @with_zero_points(%data: tensor<64x256xi4>, %scale: tensor<64x2xf16>, %zero: tensor<64x2xi8>) {
  // CHECK: qblock.assemble %{{.*}}, %{{.*}}, %{{.*}} : (tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>) -> !qblock.tensor<64x256xi4, block<1x128>, f16, zero i8>
  %w = qblock.assemble %data, %scale, %zero : (tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>) -> !qblock.tensor<64x256xi4, block<1x128>, f16, zero i8>
  // CHECK: qblock.storage {{.*}} -> (tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>)
  %d, %s, %z = qblock.storage %w : !qblock.tensor<64x256xi4, block<1x128>, f16, zero i8> -> (tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>)
  return
}

// One scale a row has a scale for each dynamic row; one scale a tensor is 1x1; 128 of dynamic rows are a dynamic number of scales.
// CHECK-LABEL: @dynamic_rows
func.func @dynamic_rows(%data: tensor<?x256xi8>, %rows: tensor<?x1xf32>, %one: tensor<1x1xf32>, %blocks: tensor<?x2xf32>) {
  // CHECK: block<1x?>
  %a = qblock.assemble %data, %rows : (tensor<?x256xi8>, tensor<?x1xf32>) -> !qblock.tensor<?x256xi8, block<1x?>, f32>
  // CHECK: block<?x?>
  %b = qblock.assemble %data, %one : (tensor<?x256xi8>, tensor<1x1xf32>) -> !qblock.tensor<?x256xi8, block<?x?>, f32>
  // CHECK: block<128x128>
  %c = qblock.assemble %data, %blocks : (tensor<?x256xi8>, tensor<?x2xf32>) -> !qblock.tensor<?x256xi8, block<128x128>, f32>
  return
}

//===--- quantize, dequantize ---===//

// CHECK-LABEL: @quantize
func.func @quantize(%x: tensor<?x300xbf16>) -> tensor<?x300xf32> {
  // CHECK: %[[Q:.*]] = qblock.quantize %{{.*}} : tensor<?x300xbf16> -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
  %q = qblock.quantize %x : tensor<?x300xbf16> -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
  // CHECK: qblock.quantize %{{.*}} {amax_floor = 1.000000e-02 : f64, power_of_two}
  %e = qblock.quantize %x {amax_floor = 1.0e-2, power_of_two} : tensor<?x300xbf16> -> !qblock.tensor<?x300xf8E5M2, block<1x?>, f8E8M0FNU>
  // CHECK: qblock.dequantize %[[Q]] : !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32> -> tensor<?x300xf32>
  %f = qblock.dequantize %q : !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32> -> tensor<?x300xf32>
  return %f : tensor<?x300xf32>
}

//===--- concat, extract_slice ---===//

// CHECK-LABEL: @concat
func.func @concat(%a: !qblock.tensor<256x300xi8, block<128x128>, f32>, %b: !qblock.tensor<64x300xi8, block<128x128>, f32>,
                  %c: tensor<5x300xbf16>, %d: !qblock.tensor<8x128x300xi8, block<1x128x128>, f32>) {
  // CHECK: qblock.concat %{{.*}}, %{{.*}}, %{{.*}} : ({{.*}}) -> !qblock.tensor<576x300xi8, block<128x128>, f32>
  %0 = qblock.concat %a, %a, %b : (!qblock.tensor<256x300xi8, block<128x128>, f32>, !qblock.tensor<256x300xi8, block<128x128>, f32>,
    !qblock.tensor<64x300xi8, block<128x128>, f32>) -> !qblock.tensor<576x300xi8, block<128x128>, f32>
  // CHECK: qblock.concat {{.*}} -> tensor<10x300xbf16>
  %1 = qblock.concat %c, %c : (tensor<5x300xbf16>, tensor<5x300xbf16>) -> tensor<10x300xbf16>
  // CHECK: qblock.concat {{.*}} -> !qblock.tensor<8x256x300xi8, block<1x128x128>, f32>
  %2 = qblock.concat %d, %d : (!qblock.tensor<8x128x300xi8, block<1x128x128>, f32>, !qblock.tensor<8x128x300xi8, block<1x128x128>, f32>)
    -> !qblock.tensor<8x256x300xi8, block<1x128x128>, f32>
  return
}

// CHECK-LABEL: @extract_slice
// CHECK-SAME: %[[W:.*]]: !qblock.tensor<576x300xi8, block<128x128>, f32>, %[[N:.*]]: index, %[[SIZE:.*]]: index
func.func @extract_slice(%w: !qblock.tensor<576x300xi8, block<128x128>, f32>, %n: index, %size: index,
                         %row: !qblock.tensor<4x300xi8, block<1x?>, f32>) {
  // CHECK: qblock.extract_slice %[[W]][%[[N]], 128] [128, 128] : {{.*}} to !qblock.tensor<128x128xi8, block<128x128>, f32>
  %0 = qblock.extract_slice %w[%n, 128] [128, 128] : !qblock.tensor<576x300xi8, block<128x128>, f32> to !qblock.tensor<128x128xi8, block<128x128>, f32>
  // CHECK: qblock.extract_slice %[[W]][512, 256] [%[[SIZE]], 44] : {{.*}} to !qblock.tensor<?x44xi8, block<128x128>, f32>
  %1 = qblock.extract_slice %w[512, 256] [%size, 44] : !qblock.tensor<576x300xi8, block<128x128>, f32> to !qblock.tensor<?x44xi8, block<128x128>, f32>
  // Inside one block: off its edge, but the scale is the same for all of the slice.
  // CHECK: qblock.extract_slice %[[W]][64, 160] [64, 32]
  %2 = qblock.extract_slice %w[64, 160] [64, 32] : !qblock.tensor<576x300xi8, block<128x128>, f32> to !qblock.tensor<64x32xi8, block<128x128>, f32>
  // CHECK: qblock.extract_slice %{{.*}}[2, 77] [1, 100]
  %3 = qblock.extract_slice %row[2, 77] [1, 100] : !qblock.tensor<4x300xi8, block<1x?>, f32> to !qblock.tensor<1x100xi8, block<1x?>, f32>
  return
}

//===--- matmul, matmul_acc, grouped_matmul ---===//

// CHECK-LABEL: @matmul
func.func @matmul(%x: tensor<?x300xf32>, %f: tensor<256x300xbf16>, %w: !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>,
                  %q: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, %acc: tensor<?x256xf32>,
                  %row: !qblock.tensor<?x300xf8E4M3FN, block<1x?>, f32>, %channel: !qblock.tensor<256x300xf8E4M3FN, block<1x300>, f32>) {
  // CHECK: qblock.matmul %{{.*}}, %{{.*}} : (tensor<?x300xf32>, tensor<256x300xbf16>) -> tensor<?x256xf32>
  %0 = qblock.matmul %x, %f : (tensor<?x300xf32>, tensor<256x300xbf16>) -> tensor<?x256xf32>
  // CHECK: qblock.matmul %{{.*}}, %{{.*}} : (tensor<?x300xf32>, !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>) -> tensor<?x256xf32>
  // CHECK: qblock.matmul {{.*}} -> tensor<?x256xbf16>
  %2 = qblock.matmul %q, %w : (!qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>) -> tensor<?x256xbf16>
  // A block of the whole dimension is one of `?`.
  // CHECK: qblock.matmul {{.*}}block<1x?>{{.*}}block<1x300>
  %3 = qblock.matmul %row, %channel : (!qblock.tensor<?x300xf8E4M3FN, block<1x?>, f32>, !qblock.tensor<256x300xf8E4M3FN, block<1x300>, f32>) -> tensor<?x256xf32>
  // CHECK: qblock.matmul_acc %{{.*}}, %{{.*}} into %{{.*}} : (tensor<?x300xf32>, !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  %4 = qblock.matmul_acc %x, %w into %acc : (tensor<?x300xf32>, !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  return
}

// CHECK-LABEL: @grouped_matmul
func.func @grouped_matmul(%x: tensor<?x300xf32>, %slots: tensor<?x8x300xf32>, %w: !qblock.tensor<64x256x300xi4, block<1x1x128>, f16>,
                          %offsets: tensor<65xi32>, %rows: tensor<?x8xi32>) {
  // CHECK: qblock.grouped_matmul %{{.*}}, %{{.*}}, %{{.*}} gather(%{{.*}}) : (tensor<?x300xf32>, {{.*}}, tensor<65xi32>, tensor<?x8xi32>) -> tensor<?x8x256xf32>
  %0 = qblock.grouped_matmul %x, %w, %offsets gather(%rows)
    : (tensor<?x300xf32>, !qblock.tensor<64x256x300xi4, block<1x1x128>, f16>, tensor<65xi32>, tensor<?x8xi32>) -> tensor<?x8x256xf32>
  // CHECK: qblock.grouped_matmul %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x8x300xf32>, {{.*}}, tensor<65xi32>) -> tensor<?x8x256xf32>
  %1 = qblock.grouped_matmul %slots, %w, %offsets
    : (tensor<?x8x300xf32>, !qblock.tensor<64x256x300xi4, block<1x1x128>, f16>, tensor<65xi32>) -> tensor<?x8x256xf32>
  return
}

// CHECK-LABEL: @grouped_matmul_acc
func.func @grouped_matmul_acc(%x: tensor<?x300xf32>, %w: !qblock.tensor<64x256x300xi4, block<1x1x128>, f16>, %offsets: tensor<65xi32>,
                              %rows: tensor<?xi32>, %acc: tensor<?x256xf32>, %group: !qblock.tensor<?x128x?xf8E4M3FN, block<1x128x128>, f32>,
                              %bounds: tensor<?xi32>, %tile: tensor<?x128xf32>) {
  // CHECK: qblock.grouped_matmul_acc %{{.*}}, %{{.*}}, %{{.*}} gather(%{{.*}}) into %{{.*}} {top_k = 8 : i64} : {{.*}} -> tensor<?x256xf32>
  %0 = qblock.grouped_matmul_acc %x, %w, %offsets gather(%rows) into %acc {top_k = 8 : i64}
    : (tensor<?x300xf32>, !qblock.tensor<64x256x300xi4, block<1x1x128>, f16>, tensor<65xi32>, tensor<?xi32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  // CHECK: qblock.grouped_matmul_acc %{{.*}}, %{{.*}}, %{{.*}} into %{{.*}} {top_k = 1 : i64} : {{.*}} -> tensor<?x128xf32>
  %1 = qblock.grouped_matmul_acc %x, %group, %bounds into %tile {top_k = 1 : i64}
    : (tensor<?x300xf32>, !qblock.tensor<?x128x?xf8E4M3FN, block<1x128x128>, f32>, tensor<?xi32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  return
}

// CHECK-LABEL: @gather_rows
func.func @gather_rows(%x: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32, k_major>, %rows: tensor<?x8xi32>) {
  // CHECK: qblock.gather_rows %{{.*}} by %{{.*}} : ({{.*}}, tensor<?x8xi32>) -> !qblock.tensor<?x8x300xf8E4M3FN, block<1x1x128>, f32, k_major>
  %0 = qblock.gather_rows %x by %rows : (!qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32, k_major>, tensor<?x8xi32>)
    -> !qblock.tensor<?x8x300xf8E4M3FN, block<1x1x128>, f32, k_major>
  return
}

// CHECK-LABEL: @grouped_swiglu
func.func @grouped_swiglu(%x: !qblock.tensor<?x8x320xf8E4M3FN, block<1x1x128>, f32, k_major>,
                          %w: !qblock.tensor<16x512x320xf8E4M3FN, block<1x128x128>, f32>, %offsets: tensor<17xi32>) {
  // CHECK: qblock.grouped_swiglu %{{.*}}, %{{.*}}, %{{.*}} {power_of_two} : {{.*}} -> !qblock.tensor<?x8x256xf8E4M3FN, block<1x1x128>, f32, k_major>
  %0 = qblock.grouped_swiglu %x, %w, %offsets {power_of_two} : (!qblock.tensor<?x8x320xf8E4M3FN, block<1x1x128>, f32, k_major>,
    !qblock.tensor<16x512x320xf8E4M3FN, block<1x128x128>, f32>, tensor<17xi32>) -> !qblock.tensor<?x8x256xf8E4M3FN, block<1x1x128>, f32, k_major>
  return
}
