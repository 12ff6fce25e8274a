//===- Passes.td - lowering to the host -------------------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_HOST_PASSES
#define QUANT_LOWERING_HOST_PASSES

include "mlir/Pass/PassBase.td"

def LowerToHost : Pass<"lower-to-host", "::mlir::ModuleOp"> {
  let summary = "turns kernels into loops over vectors";
  let description = [{
    Each kernel becomes a function of the host kernel ABI (runtime/abi/kernel_abi.h): operand addresses, run-time sizes,
    scratch, and a range of its grid. Its body is loops of scf, arithmetic on `vector<16xf32>`, and loads and stores through
    `!llvm.ptr`. `isa` picks the decoding of FP8 and how many rows stay in registers; everything else is the same text.

    ```
    quant-opt --lower-to-host tiled.mlir
    ```
  }];
  let options = [Option<"isa", "isa", "std::string", /*default=*/"std::string(machine::kDefaultX86Unit)",
                        "vector unit of x86 by its name in dialects/machine/X86.cpp (default: the first there)">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::scf::SCFDialect", "::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect", "::mlir::vector::VectorDialect", "::mlir::func::FuncDialect"];
}

#endif // QUANT_LOWERING_HOST_PASSES
