// RUN: quant-opt %s --qblock-quantize-activations | FileCheck %s --check-prefixes=CHECK,F32
// RUN: quant-opt %s --qblock-quantize-activations=scale-format=ue8m0 | FileCheck %s --check-prefixes=CHECK,UE8M0
// RUN: quant-opt %s --qblock-quantize-activations=result-type=bf16 | FileCheck %s --check-prefix=BF16
// RUN: quant-opt %s --qblock-quantize-activations=scale-layout=k_major | FileCheck %s --check-prefix=KMAJOR
// RUN: quant-opt %s --qblock-quantize-activations="storage=i8 groups=true" | FileCheck %s --check-prefix=INT8
// RUN: quant-opt %s --qblock-quantize-activations="storage=i8" | FileCheck %s --check-prefix=ROWS

!w = !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>

// Two matmuls that share their input share its quantized form.
// CHECK-LABEL: @shared_input
// CHECK-SAME: %[[X:.*]]: tensor<?x300xf32>, %[[W:.*]]: !qblock
func.func @shared_input(%x: tensor<?x300xf32>, %w: !w) -> (tensor<?x256xf32>, tensor<?x256xf32>) {
  // F32-NEXT: %[[Q:.*]] = qblock.quantize %[[X]] : tensor<?x300xf32> -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
  // UE8M0-NEXT: %[[Q:.*]] = qblock.quantize %[[X]] {power_of_two} : tensor<?x300xf32> -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
  // KMAJOR: qblock.quantize %{{.*}} -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32, k_major>
  // CHECK-NEXT: qblock.matmul %[[Q]], %[[W]]
  // CHECK-NEXT: qblock.matmul %[[Q]], %[[W]]
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !w) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %w : (tensor<?x300xf32>, !w) -> tensor<?x256xf32>
  return %0, %1 : tensor<?x256xf32>, tensor<?x256xf32>
}

// BF16-LABEL: @shared_input
// BF16: %[[Y:.*]] = qblock.matmul {{.*}} -> tensor<?x256xbf16>
// BF16: arith.extf %[[Y]] : tensor<?x256xbf16> to tensor<?x256xf32>

// A matmul that gives bf16 already needs no rounding.
// BF16-LABEL: @narrow_result
// BF16: %[[Y:.*]] = qblock.matmul {{.*}} -> tensor<?x256xbf16>
// BF16-NEXT: return %[[Y]]
func.func @narrow_result(%x: tensor<?x300xf32>, %w: !w) -> tensor<?x256xbf16> {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !w) -> tensor<?x256xbf16>
  return %0 : tensor<?x256xbf16>
}

// One group size, one quantized form.
// CHECK-LABEL: @two_group_sizes
// CHECK-DAG: qblock.quantize {{.*}} -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
// CHECK-DAG: qblock.quantize {{.*}} -> !qblock.tensor<?x300xf8E4M3FN, block<1x32>, f32>
// CHECK-NOT: qblock.quantize
func.func @two_group_sizes(%x: tensor<?x300xf32>, %w: !w, %v: !qblock.tensor<256x300xf8E5M2, block<32x32>, f32>) -> (tensor<?x256xf32>, tensor<?x256xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !w) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %v : (tensor<?x300xf32>, !qblock.tensor<256x300xf8E5M2, block<32x32>, f32>) -> tensor<?x256xf32>
  return %0, %1 : tensor<?x256xf32>, tensor<?x256xf32>
}

// One scale for all of K makes one scale a token.
// CHECK-LABEL: @per_channel
// CHECK: %[[Q:.*]] = qblock.quantize {{.*}} -> !qblock.tensor<?x300xf8E4M3FN, block<1x?>, f32>
// CHECK: qblock.matmul %[[Q]]
func.func @per_channel(%x: tensor<?x300xf32>, %w: !qblock.tensor<256x300xf8E4M3FN, block<1x?>, f32>) -> tensor<?x256xf32> {
  %0 = qblock.matmul %x, %w : (tensor<?x300xf32>, !qblock.tensor<256x300xf8E4M3FN, block<1x?>, f32>) -> tensor<?x256xf32>
  return %0 : tensor<?x256xf32>
}

// CHECK-LABEL: @grouped
// CHECK: %[[Q:.*]] = qblock.quantize {{.*}} -> !qblock.tensor<?x2x256xf8E4M3FN, block<1x1x128>, f32>
// CHECK: qblock.grouped_matmul %[[Q]]
// BF16-LABEL: @grouped
// BF16: %[[Y:.*]] = qblock.grouped_matmul {{.*}} -> tensor<?x2x300xbf16>
// BF16: arith.extf %[[Y]]
func.func @grouped(%x: tensor<?x2x256xf32>, %w: !qblock.tensor<8x300x256xf8E4M3FN, block<1x128x128>, f32>, %o: tensor<9xi32>) -> tensor<?x2x300xf32> {
  %0 = qblock.grouped_matmul %x, %w, %o : (tensor<?x2x256xf32>, !qblock.tensor<8x300x256xf8E4M3FN, block<1x128x128>, f32>, tensor<9xi32>) -> tensor<?x2x300xf32>
  return %0 : tensor<?x2x300xf32>
}

