// Every message of the verifiers and of the type's parser.
// RUN: quant-opt %s -verify-diagnostics -split-input-file

//===--- !qblock.tensor ---===//

// expected-error @+1 {{a block-scaled tensor needs at least one dimension}}
func.func private @rank_0(!qblock.tensor<f8E4M3FN, block<>, f32>)

// -----

// expected-error @+1 {{storage must be f8E4M3FN, f8E5M2, f4E2M1FN, i8, i4, ui8 or ui4, not 'f32'}}
func.func private @storage(!qblock.tensor<4x4xf32, block<1x4>, f32>)

// -----

// expected-error @+1 {{storage must be f8E4M3FN, f8E5M2, f4E2M1FN, i8, i4, ui8 or ui4, not 'si8'}}
func.func private @signed_storage(!qblock.tensor<4x4xsi8, block<1x4>, f32>)

// -----

// expected-error @+1 {{storage must be f8E4M3FN, f8E5M2, f4E2M1FN, i8, i4, ui8 or ui4, not '!qblock.tensor<4xi8, block<1>, f32>'}}
func.func private @nested(!qblock.tensor<4x!qblock.tensor<4xi8, block<1>, f32>, block<1>, f32>)

// -----

// expected-error @+1 {{scale must be f32, f16, bf16, f8E8M0FNU or f8E4M3FN, not 'f64'}}
func.func private @scale(!qblock.tensor<4x4xi8, block<1x4>, f64>)

// -----

// expected-error @+1 {{block has 1 extents, the shape has 2 dimensions}}
func.func private @block_rank(!qblock.tensor<4x4xi8, block<4>, f32>)

// -----

// expected-error @+1 {{block extent must be positive or '?', not 0}}
func.func private @block_of_0(!qblock.tensor<4x4xi8, block<0x4>, f32>)

// -----

// expected-error @+1 {{expected '>'}}
func.func private @negative_block(!qblock.tensor<4x4xi8, block<-1x4>, f32>)

// -----

// expected-error @+1 {{expected non-function type}}
func.func private @negative_size(!qblock.tensor<-4x4xi8, block<1x4>, f32>)

// -----

// expected-error @+1 {{invalid dimension}}
func.func private @huge_size(!qblock.tensor<99999999999999999999x4xi8, block<1x4>, f32>)

// -----

// expected-error @+1 {{invalid dimension}}
func.func private @block_with_type(!qblock.tensor<4x4xi8, block<1x4xf32>, f32>)

// -----

// expected-error @+1 {{expected 'block'}}
func.func private @no_block(!qblock.tensor<4x4xi8, blok<1x4>, f32>)

// -----

// expected-error @+1 {{expected ','}}
func.func private @no_scale(!qblock.tensor<4x4xi8, block<1x4>>)

// -----

// expected-error @+1 {{expected 'zero'}}
func.func private @zero_misspelt(!qblock.tensor<4x4xi8, block<1x4>, f32, zer i8>)

// -----

// expected-error @+1 {{k_major scales must be f32, one for each group of a row}}
func.func private @k_major_weight(!qblock.tensor<256x256xf8E4M3FN, block<128x128>, f32, k_major>)

// -----

// expected-error @+1 {{a zero point needs integer storage, not 'f8E4M3FN'}}
func.func private @zero_of_float(!qblock.tensor<4x4xf8E4M3FN, block<1x4>, f32, zero i8>)

// -----

// expected-error @+1 {{zero point 16 is no code of 'ui4'}}
func.func private @zero_constant(!qblock.tensor<4x4xui4, block<1x4>, f32, zero 16>)

// -----

// expected-error @+1 {{zero point 3 is no code of 'f8E4M3FN'}}
func.func private @zero_constant_of_float(!qblock.tensor<4x4xf8E4M3FN, block<1x4>, f32, zero 3>)

// -----

// expected-error @+1 {{zero point must be i8 or ui8, not 'i4'}}
func.func private @zero_type(!qblock.tensor<4x4xi4, block<1x4>, f32, zero i4>)

