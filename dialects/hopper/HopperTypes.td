//===- HopperTypes.td - tiles, rings and registers of sm_90a -*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_HOPPER_TYPES
#define QUANT_HOPPER_TYPES

include "mlir/IR/AttrTypeBase.td"
include "dialects/hopper/HopperDialect.td"

class Hopper_Type<string name, string typeMnemonic> : TypeDef<Hopper_Dialect, name> {
  let mnemonic = typeMnemonic;
}

def Hopper_TensorMapType : Hopper_Type<"TensorMap", "tensor_map"> {
  let summary = "a CUtensorMap: how TMA cuts boxes out of a matrix in global memory";
  let description = [{
    Box (rows x columns), element type, and the swizzle of the box in shared memory in bytes (0 if left out, 32, 64 or 128). A
    swizzled row is at most that many bytes long. The tensor's address, extents and strides are the launch recipe's.

    Leading ones are dimensions of which a box takes one index: `1x128x128` cuts a box out of one of several matrices.

    A `ragged` map is of rows that belong to groups. Each load and store says `until` which row its group goes, and rows from there
    on count as outside of the matrix: zeros, or not stored. To TMA that is a tensor {columns, R, rows + 1} with R the rows of a
    box, whose two outer strides are both a row and which begins R rows before the matrix: rows first .. end - 1 stand at the
    coordinates (R - n, first + n) with n = min(R, end - first), and the middle dimension ends where the group does. (Triton's
    ragged descriptors, tools/ragged_tma.py, do the same with strides that wrap around.)

    ```
    !hopper.tensor_map<128x128xf8E4M3FN, swizzle = 128>
    !hopper.tensor_map<1x128xf32>
    !hopper.tensor_map<1x128x128xf8E4M3FN, swizzle = 128>
    !hopper.tensor_map<64x64xbf16, swizzle = 128, ragged>
    ```
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::mlir::Type":$elementType, "int64_t":$swizzle,
                        "bool":$ragged);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Coordinates of a box: the indices before its row and column, and these.
    size_t getRank() const { return getShape().size(); }
    int64_t getRows() const { return getShape()[getRank() - 2]; }
    int64_t getColumns() const { return getShape().back(); }
    int64_t getBytes() const;
  }];
}

def Hopper_TileType : Hopper_Type<"Tile", "tile"> {
  let summary = "a matrix in shared memory";
  let description = [{
    `[copies x] rows x columns` of an element type. With a swizzle of S bytes the columns are cut into panels of S bytes; a panel
    is rows x S bytes, and in row r its 16-byte chunk c lies where TMA and wgmma expect it (128: at c ^ r % 8, 64: c ^ r / 2 % 4,
    32: c ^ r / 4 % 2). Without a swizzle rows are dense. Copies follow each other: a box of 2 * 64 rows fills both of
    `tile<2x64x128xf8E4M3FN, swizzle = 128>`.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape, "::mlir::Type":$elementType, "int64_t":$swizzle);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getCopies() const { return getShape().size() == 3 ? getShape()[0] : 1; }
    int64_t getRows() const { return getShape()[getShape().size() - 2]; }
    int64_t getColumns() const { return getShape().back(); }
    int64_t getElementBytes() const { return getElementType().getIntOrFloatBitWidth() / 8; }
    /// Bytes of one copy, and of all.
    int64_t getCopyBytes() const { return getRows() * getColumns() * getElementBytes(); }
    int64_t getBytes() const { return getCopies() * getCopyBytes(); }
    /// Columns of a panel; all of them without a swizzle.
    int64_t getPanelColumns() const { return getSwizzle() ? getSwizzle() / getElementBytes() : getColumns(); }
    int64_t getPanelBytes() const { return getRows() * getPanelColumns() * getElementBytes(); }
    /// A swizzle counts from the address, so its pattern (8 rows) must begin there.
    int64_t getAlignment() const { return getSwizzle() ? machine::swizzleAlignment(getSwizzle()) : kSm90a.tmaTileAlignment; }
  }];
}

def Hopper_RingType : Hopper_Type<"Ring", "ring"> {
  let summary = "stages between a producer and its consumers";
  let description = [{
    So many stages, each of one buffer per tile and a pair of mbarriers: `full` completes when the bytes of all tiles have
    arrived, `empty` when all consumers have let go of them. Stages are used in turn; a `!hopper.slot` is a place in that order.
    A ring that is `shared by` the blocks of a cluster may be filled by multicast: each block's stage by all of them.

    ```
    !hopper.ring<5, <128x128xf8E4M3FN, swizzle = 128>, <1x128xf32>>
    !hopper.ring<5 shared by 2, <128x128xf8E4M3FN, swizzle = 128>, <1x128xf32>>
    ```
  }];
  let parameters = (ins "int64_t":$stages, DefaultValuedParameter<"int64_t", "1">:$blocks,
                        ArrayRefParameter<"::quant::hopper::TileType">:$tiles);
  let assemblyFormat = "`<` $stages (`shared` `by` $blocks^)? `,` $tiles `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Bytes that TMA delivers for one stage.
    int64_t getStageBytes() const;
    /// Distance from a tile's stage to its next one.
    static int64_t getStride(::quant::hopper::TileType tile);
    /// Where the stages of tile `index` begin (index = number of tiles: the full barriers, then the empty ones).
    int64_t getOffset(size_t index) const;
    int64_t getFullOffset() const { return getOffset(getTiles().size()); }
    int64_t getEmptyOffset() const { return getFullOffset() + kSm90a.mbarrierBytes * getStages(); }
    int64_t getBytes() const { return getEmptyOffset() + kSm90a.mbarrierBytes * getStages(); }
  }];
}

