//===- Passes.td - lowering to H100/H200 ------------------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_NVVM_PASSES
#define QUANT_LOWERING_NVVM_PASSES

include "mlir/Pass/PassBase.td"

def TileToHopper : Pass<"program-tile-to-hopper", "::mlir::ModuleOp"> {
  let summary = "makes persistent TMA + wgmma kernels of matmuls that are scheduled for the tensor cores";
  let description = [{
    A matmul whose `#program.schedule` names the unit `tensor` becomes a `hopper.kernel` for each of its schedules, with that tile,
    in `gpu.module @sm_90a`: what is printed there is what runs (docs/hopper.md). What is left of the kernel is a declaration that
    carries its launch recipe (`program.launch`), or a list of them by the number of rows. A schedule that no kernel can be built
    of is an error.

    ```
    quant-opt --stage=tiled --stage-options=target=sm_90a model.mlir
    ```
  }];
  let options = [Option<"gpu", "gpu", "std::string", /*default=*/"machine::defaultGpu().name",
                        "GPU whose number of multiprocessors orders the tiles: h100, h200, h800; the code runs on each of them">];
  let dependentDialects = ["::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::scf::SCFDialect"];
}

def PlaceLaunchDependents : Pass<"hopper-place-launch-dependents"> {
  let summary = "says when the kernel behind one of the hopper dialect may start, if it is launched so that it may";
  let description = [{
    Kernels are built with `hopper.launch_dependents` at their start. `at=loaded` moves it behind the last load that a block issues, so
    that blocks of the next kernel take no multiprocessor before; `at=never` removes it, and the next kernel starts when this one
    ends. Results are the same: the next kernel waits before it reads what this one writes.

    ```
    quant-opt --hopper-place-launch-dependents=at=loaded kernel.mlir
    ```
  }];
  let options = [Option<"at", "at", "std::string", /*default=*/"\"start\"", "start, loaded or never">];
  let dependentDialects = ["::quant::hopper::HopperDialect"];
}

def LowerToNvvm : Pass<"lower-to-nvvm", "::mlir::ModuleOp"> {
  let summary = "turns kernels that go without tensor cores into code for sm_90a";
  let description = [{
    Every kernel that is left becomes an `llvm.func` of plain threads in `gpu.module @sm_90a` (lowering/target/sm90/simt), and a
    declaration that carries its launch recipe (`program.launch`). A kernel that has no lowering stays as it is and is marked
    `program.unsupported` with the reason.

    ```
    quant-opt --stage=target --stage-options=target=sm_90a model.mlir
    ```
  }];
  let dependentDialects = ["::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
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
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::arith::ArithDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

#endif // QUANT_LOWERING_NVVM_PASSES
