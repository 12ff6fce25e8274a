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
  let summary = "turns kernels into code for sm_90a, FP8 matmuls into persistent TMA + wgmma kernels";
  let description = [{
    A tiled matmul of per-token-group FP8 activations (1x128) with a block-scaled FP8 weight (128x128) becomes a
    `hopper.kernel` in `gpu.module @sm_90a`; what is left of the kernel is a declaration that carries its launch
    recipe (`program.launch`, JSON): a list of them where the cost model (passes/schedule/CostModel.h) has several kernels for
    different numbers of tokens. Every other kernel becomes an `llvm.func` that goes without tensor cores
    (lowering/target/sm90/simt). A kernel that has no lowering stays as it is and is marked `program.unsupported` with the reason.

    ```
    quant-opt --stage=target --stage-options=target=sm_90a model.mlir
    ```
  }];
  let dependentDialects = ["::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::scf::SCFDialect"];
  let options = [
    Option<"gpu", "gpu", "std::string", /*default=*/"\"h200\"",
           "GPU whose figures choose the tiles of matmuls: h100, h200, h800; the code runs on each of them">,
    Option<"maxKernels", "max-kernels", "int64_t", /*default=*/"4",
           "different kernels of one matmul, of which the number of tokens picks one">,
  ];
}

def LowerHopperToNvvm : Pass<"lower-hopper-to-nvvm"> {
  let summary = "writes the kernels of the hopper dialect out in NVVM operations";
  let description = [{
    Every `hopper.kernel` becomes an `llvm.func`: tiles become addresses in shared memory, slots a stage and a phase, fragments
    vectors of f32, and each operation the instructions it stands for. Loops marked `hopper.unroll` are unrolled first.

    ```
    quant-opt --lower-hopper-to-nvvm kernel.mlir
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect"];
}

#endif // QUANT_LOWERING_NVVM_PASSES