// -----

// expected-error @+1 {{global scale must be f32, not 'bf16'}}
func.func private @global_type(!qblock.tensor<4x32xf4E2M1FN, block<1x16>, f8E4M3FN, global bf16>)

// -----

// expected-error @+1 {{scale must be f32, f16, bf16, f8E8M0FNU or f8E4M3FN, not 'f8E5M2'}}
func.func private @scale_type(!qblock.tensor<4x32xf4E2M1FN, block<1x16>, f8E5M2, global f32>)

// -----

//===--- assemble, storage ---===//

func.func @assemble_no_global(%d: tensor<4x32xf4E2M1FN>, %s: tensor<4x2xf8E4M3FN>) {
  // expected-error @+1 {{the type has a global scale, but none are given}}
  %w = qblock.assemble %d, %s : (tensor<4x32xf4E2M1FN>, tensor<4x2xf8E4M3FN>) -> !qblock.tensor<4x32xf4E2M1FN, block<1x16>, f8E4M3FN, global f32>
  return
}

// -----

func.func @assemble_global(%d: tensor<4x32xf4E2M1FN>, %s: tensor<4x2xf8E4M3FN>, %g: tensor<1xf32>) {
  // expected-error @+1 {{a global scale must be 'tensor<1x1xf32>', not 'tensor<1xf32>'}}
  %w = qblock.assemble %d, %s, %g : (tensor<4x32xf4E2M1FN>, tensor<4x2xf8E4M3FN>, tensor<1xf32>) -> !qblock.tensor<4x32xf4E2M1FN, block<1x16>, f8E4M3FN, global f32>
  return
}

// -----

func.func @quantize_under_a_global_scale(%x: tensor<4x32xf32>) {
  // expected-error @+1 {{quantization is by block: the result cannot have a global scale}}
  %q = qblock.quantize %x : tensor<4x32xf32> -> !qblock.tensor<4x32xf8E4M3FN, block<1x16>, f8E4M3FN, global f32>
  return
}

// -----

func.func @assemble_codes(%d: tensor<4x5xi8>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{codes must be 'tensor<4x4xi8>', not 'tensor<4x5xi8>'}}
  %w = qblock.assemble %d, %s : (tensor<4x5xi8>, tensor<4x1xf32>) -> !qblock.tensor<4x4xi8, block<1x4>, f32>
  return
}

// -----

func.func @assemble_scales(%d: tensor<576x300xi8>, %s: tensor<4x2xf32>) {
  // expected-error @+1 {{scales must be 'tensor<5x3xf32>' (shape / block, rounded up), not 'tensor<4x2xf32>'}}
  %w = qblock.assemble %d, %s : (tensor<576x300xi8>, tensor<4x2xf32>) -> !qblock.tensor<576x300xi8, block<128x128>, f32>
  return
}

// -----

func.func @assemble_scale_type(%d: tensor<4x4xi8>, %s: tensor<4x1xf16>) {
  // expected-error @+1 {{scales must be 'tensor<4x1xf32>' (shape / block, rounded up), not 'tensor<4x1xf16>'}}
  %w = qblock.assemble %d, %s : (tensor<4x4xi8>, tensor<4x1xf16>) -> !qblock.tensor<4x4xi8, block<1x4>, f32>
  return
}

// -----

func.func @assemble_zero(%d: tensor<4x4xi8>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{got zero points, but the type has none}}
  %w = qblock.assemble %d, %s, %d : (tensor<4x4xi8>, tensor<4x1xf32>, tensor<4x4xi8>) -> !qblock.tensor<4x4xi8, block<1x4>, f32>
  return
}

// -----

func.func @assemble_no_zero(%d: tensor<4x4xi8>, %s: tensor<4x1xf32>) {
  // expected-error @+1 {{the type has zero points, but none are given}}
  %w = qblock.assemble %d, %s : (tensor<4x4xi8>, tensor<4x1xf32>) -> !qblock.tensor<4x4xi8, block<1x4>, f32, zero i8>
  return
}

