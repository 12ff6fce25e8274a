//===- RowOps.td - the interface of ops that go row by row -*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_ROWS_ROWOPS
#define QUANT_ROWS_ROWOPS

include "mlir/IR/OpBase.td"

def Rows_RowOpInterface : OpInterface<"RowOpInterface"> {
  let cppNamespace = "::quant::rows";
  let description = [{
    An op that computes each row of its result from rows of its operands. What it computes is written once, in `buildRow`, for one
    row and in the words of dialects/rows/RowBuilder.h; every target maps those words, and `deepseek-decompose` too.
  }];
  let methods = [
    InterfaceMethod<"Emits what the op computes for the row at hand.", "void", "buildRow",
                    (ins "::quant::rows::RowBuilder &":$b)>,
    InterfaceMethod<[{
      The tensor whose leading dimensions count the op's rows.
    }], "::mlir::Value", "getRowSource", (ins), /*methodBody=*/"", /*defaultImplementation=*/"return $_op->getOperand(0);">,
    InterfaceMethod<"The number of the op's rows where that is always the same; 0 where the row source tells it.",
                    "int64_t", "getFixedRows", (ins), /*methodBody=*/"", /*defaultImplementation=*/"return 0;">,
    InterfaceMethod<[{
      The shape of the op's rows, all leading dimensions of which count them, where none of its tensors has it: those of its first
      tensor count the rows otherwise, and its widest one tells the columns.
    }], "::llvm::ArrayRef<int64_t>", "getRowShape", (ins), /*methodBody=*/"", /*defaultImplementation=*/"return {};">,
    InterfaceMethod<[{
      Neighbouring columns that need nothing of the others, so that rows may be handed out in such pieces; 0 where a row is one piece.
      Such an op only uses the row at hand.
    }], "int64_t", "getIndependentColumns", (ins), /*methodBody=*/"", /*defaultImplementation=*/"return 0;">,
  ];
}

#endif // QUANT_ROWS_ROWOPS
