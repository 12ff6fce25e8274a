//===- Program.cpp - the compiled model: verifiers and effects ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/program/Program.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace quant::program;

#include "dialects/program/ProgramDialect.cpp.inc"

#define GET_OP_CLASSES
#include "dialects/program/ProgramOps.cpp.inc"

void ProgramDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/program/ProgramOps.cpp.inc"
      >();
}

LogicalResult WeightOp::verify() {
  if (getName().empty())
    return emitOpError("needs the tensor's name in the checkpoint");
  return success();
}

LogicalResult WeightGroupOp::verify() {
  if (getName().count("{}") != 1)
    return emitOpError("name must hold '{}' once, where the index goes: \"") << getName() << "\"";
  if (cast<RankedTensorType>(getType()).getRank() < 2)
    return emitOpError("result needs a leading dimension that counts the tensors, not ") << getType();
  return success();
}

LogicalResult DispatchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<func::FuncOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError("there is no kernel ") << getKernelAttr();
  // A lowered kernel takes the table of addresses of the host ABI.
  if (kernel->hasAttr(kScratchBytesAttr))
    return success();
  FunctionType type = kernel.getFunctionType();
  if (TypeRange(type.getInputs()) != getOperandTypes() || TypeRange(type.getResults()) != getResultTypes()) {
    InFlightDiagnostic error = emitOpError("does not fit the kernel ") << getKernelAttr() << " of type " << type;
    error.attachNote(kernel.getLoc()) << "the kernel is here";
    return error;
  }
  if (getPlacement() && getPlacement()->size() != getNumResults())
    return emitOpError("placement has ") << getPlacement()->size() << " offsets for " << getNumResults() << " results";
  return success();
}

void DispatchOp::getEffects(SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  for (OpOperand &operand : (*this)->getOpOperands())
    if (isa<MemRefType>(operand.get().getType())) {
      effects.emplace_back(MemoryEffects::Read::get(), &operand);
      effects.emplace_back(MemoryEffects::Write::get(), &operand);
    }
}
