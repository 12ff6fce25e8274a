//===- KernelInterfaces.td - ops that become kernels ------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_KERNEL_INTERFACES
#define QUANT_KERNEL_INTERFACES

include "mlir/IR/OpBase.td"

def KernelOpInterface : OpInterface<"KernelOpInterface"> {
  let description = [{
    An op that becomes a kernel of its own: `program-outline-dispatches` makes a function of it and of the views that it looks
    through. What the passes and lowerings must know of such an op is asked here, so that an op brings it along.
  }];
  let cppNamespace = "::quant";
  let methods = [
    InterfaceMethod<[{
        The blocks of the kernel's grid, the unit in which work is handed to threads; null: no kernel can be made of this op.
        `rows` is the run-time number of the op's rows, one block for each of which is the default. A matmul has a block for
        each `tileRows` rows of its weight.
      }], "::mlir::AffineExpr", "getGrid", (ins "::mlir::AffineExpr":$rows, "int64_t":$tileRows), [{}], [{ return rows; }]>,
    InterfaceMethod<[{
        The value whose leading dimension counts the op's rows; null: nothing counts them.
      }], "::mlir::Value", "getCountedRows", (ins), [{}], [{
        if ($_op->getNumResults() > 0)
          return $_op->getResult(0);
        return $_op->getNumOperands() > 0 ? $_op->getOperand(0) : ::mlir::Value();
      }]>,
    InterfaceMethod<[{
        The run-time size (`program.dim`) that counts the rows of the results where it is not that of the operands.
      }], "::std::optional<::llvm::StringRef>", "getResultDim", (ins), [{}], [{ return std::nullopt; }]>,
    InterfaceMethod<[{
        The type that the kernel's name tells: a matmul's weight, else the first result's.
      }], "::mlir::Type", "getNamedType", (ins), [{}], [{
        return $_op->getNumResults() > 0 ? $_op->getResult(0).getType() : $_op->getOperand(0).getType();
      }]>,
    InterfaceMethod<[{
        Whether the kernel writes to the memref operand `index`.
      }], "bool", "writesTo", (ins "unsigned":$index), [{}], [{ return false; }]>
  ];
}

def WeightsOpInterface : OpInterface<"WeightsOpInterface"> {
  let description = [{
    An op that multiplies by weights, each of which may be block-scaled.
  }];
  let cppNamespace = "::quant";
  let methods = [InterfaceMethod<"The operands that are weights.", "::llvm::SmallVector<::mlir::OpOperand *>", "getWeightOperands">];
}

def ViewOpInterface : OpInterface<"ViewOpInterface"> {
  let description = [{
    An op that only looks at data: it moves nothing, and goes into each kernel that uses its result.
  }];
  let cppNamespace = "::quant";
}

def QuantizingOpInterface : OpInterface<"QuantizingOpInterface"> {
  let description = [{
    An op with an optional second result: the first one, quantized while it is still in registers (`qblock-fuse-quantize`).
  }];
  let cppNamespace = "::quant";
  let methods = [
    InterfaceMethod<"The quantized result; null if it is not asked for.", "::mlir::Value", "getQuantized">,
    InterfaceMethod<"The least amax of a block, see `qblock.quantize`.", "::llvm::APFloat", "getAmaxFloor">,
    InterfaceMethod<"Sets it.", "void", "setAmaxFloorAttr", (ins "::mlir::FloatAttr":$floor)>,
    InterfaceMethod<"Whether scales are rounded up to powers of two.", "bool", "getPowerOfTwo">,
    InterfaceMethod<"Sets it.", "void", "setPowerOfTwo", (ins "bool":$powerOfTwo)>
  ];
}

#endif // QUANT_KERNEL_INTERFACES
