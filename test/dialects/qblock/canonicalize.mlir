// RUN: quant-opt %s --canonicalize | FileCheck %s

!w = !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>
!wz = !qblock.tensor<64x256xi4, block<1x128>, f16, zero i8>
!wg = !qblock.tensor<64x256xf4E2M1FN, block<1x16>, f8E4M3FN, global f32>

// CHECK-LABEL: @assemble_of_storage
// CHECK-SAME: %[[W:.*]]: !qblock.tensor
// CHECK-NEXT: return %[[W]]
func.func @assemble_of_storage(%w: !w) -> !w {
  %d, %s = qblock.storage %w : !w -> (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>)
  %r = qblock.assemble %d, %s : (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>) -> !w
  return %r : !w
}

// CHECK-LABEL: @storage_of_assemble
// CHECK-SAME: %[[D:.*]]: tensor<64x256xi4>, %[[S:.*]]: tensor<64x2xf16>, %[[Z:.*]]: tensor<64x2xi8>
// CHECK-NEXT: return %[[D]], %[[S]], %[[Z]]
func.func @storage_of_assemble(%d: tensor<64x256xi4>, %s: tensor<64x2xf16>, %z: tensor<64x2xi8>) -> (tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>) {
  %w = qblock.assemble %d, %s, %z : (tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>) -> !wz
  %0, %1, %2 = qblock.storage %w : !wz -> (tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>)
  return %0, %1, %2 : tensor<64x256xi4>, tensor<64x2xf16>, tensor<64x2xi8>
}

// CHECK-LABEL: @assemble_of_storage_with_a_global_scale
// CHECK-SAME: %[[W:.*]]: !qblock.tensor
// CHECK-NEXT: return %[[W]]
func.func @assemble_of_storage_with_a_global_scale(%w: !wg) -> !wg {
  %d, %s, %g = qblock.storage %w : !wg -> (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>)
  %r = qblock.assemble %d, %s, %g : (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>) -> !wg
  return %r : !wg
}

// Another global scale is another value.
// CHECK-LABEL: @assemble_with_another_global_scale
// CHECK: qblock.assemble
func.func @assemble_with_another_global_scale(%w: !wg, %g: tensor<1x1xf32>) -> !wg {
  %d, %s, %old = qblock.storage %w : !wg -> (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>)
  %r = qblock.assemble %d, %s, %g : (tensor<64x256xf4E2M1FN>, tensor<64x16xf8E4M3FN>, tensor<1x1xf32>) -> !wg
  return %r : !wg
}

// Codes of one tensor with the scales of another are a new value.
// CHECK-LABEL: @assemble_of_two_storages
// CHECK: qblock.assemble
func.func @assemble_of_two_storages(%a: !w, %b: !w) -> !w {
  %d, %s = qblock.storage %a : !w -> (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>)
  %d2, %s2 = qblock.storage %b : !w -> (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>)
  %r = qblock.assemble %d, %s2 : (tensor<256x300xf8E4M3FN>, tensor<2x3xf32>) -> !w
  return %r : !w
}

// The same parts read as another scheme are a new value: one block of 100 rows has as many scales as one of 128.
// CHECK-LABEL: @assemble_as_another_scheme
// CHECK: qblock.assemble
func.func @assemble_as_another_scheme(%a: !qblock.tensor<64x64xi8, block<128x128>, f32>) -> !qblock.tensor<64x64xi8, block<100x100>, f32> {
  %d, %s = qblock.storage %a : !qblock.tensor<64x64xi8, block<128x128>, f32> -> (tensor<64x64xi8>, tensor<1x1xf32>)
  %r = qblock.assemble %d, %s : (tensor<64x64xi8>, tensor<1x1xf32>) -> !qblock.tensor<64x64xi8, block<100x100>, f32>
  return %r : !qblock.tensor<64x64xi8, block<100x100>, f32>
}

// CHECK-LABEL: @slice_of_the_whole
// CHECK-SAME: %[[W:.*]]: !qblock.tensor
// CHECK-NEXT: return %[[W]]
func.func @slice_of_the_whole(%w: !w) -> !w {
  %zero = arith.constant 0 : index
  %r = qblock.extract_slice %w[%zero, 0] [256, 300] : !w to !w
  return %r : !w
}

// CHECK-LABEL: @constant_offsets
// CHECK: qblock.extract_slice %{{.*}}[128, %{{.*}}] [128, 128]
func.func @constant_offsets(%w: !w, %k: index) -> !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32> {
  %n = arith.constant 128 : index
  %r = qblock.extract_slice %w[%n, %k] [128, 128] : !w to !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32>
  return %r : !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32>
}

// Out of bounds, in code that may never run: stays as it is, instead of becoming IR that does not verify.
// CHECK-LABEL: @constant_offset_out_of_bounds
// CHECK: qblock.extract_slice %{{.*}}[%{{.*}}, 0] [128, 128]
func.func @constant_offset_out_of_bounds(%w: !w) -> !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32> {
  %n = arith.constant 256 : index
  %r = qblock.extract_slice %w[%n, 0] [128, 128] : !w to !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32>
  return %r : !qblock.tensor<128x128xf8E4M3FN, block<128x128>, f32>
}

// A dynamic number of rows may be another one.
// CHECK-LABEL: @dynamic_slice
// CHECK: qblock.extract_slice
func.func @dynamic_slice(%x: !qblock.tensor<?x300xi8, block<1x128>, f32>, %m: index) -> !qblock.tensor<?x300xi8, block<1x128>, f32> {
  %r = qblock.extract_slice %x[0, 0] [%m, 300] : !qblock.tensor<?x300xi8, block<1x128>, f32> to !qblock.tensor<?x300xi8, block<1x128>, f32>
  return %r : !qblock.tensor<?x300xi8, block<1x128>, f32>
}

// Quantizing what was dequantized finds the scales anew: it is not the identity.
// CHECK-LABEL: @quantize_of_dequantize
// CHECK: qblock.dequantize
// CHECK: qblock.quantize
func.func @quantize_of_dequantize(%w: !w) -> !w {
  %f = qblock.dequantize %w : !w -> tensor<256x300xf32>
  %q = qblock.quantize %f : tensor<256x300xf32> -> !w
  return %q : !w
}

// Ops without users go away: all are pure.
// CHECK-LABEL: @unused
// CHECK-NEXT: return
func.func @unused(%w: !w, %x: tensor<?x300xf32>) {
  %y = qblock.matmul %x, %w : (tensor<?x300xf32>, !w) -> tensor<?x256xf32>
  %q = qblock.quantize %x : tensor<?x300xf32> -> !qblock.tensor<?x300xi8, block<1x?>, f32>
  return
}