def Hopper_GlobalType : Hopper_Type<"Global", "global"> {
  let summary = "the address of a dense array in global memory";
  let parameters = (ins "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $elementType `>`";
}

def Hopper_GroupsType : Hopper_Type<"Groups", "groups"> {
  let summary = "where groups of rows begin and end, in shared memory";
  let description = [{
    A table of `count` groups, whose tiles have `rows` rows, in a cluster that pairs them together. An entry is four i32: the tiles
    of all groups before, the group's tiles, its first row, and the row behind its last. One entry more holds the number of all
    tiles.

    ```
    !hopper.groups<256, 128>
    ```
  }];
  let parameters = (ins "int64_t":$count, "int64_t":$rows);
  let assemblyFormat = "`<` $count `,` $rows `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static constexpr int64_t kEntryBytes = machine::kGroupEntryBytes;
    int64_t getBytes() const { return (getCount() + 1) * kEntryBytes; }
  }];
}

def Hopper_SlotType : Hopper_Type<"Slot", "slot"> {
  let summary = "a place in a ring: stage, and the parity of the round (phase)";
}

class Hopper_RegisterType<string name, string typeMnemonic> : Hopper_Type<name, typeMnemonic> {
  let parameters = (ins "int64_t":$rows, "int64_t":$columns);
  let assemblyFormat = "`<` $rows `,` $columns `>`";
  let genVerifyDecl = 1;
}

/// What wgmma sums up: f32, where nothing else is written, or i32.
class Hopper_SumsType<string name, string typeMnemonic> : Hopper_Type<name, typeMnemonic> {
  let parameters = (ins "int64_t":$rows, "int64_t":$columns, "::mlir::Type":$elementType);
  let builders = [TypeBuilder<(ins "int64_t":$rows, "int64_t":$columns), [{
    return $_get($_ctxt, rows, columns, ::mlir::Float32Type::get($_ctxt));
  }]>];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Hopper_AccumulatorType : Hopper_SumsType<"Accumulator", "accumulator"> {
  let summary = "sums of wgmmas in flight: a warpgroup's registers that nothing may touch before wgmma_wait";
  let description = [{
    ```
    !hopper.accumulator<64, 128>
    !hopper.accumulator<64, 128, i32>
    ```
  }];
}

def Hopper_FragmentType : Hopper_SumsType<"Fragment", "fragment"> {
  let summary = "a matrix of f32 or i32 in a warpgroup's registers, in wgmma's layout";
  let description = [{
    Lane l of warp w holds, of rows 16w + l/4 and 8 more, columns 8i + l%4 * 2 and 1 more: `columns / 2` values.

    ```
    !hopper.fragment<64, 128>
    !hopper.fragment<64, 128, i32>
    ```
  }];
  let extraClassDeclaration = [{
    int64_t getValues() const { return getColumns() / 2; }
  }];
}

def Hopper_FloatFragmentType : ConfinedType<
    Hopper_FragmentType, [CPred<"::llvm::cast<::quant::hopper::FragmentType>($_self).getElementType().isF32()">], "a fragment of f32",
    "::quant::hopper::FragmentType">;

def Hopper_OperandType : Hopper_RegisterType<"Operand", "operand"> {
  let summary = "a matrix of bf16 in a warpgroup's registers, which wgmma takes as its A";
  let description = [{
    Lane l of warp w holds, of rows 16w + l/4 and 8 more, columns 8i + l%4 * 2 and 1 more: two numbers in a register, and in the
    order of a fragment of as many columns.

    ```
    !hopper.operand<64, 64>
    ```
  }];
  let extraClassDeclaration = [{
    int64_t getRegisters() const { return getColumns() / 4; }
  }];
}

def Hopper_RowScalesType : Hopper_Type<"RowScales", "row_scales"> {
  let summary = "for each row of a fragment one f32: two values in each thread";
}

def Hopper_RowKeysType : Hopper_Type<"RowKeys", "row_keys"> {
  let summary = "for each row of a fragment an i32, how many keys it attends to: two values in each thread";
}

def Hopper_NamedBarrierType : Hopper_Type<"NamedBarrier", "named_barrier"> {
  let summary = "one of a block's 16 hardware barriers, and how many threads complete it";
  let description = [{
    ```
    !hopper.named_barrier<256>
    ```
  }];
  let parameters = (ins "int64_t":$threads);
  let assemblyFormat = "`<` $threads `>`";
  let genVerifyDecl = 1;
}

def Hopper_ColumnScalesType : Hopper_Type<"ColumnScales", "column_scales"> {
  let summary = "for each column of a fragment one f32: columns / 4 values in each thread";
  let parameters = (ins "int64_t":$columns);
  let assemblyFormat = "`<` $columns `>`";
}

#endif // QUANT_HOPPER_TYPES