// -----

func.func @storage_zero(%w: !qblock.tensor<4x4xi8, block<1x4>, f32, zero i8>) {
  // expected-error @+1 {{zero points must be 'tensor<4x1xi8>', not 'tensor<4x4xi8>'}}
  %d, %s, %z = qblock.storage %w : !qblock.tensor<4x4xi8, block<1x4>, f32, zero i8> -> (tensor<4x4xi8>, tensor<4x1xf32>, tensor<4x4xi8>)
  return
}

// -----

//===--- quantize, dequantize ---===//

func.func @quantize_integers(%x: tensor<4xindex>) {
  // expected-error @+1 {{source must be floating point, not 'tensor<4xindex>'}}
  %q = qblock.quantize %x : tensor<4xindex> -> !qblock.tensor<4xi8, block<4>, f32>
  return
}

// -----

func.func @quantize_nan_floor(%x: tensor<4xf32>) {
  // expected-error @+1 {{amax_floor must be finite and not negative}}
  %q = qblock.quantize %x {amax_floor = 0x7FF8000000000000 : f64} : tensor<4xf32> -> !qblock.tensor<4xi8, block<4>, f32>
  return
}

// -----

func.func @quantize_zero_point(%x: tensor<4xf32>) {
  // expected-error @+1 {{quantization is symmetric: the result cannot have zero points}}
  %q = qblock.quantize %x : tensor<4xf32> -> !qblock.tensor<4xi8, block<4>, f32, zero i8>
  return
}

// -----

func.func @quantize_shape(%x: tensor<4xf32>) {
  // expected-error @+1 {{source and result differ in shape: 'tensor<4xf32>' and '!qblock.tensor<5xi8, block<4>, f32>'}}
  %q = qblock.quantize %x : tensor<4xf32> -> !qblock.tensor<5xi8, block<4>, f32>
  return
}

// -----

func.func @dequantize_to_integers(%q: !qblock.tensor<4xi8, block<4>, f32>) {
  // expected-error @+1 {{result must be floating point, not 'tensor<4xi32>'}}
  %x = qblock.dequantize %q : !qblock.tensor<4xi8, block<4>, f32> -> tensor<4xi32>
  return
}

// -----

func.func @dequantize_rank(%q: !qblock.tensor<4xi8, block<4>, f32>) {
  // expected-error @+1 {{source and result differ in shape}}
  %x = qblock.dequantize %q : !qblock.tensor<4xi8, block<4>, f32> -> tensor<4x1xf32>
  return
}

// -----

//===--- concat ---===//

func.func @concat_of_one(%a: tensor<4x4xf32>) {
  // expected-error @+1 {{needs at least two sources}}
  %0 = qblock.concat %a : (tensor<4x4xf32>) -> tensor<4x4xf32>
  return
}

// -----

func.func @concat_rank(%a: tensor<4xf32>) {
  // expected-error @+1 {{joins rows of matrices; the result has rank 1}}
  %0 = qblock.concat %a, %a : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  return
}

// -----

