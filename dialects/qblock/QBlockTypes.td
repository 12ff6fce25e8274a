//===- QBlockTypes.td - the qblock dialect and its type ---*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_QBLOCK_TYPES
#define QUANT_QBLOCK_TYPES

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/OpBase.td"

//===----------------------------------------------------------------------===//
// Dialect
//===----------------------------------------------------------------------===//

def QBlock_Dialect : Dialect {
  let name = "qblock";
  let cppNamespace = "::quant::qblock";
  let summary = "Tensors quantized in blocks that share a scale";
  let description = [{
    Every quantization scheme is a block shape: per tensor (`block<?x?>`), per channel (`block<1x?>`), per-token-group
    (`block<1x128>`), weight block (`block<128x128>`), INT4 group (`block<1x128>`). One type, one quantize, one dequantize
    and one matmul serve them all.

    (Upstream MLIR owns the dialect name `quant`; ours is `qblock`.)
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = "void registerTypes();";
}

//===----------------------------------------------------------------------===//
// Type
//===----------------------------------------------------------------------===//

def QBlock_TensorType : TypeDef<QBlock_Dialect, "BlockTensor"> {
  let mnemonic = "tensor";
  let summary = "a tensor stored as small codes, with one scale for each block";
  let description = [{
    `!qblock.tensor<576x7168xf8E4M3FN, block<128x128>, f32>` is a 576x7168 matrix of E4M3 codes with an f32 scale for each
    128x128 block. Its meaning is

        value[i, j] = scale[i / 128, j / 128] * (code[i, j] - zero[i / 128, j / 128])

    and with a global scale `scale / global` in the place of `scale`, divided in f32.

    - A block extent of `?` spans the whole dimension: `block<1x?>` is one scale per row.
    - The last block of a dimension may be ragged: 576 rows are 4.5 blocks and have 5 scales. The scales' shape is
      `ceil(shape / block)`.
    - Storage: `f8E4M3FN`, `f8E5M2`, `f4E2M1FN`, `i8`, `i4`, `ui8`, `ui4`. Codes of four bits lie two in a byte, the first in its lower half.
      Scale: `f32`, `f16`, `bf16`, `f8E8M0FNU` (a power of two, "ue8m0"), `f8E4M3FN`.
    - A global scale is optional: one f32 of the whole tensor (of each expert where there are several), as NVFP4 has it:
      `!qblock.tensor<64x256xf4E2M1FN, block<1x16>, f8E4M3FN, global f32>`.
    - A zero point is optional and only for integers. One for each scale, `i8` or `ui8`: `!qblock.tensor<64x256xi4, block<1x128>, f16, zero i8>`. The
      same for all, as unsigned codes of signed numbers have it: `!qblock.tensor<64x256xui4, block<1x128>, bf16, zero 8>`.
    - `k_major` says how the scales of per-token groups lie in memory: group by group, each with its rows side by side and room for
      a multiple of 4 of them, as TMA and the tensor cores' kernels read them. The scales' tensor has the same shape and says it
      too: `!qblock.tensor<?x7168xf8E4M3FN, block<1x128>, f32, k_major>` has scales `tensor<?x56xf32, #qblock.layout<k_major>>`, with the scale of
      row r and group g at `g * roundUp(rows, 4) + r`.
  }];
  let parameters = (ins
    ArrayRefParameter<"int64_t", "shape">:$shape,
    "::mlir::Type":$storageType,
    ArrayRefParameter<"int64_t", "block extents, kDynamic for the whole dimension">:$block,
    "::mlir::Type":$scaleType,
    "::mlir::Type":$zeroType,
    "bool":$kMajorScales,
    "int64_t":$zeroConstant,
    "::mlir::Type":$globalType);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let builders = [
    TypeBuilderWithInferredContext<(ins "::llvm::ArrayRef<int64_t>":$shape, "::mlir::Type":$storageType,
                                        "::llvm::ArrayRef<int64_t>":$block, "::mlir::Type":$scaleType,
                                        CArg<"::mlir::Type", "{}">:$zeroType, CArg<"bool", "false">:$kMajorScales,
                                        CArg<"int64_t", "0">:$zeroConstant, CArg<"::mlir::Type", "{}">:$globalType), [{
      return $_get(storageType.getContext(), shape, storageType, block, scaleType, zeroType, kMajorScales, zeroConstant, globalType);
    }]>];
  let extraClassDeclaration = [{
    int64_t getRank() const { return getShape().size(); }
    int64_t getDimSize(int64_t dim) const { return getShape()[dim]; }
    /// Whether there is a tensor of zero points.
    bool hasZeroPoint() const { return static_cast<bool>(getZeroType()); }
    /// Whether there is a scale of the whole tensor, by which the others are divided.
    bool hasGlobalScale() const { return static_cast<bool>(getGlobalType()); }
    /// The block's extent along `dim`; the dimension's own size where the block spans it.
    int64_t getBlockExtent(int64_t dim) const;
    /// ceil(shape / block): the shape of the scales, and of the zero points.
    ::llvm::SmallVector<int64_t> getScaleShape() const;
    /// The tensors that hold this value: codes, scales, and zero points and a global scale if there are any.
    ::mlir::RankedTensorType getDataTensorType() const;
    ::mlir::RankedTensorType getScaleTensorType() const;
    ::mlir::RankedTensorType getZeroTensorType() const;
    ::mlir::RankedTensorType getGlobalTensorType() const;
    /// The same scheme with another shape, and blocks to go with it.
    BlockTensorType cloneWithShape(::llvm::ArrayRef<int64_t> shape) const;
    BlockTensorType cloneWith(::llvm::ArrayRef<int64_t> shape, ::llvm::ArrayRef<int64_t> block) const;
  }];
}

/// A matrix operand in either form: floating point, or block-scaled.
def QBlock_AnyMatrix : AnyTypeOf<[AnyRankedTensor, QBlock_TensorType], "a ranked tensor or a block-scaled tensor">;

#endif // QUANT_QBLOCK_TYPES
