//===- SimtKernels.td - ops with kernels of plain threads ------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_SIMT_KERNELS
#define QUANT_SIMT_KERNELS

include "mlir/IR/OpBase.td"

def SimtKernelInterface : OpInterface<"SimtKernelInterface"> {
  let description = [{
    An op that is no row program and has an emitter of its own for a GPU's plain threads. LowerSimt.cpp attaches the emitters that
    there are.
  }];
  let cppNamespace = "::quant::nvvm";
  let methods = [
    InterfaceMethod<"Threads of a block, and blocks; `rows` is the run-time number of the kernel's rows.",
                    "::quant::nvvm::SimtGrid", "getGrid", (ins "::mlir::func::FuncOp":$kernel, "const ::quant::nvvm::SizeExpr &":$rows)>,
    InterfaceMethod<"Emits what a block does. Errors: an operand's type or form that there is no kernel for.", "::quant::Result<void>",
                    "emitBlock", (ins "::quant::nvvm::SimtContext &":$context)>
  ];
}

#endif // QUANT_SIMT_KERNELS
