//===- HopperDialect.td - tile-level sm_90a kernels -------*- tablegen -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_HOPPER_DIALECT
#define QUANT_HOPPER_DIALECT

include "mlir/IR/OpBase.td"

def Hopper_Dialect : Dialect {
  let name = "hopper";
  let cppNamespace = "::quant::hopper";
  let summary = "Kernels for sm_90a as schedules of tiles: TMA, rings of stages, warp roles, wgmma";
  let description = [{
    A kernel in this dialect is what one would draw on a whiteboard: which warpgroups do what, which boxes TMA brings into which
    stage, what is multiplied, scaled and stored. Addresses, barriers, phases, swizzles, fences and register layouts follow from
    the types; `lower-hopper-to-nvvm` writes them out. The verifiers know the machine: shared memory, arrival counts, the bytes
    of a stage, what TMA and wgmma can address, and the register file. docs/hopper.md shows a whole kernel.
  }];
  let useDefaultTypePrinterParser = 1;
  let extraClassDeclaration = "void registerTypes();";
}

#endif // QUANT_HOPPER_DIALECT