func.func @concat_dynamic(%a: tensor<?x4xf32>) {
  // expected-error @+1 {{the number of rows must be static: 'tensor<?x4xf32>'}}
  %0 = qblock.concat %a, %a : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @concat_columns(%a: tensor<4x4xf32>, %b: tensor<4x5xf32>) {
  // expected-error @+1 {{source 1 may differ from the result in its (static) rows only: 'tensor<4x5xf32>'}}
  %0 = qblock.concat %a, %b : (tensor<4x4xf32>, tensor<4x5xf32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @concat_forms(%a: tensor<4x4xf32>, %b: !qblock.tensor<4x4xi8, block<1x4>, f32>) {
  // expected-error @+1 {{source 1 may differ from the result in its (static) rows only}}
  %0 = qblock.concat %a, %b : (tensor<4x4xf32>, !qblock.tensor<4x4xi8, block<1x4>, f32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @concat_scheme(%a: !qblock.tensor<4x4xi8, block<1x4>, f32>, %b: !qblock.tensor<4x4xi8, block<1x2>, f32>) {
  // expected-error @+1 {{source 1 has another quantization scheme: '!qblock.tensor<4x4xi8, block<1x2>, f32>'}}
  %0 = qblock.concat %a, %b : (!qblock.tensor<4x4xi8, block<1x4>, f32>, !qblock.tensor<4x4xi8, block<1x2>, f32>) -> !qblock.tensor<8x4xi8, block<1x4>, f32>
  return
}

// -----

func.func @concat_ragged(%a: !qblock.tensor<5x4xi8, block<4x4>, f32>) {
  // expected-error @+1 {{source 0 has 5 rows, which does not end on a block's edge: its scales cannot be joined}}
  %0 = qblock.concat %a, %a : (!qblock.tensor<5x4xi8, block<4x4>, f32>, !qblock.tensor<5x4xi8, block<4x4>, f32>) -> !qblock.tensor<10x4xi8, block<4x4>, f32>
  return
}

// -----

func.func @concat_rows(%a: tensor<4x4xf32>) {
  // expected-error @+1 {{sources have 8 rows together, the result has 9}}
  %0 = qblock.concat %a, %a : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<9x4xf32>
  return
}

// -----

//===--- extract_slice ---===//

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_too_few(%w: !w) {
  // expected-error @+1 {{expected 2 offset values, got 1}}
  %0 = qblock.extract_slice %w[0] [128, 128] : !w to !qblock.tensor<128x128xi8, block<128x128>, f32>
  return
}

// -----

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_operands(%w: !w, %i: index) {
  // expected-error @+1 {{expected 0 dynamic offset values}}
  %0 = "qblock.extract_slice"(%w, %i) {operandSegmentSizes = array<i32: 1, 1, 0>, static_offsets = array<i64: 0, 0>,
    static_sizes = array<i64: 128, 128>} : (!w, index) -> !qblock.tensor<128x128xi8, block<128x128>, f32>
  return
}

// -----

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_result(%w: !w) {
  // expected-error @+1 {{result must be '!qblock.tensor<128x128xi8, block<128x128>, f32>'}}
  %0 = qblock.extract_slice %w[0, 0] [128, 128] : !w to !qblock.tensor<128x64xi8, block<128x128>, f32>
  return
}

// -----

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_negative_offset(%w: !w) {
  // expected-error @+1 {{dimension 1: negative offset -128}}
  %0 = qblock.extract_slice %w[0, -128] [128, 128] : !w to !qblock.tensor<128x128xi8, block<128x128>, f32>
  return
}

// -----

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_negative_size(%w: !w) {
  // expected-error @+1 {{dimension 0: negative size -2}}
  %0 = qblock.extract_slice %w[0, 0] [-2, 128] : !w to !qblock.tensor<128x128xi8, block<128x128>, f32>
  return
}

// -----

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_beyond(%w: !w) {
  // expected-error @+1 {{dimension 0: 512 + 128 is beyond 576}}
  %0 = qblock.extract_slice %w[512, 0] [128, 128] : !w to !qblock.tensor<128x128xi8, block<128x128>, f32>
  return
}

// -----

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_overflow(%w: !w) {
  // expected-error @+1 {{dimension 0: 9223372036854775807 + 128 is beyond 576}}
  %0 = qblock.extract_slice %w[9223372036854775807, 0] [128, 128] : !w to !qblock.tensor<128x128xi8, block<128x128>, f32>
  return
}

// -----

!w = !qblock.tensor<576x300xi8, block<128x128>, f32>
func.func @slice_cuts(%w: !w) {
  // expected-error @+1 {{dimension 1: offset 64 cuts through a block of 128}}
  %0 = qblock.extract_slice %w[0, 64] [128, 128] : !w to !qblock.tensor<128x128xi8, block<128x128>, f32>
  return
}

// -----

//===--- matmul, matmul_acc, grouped_matmul ---===//

func.func @matmul_rank(%x: tensor<4xf32>, %w: tensor<4x4xf32>) {
  // expected-error @+1 {{x, w and the result must be matrices}}
  %0 = qblock.matmul %x, %w : (tensor<4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  return
}

// -----

func.func @matmul_integers(%x: tensor<4x4xf32>, %w: tensor<4x4xi8>) {
  // expected-error @+1 {{w must be floating point or block-scaled, not 'tensor<4x4xi8>'}}
  %0 = qblock.matmul %x, %w : (tensor<4x4xf32>, tensor<4x4xi8>) -> tensor<4x4xf32>
  return
}

// -----

func.func @matmul_k(%x: tensor<?x4xf32>, %w: tensor<4x5xf32>) {
  // expected-error @+1 {{x has K = 4, w has K = 5 (w is N x K)}}
  %0 = qblock.matmul %x, %w : (tensor<?x4xf32>, tensor<4x5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_blocks(%x: !qblock.tensor<?x300xi8, block<1x64>, f32>, %w: !qblock.tensor<4x300xi8, block<1x128>, f32>) {
  // expected-error @+1 {{blocks along K differ: x has 64, w has 128 (x may have one block a row)}}
  %0 = qblock.matmul %x, %w : (!qblock.tensor<?x300xi8, block<1x64>, f32>, !qblock.tensor<4x300xi8, block<1x128>, f32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_dynamic_blocks(%x: !qblock.tensor<?x300xi8, block<1x128>, f32>, %w: !qblock.tensor<4x?xi8, block<1x?>, f32>) {
  // expected-error @+1 {{blocks along K differ: x has 128, w has ?}}
  %0 = qblock.matmul %x, %w : (!qblock.tensor<?x300xi8, block<1x128>, f32>, !qblock.tensor<4x?xi8, block<1x?>, f32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_forms(%x: !qblock.tensor<?x4xi8, block<1x4>, f32>, %w: tensor<4x4xf32>) {
  // expected-error @+1 {{a block-scaled x needs a block-scaled w}}
  %0 = qblock.matmul %x, %w : (!qblock.tensor<?x4xi8, block<1x4>, f32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_result(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>) {
  // expected-error @+1 {{the result must be ? x 4 (M of x, N of w), not 'tensor<?x5xf32>'}}
  %0 = qblock.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @matmul_result_type(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>) {
  // expected-error @+1 {{the result must be floating point, not 'tensor<?x4xi32>'}}
  %0 = qblock.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xi32>
  return
}

// -----

func.func @matmul_acc(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>, %acc: tensor<?x4xbf16>) {
  // expected-error @+1 {{acc must have the result's type 'tensor<?x4xf32>'}}
  %0 = qblock.matmul_acc %x, %w into %acc : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<?x4xbf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @grouped_w(%x: tensor<?x4xf32>, %w: tensor<4x4xf32>, %o: tensor<5xi32>) {
  // expected-error @+1 {{w must be groups x N x K, all static, not 'tensor<4x4xf32>'}}
  %0 = qblock.grouped_matmul %x, %w, %o : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<5xi32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @grouped_x(%x: tensor<f32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>) {
  // expected-error @+1 {{x must be rows (x top_k) x K, not 'tensor<f32>'}}
  %0 = qblock.grouped_matmul %x, %w, %o : (tensor<f32>, tensor<8x4x4xf32>, tensor<9xi32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @grouped_offsets(%x: tensor<?x2x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<8xi32>) {
  // expected-error @+1 {{offsets must be tensor<9xi32> (groups + 1), not 'tensor<8xi32>'}}
  %0 = qblock.grouped_matmul %x, %w, %o : (tensor<?x2x4xf32>, tensor<8x4x4xf32>, tensor<8xi32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @grouped_result(%x: tensor<?x2x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>) {
  // expected-error @+1 {{the result must be rows x top_k x 4, not 'tensor<?x2x5xf32>'}}
  %0 = qblock.grouped_matmul %x, %w, %o : (tensor<?x2x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>) -> tensor<?x2x5xf32>
  return
}

// -----

func.func @grouped_rows(%x: tensor<?x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %r: tensor<?x3xi32>) {
  // expected-error @+1 {{rows must be i32 with the result's leading shape, not 'tensor<?x3xi32>'}}
  %0 = qblock.grouped_matmul %x, %w, %o gather(%r) : (tensor<?x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<?x3xi32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @grouped_gathered_x(%x: tensor<?x2x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %r: tensor<?x2xi32>) {
  // expected-error @+1 {{a gathered x must be tokens x K, not 'tensor<?x2x4xf32>'}}
  %0 = qblock.grouped_matmul %x, %w, %o gather(%r) : (tensor<?x2x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<?x2xi32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @grouped_slots(%x: tensor<?x3x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>) {
  // expected-error @+1 {{x and the result differ in their rows: 'tensor<?x3x4xf32>' and 'tensor<?x2x4xf32>'}}
  %0 = qblock.grouped_matmul %x, %w, %o : (tensor<?x3x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>) -> tensor<?x2x4xf32>
  return
}

// -----

func.func @grouped_acc_type(%x: tensor<?x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %acc: tensor<?x4xbf16>) {
  // expected-error @+1 {{acc must have the result's type 'tensor<?x4xf32>'}}
  %0 = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2 : i64} : (tensor<?x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<?x4xbf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @grouped_acc_x(%x: tensor<?x2x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %acc: tensor<?x4xf32>) {
  // expected-error @+1 {{x must be rows x K, not 'tensor<?x2x4xf32>'}}
  %0 = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2 : i64} : (tensor<?x2x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @grouped_acc_offsets(%x: tensor<?x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi64>, %acc: tensor<?x4xf32>) {
  // expected-error @+1 {{offsets must be tensor<9xi32> (groups + 1), not 'tensor<9xi64>'}}
  %0 = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2 : i64} : (tensor<?x4xf32>, tensor<8x4x4xf32>, tensor<9xi64>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @grouped_acc_result(%x: tensor<?x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %acc: tensor<?x5xf32>) {
  // expected-error @+1 {{the result must be floating point, rows x 4, not 'tensor<?x5xf32>'}}
  %0 = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2 : i64} : (tensor<?x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<?x5xf32>) -> tensor<?x5xf32>
  return
}

// -----

func.func @grouped_acc_rows(%x: tensor<?x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %r: tensor<?x2xi32>, %acc: tensor<?x4xf32>) {
  // expected-error @+1 {{rows must be i32, one for each of the result's, not 'tensor<?x2xi32>'}}
  %0 = qblock.grouped_matmul_acc %x, %w, %o gather(%r) into %acc {top_k = 2 : i64} : (tensor<?x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<?x2xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @grouped_acc_slots(%x: tensor<3x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %acc: tensor<4x4xf32>) {
  // expected-error @+1 {{x and the result differ in their rows: 'tensor<3x4xf32>' and 'tensor<4x4xf32>'}}
  %0 = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 2 : i64} : (tensor<3x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  return
}

// -----

func.func @grouped_acc_top_k(%x: tensor<?x4xf32>, %w: tensor<8x4x4xf32>, %o: tensor<9xi32>, %acc: tensor<?x4xf32>) {
  // expected-error @+1 {{attribute 'top_k' failed to satisfy constraint}}
  %0 = qblock.grouped_matmul_acc %x, %w, %o into %acc {top_k = 0 : i64} : (tensor<?x4xf32>, tensor<8x4x4xf32>, tensor<9xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

//===--- gather_columns ---===//

func.func @gather_columns_order(%x: tensor<?x64xf32>, %o: tensor<64xi32>) {
  // expected-error @+1 {{the order must be i32, 1 x columns, not 'tensor<64xi32>'}}
  %0 = qblock.gather_columns %x by %o : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @gather_columns_beyond(%x: tensor<?x64xf32>, %o: tensor<1x65xi32>) {
  // expected-error @+1 {{the order is of 65 columns, x has 64}}
  %0 = qblock.gather_columns %x by %o : (tensor<?x64xf32>, tensor<1x65xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @gather_columns_result(%x: tensor<?x64xf32>, %o: tensor<4x1x64xi32>, %r: tensor<?x8xi32>) {
  // expected-error @+1 {{the result must be tokens x top_k x 64, not 'tensor<?x4x64xf32>'}}
  %0 = qblock.gather_columns %x by %o of(%r, %r) : (tensor<?x64xf32>, tensor<4x1x64xi32>, tensor<?x8xi32>, tensor<?x8xi32>) -> tensor<?x4x64xf32>
  return
}

// -----

//===--- gather_rows ---===//

func.func @gather_blocks(%x: !qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>, %rows: tensor<256x8xi32>) {
  // expected-error @+1 {{takes rows with scales of their own, not '!qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>'}}
  %0 = qblock.gather_rows %x by %rows : (!qblock.tensor<256x300xf8E4M3FN, block<128x128>, f32>, tensor<256x8xi32>)
    -> !qblock.tensor<256x8x300xf8E4M3FN, block<1x128x128>, f32>
  return
}

// -----

func.func @gather_list(%x: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, %rows: tensor<?xi32>) {
  // expected-error @+1 {{rows must be i32 of tokens x top_k, not 'tensor<?xi32>'}}
  %0 = qblock.gather_rows %x by %rows : (!qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, tensor<?xi32>)
    -> !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>
  return
}

// -----

func.func @gather_result(%x: !qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, %rows: tensor<?x8xi32>) {
  // expected-error @+1 {{the result must be '!qblock.tensor<?x8x300xf8E4M3FN, block<1x1x128>, f32>', not}}
  %0 = qblock.gather_rows %x by %rows : (!qblock.tensor<?x300xf8E4M3FN, block<1x128>, f32>, tensor<?x8xi32>)
    -> !qblock.tensor<?x4x300xf8E4M3FN, block<1x1x128>, f32>
  return
}

// -----

//===--- grouped_swiglu ---===//

func.func @swiglu_weight(%x: !qblock.tensor<?x8x320xf8E4M3FN, block<1x1x128>, f32>,
                         %w: !qblock.tensor<16x384x320xf8E4M3FN, block<1x128x128>, f32>, %offsets: tensor<17xi32>) {
  // expected-error @+1 {{x must be tokens x top_k x K and w groups x 2 N x K with N a multiple of 128, not}}
  %0 = qblock.grouped_swiglu %x, %w, %offsets : (!qblock.tensor<?x8x320xf8E4M3FN, block<1x1x128>, f32>,
    !qblock.tensor<16x384x320xf8E4M3FN, block<1x128x128>, f32>, tensor<17xi32>) -> !qblock.tensor<?x8x192xf8E4M3FN, block<1x1x128>, f32>
  return
}

// -----

func.func @swiglu_result(%x: !qblock.tensor<?x8x320xf8E4M3FN, block<1x1x128>, f32>,
                         %w: !qblock.tensor<16x512x320xf8E4M3FN, block<1x128x128>, f32>, %offsets: tensor<17xi32>) {
  // expected-error @+1 {{the result must be rows of 256 in groups of 128, not '!qblock.tensor<?x8x512xf8E4M3FN, block<1x1x128>, f32>'}}
  %0 = qblock.grouped_swiglu %x, %w, %offsets : (!qblock.tensor<?x8x320xf8E4M3FN, block<1x1x128>, f32>,
    !qblock.tensor<16x512x320xf8E4M3FN, block<1x128x128>, f32>, tensor<17xi32>) -> !qblock.tensor<?x8x512xf8E4M3FN, block<1x1x128>, f32>
  return
}
