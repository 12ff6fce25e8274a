//===- Passes.td - lowering to H100/H200 ------------------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_NVVM_PASSES
#define QUANT_LOWERING_NVVM_PASSES

include "mlir/Pass/PassBase.td"

def LowerToNvvm : Pass<"lower-to-nvvm", "::mlir::ModuleOp"> {
  let summary = "turns tiled FP8 matmul kernels into persistent TMA + wgmma kernels for sm_90a";
  let description = [{
    A tiled matmul of per-token-group FP8 activations (1x128) with a block-scaled FP8 weight (128x128) becomes an
    `llvm.func` of NVVM ops in `gpu.module @sm_90a`; what is left of the kernel is a declaration that carries its launch
    recipe (`program.launch`, JSON). A kernel that has no lowering yet stays as it is and is marked `program.unsupported`
    with the reason.

    ```
    quant-opt --stage=target --stage-options=target=sm_90a model.mlir
    ```
  }];
  let dependentDialects = ["::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::scf::SCFDialect"];
}

#endif // QUANT_LOWERING_NVVM_PASSES