// bf16 weights, integer codes and inputs that are quantized already stay as they are.
// CHECK-LABEL: @untouched
// CHECK-NOT: qblock.quantize
// BF16-LABEL: @untouched
// BF16-NOT: bf16>) -> tensor<?x256xbf16>
func.func @untouched(%x: tensor<?x300xf32>, %b: tensor<256x300xbf16>, %i: !qblock.tensor<256x300xi8, block<1x?>, f32>, %w: !w,
                     %q: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>) -> (tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>) {
  %0 = qblock.matmul %x, %b : (tensor<?x300xf32>, tensor<256x300xbf16>) -> tensor<?x256xf32>
  %1 = qblock.matmul %x, %i : (tensor<?x300xf32>, !qblock.tensor<256x300xi8, block<1x?>, f32>) -> tensor<?x256xf32>
  %2 = qblock.matmul %q, %w : (!qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, !w) -> tensor<?x256xf32>
  return %0, %1, %2 : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>
}

// Integers: a scale a token, whatever groups of a weight's row share one; blocks of several rows and zero points are left alone.
// INT8-LABEL: @integers
// INT8: %[[Q:.*]] = qblock.quantize %{{.*}} -> !qblock.tensor<?x256xi8, block<1x?>, f32>
// INT8-NEXT: qblock.matmul %[[Q]]
// INT8-NEXT: qblock.matmul %[[Q]]
// INT8-NOT: qblock.quantize
func.func @integers(%x: tensor<?x256xf32>, %w: !qblock.tensor<64x256xi8, block<1x?>, f32>, %v: !qblock.tensor<64x256xui4, block<1x64>, bf16, zero 8>,
                    %b: !qblock.tensor<64x256xi8, block<64x64>, f32>, %z: !qblock.tensor<64x256xui4, block<1x64>, bf16, zero ui8>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %0 = qblock.matmul %x, %w : (tensor<?x256xf32>, !qblock.tensor<64x256xi8, block<1x?>, f32>) -> tensor<?x64xf32>
  %1 = qblock.matmul %x, %v : (tensor<?x256xf32>, !qblock.tensor<64x256xui4, block<1x64>, bf16, zero 8>) -> tensor<?x64xf32>
  %2 = qblock.matmul %x, %b : (tensor<?x256xf32>, !qblock.tensor<64x256xi8, block<64x64>, f32>) -> tensor<?x64xf32>
  %3 = qblock.matmul %x, %z : (tensor<?x256xf32>, !qblock.tensor<64x256xui4, block<1x64>, bf16, zero ui8>) -> tensor<?x64xf32>
  return %0, %1, %2, %3 : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// Without groups INT8 inputs are for symmetric weights with a scale a row (W8A8) alone: codes around a zero point (W8A16, W4A16), and
// scales of several rows, leave x as it is.
// INT8-LABEL: @int8_rows
// ROWS-LABEL: @int8_rows
// ROWS-COUNT-1: qblock.quantize
// ROWS-NOT: qblock.quantize
// ROWS: return
func.func @int8_rows(%x: tensor<?x128xf32>, %y: tensor<?x128xf32>, %a: !qblock.tensor<256x128xi8, block<1x128>, f32>, %b: !qblock.tensor<256x128xui8, block<1x128>, f32, zero 128>, %c: !qblock.tensor<256x128xui4, block<1x128>, f32, zero 8>, %d: !qblock.tensor<256x128xi8, block<128x128>, f32>) -> (tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>) {
  %0 = qblock.matmul %x, %a : (tensor<?x128xf32>, !qblock.tensor<256x128xi8, block<1x128>, f32>) -> tensor<?x256xf32>
  %1 = qblock.matmul %y, %b : (tensor<?x128xf32>, !qblock.tensor<256x128xui8, block<1x128>, f32, zero 128>) -> tensor<?x256xf32>
  %2 = qblock.matmul %y, %c : (tensor<?x128xf32>, !qblock.tensor<256x128xui4, block<1x128>, f32, zero 8>) -> tensor<?x256xf32>
  %3 = qblock.matmul %y, %d : (tensor<?x128xf32>, !qblock.tensor<256x128xi8, block<128x128>, f32>) -> tensor<?x256xf32>
  return %0, %1, %2, %3 : tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>, tensor<?x256xf32>
}
