//===- HostKernels.td - ops with kernels of their own on the host *- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_HOST_KERNELS
#define QUANT_HOST_KERNELS

include "mlir/IR/OpBase.td"

def HostKernelInterface : OpInterface<"HostKernelInterface"> {
  let description = [{
    An op that is no row program and has an emitter of its own for the host. X86Target.cpp attaches the emitters that there are.
  }];
  let cppNamespace = "::quant::host";
  let methods = [
    InterfaceMethod<"Emits one step of the kernel's loop: the blocks of the grid from `block` to context.endBlock. Errors are reported on "
                    "the op.", "::llvm::LogicalResult", "emitBlock",
                    (ins "::quant::host::KernelContext &":$context, "::mlir::Value":$block)>,
    InterfaceMethod<"Neighbouring blocks of the op's grid that are one block of the kernel's; they divide the grid.", "int64_t",
                    "getBlockSize", (ins), "", "return 1;">,
    InterfaceMethod<"Blocks of the kernel's grid that one step of its loop takes, where a call has as many.", "::mlir::Value",
                    "getStep", (ins "::quant::host::KernelContext &":$context), "", "return context.b.size(1);">
  ];
}

#endif // QUANT_HOST_KERNELS
