//===- Ptx.cpp - from a gpu.module to PTX ------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Ptx.h"
#include "dialects/hopper/Hopper.h"
#include "lowering/target/sm90/NvvmSupport.h"
#include "lowering/target/sm90/Passes.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/ConvertToLLVM/ToLLVMPass.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/Transforms/Passes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVM/ModuleToObject.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Transforms/LocationSnapshot.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/TargetSelect.h"

using namespace mlir;

namespace quant::nvvm {

void registerNvvmLowering(DialectRegistry &registry) {
  registry.insert<arith::ArithDialect, cf::ControlFlowDialect, gpu::GPUDialect, LLVM::LLVMDialect, scf::SCFDialect,
                  vector::VectorDialect, hopper::HopperDialect>();
  insertNvvmDialect(registry);
  arith::registerConvertArithToLLVMInterface(registry);
  cf::registerConvertControlFlowToLLVMInterface(registry);
  vector::registerConvertVectorToLLVMInterface(registry);
  registerBuiltinDialectTranslation(registry);
  registerGPUDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  registerNVVMDialectTranslation(registry);
}

namespace {
/// The NVPTX backend behind MLIR's serialiser. #nvvm.target's own would also look for a toolkit and link libdevice, neither of
/// which a kernel needs.
class PtxSerializer : public LLVM::ModuleToObject {
public:
  PtxSerializer(Operation &gpuModule, function_ref<void(llvm::Module &)> onLlvmIr)
      : ModuleToObject(gpuModule, "nvptx64-nvidia-cuda", machine::kSm90a.name, "+ptx80", /*optLevel=*/3, onLlvmIr) {}

protected:
  FailureOr<SmallVector<char, 0>> moduleToObject(llvm::Module &llvmModule) override {
    FailureOr<llvm::TargetMachine *> machine = getOrCreateTargetMachine();
    if (failed(machine))
      return getOperation().emitError("llvm has no NVPTX target");
    auto ptx = translateModuleToISA(llvmModule, **machine, [&] { return getOperation().emitError(); });
    if (failed(ptx))
      return failure();
    return SmallVector<char, 0>(ptx->begin(), ptx->end());
  }
};
} // namespace

/// Inline asm is not convergent by itself, and the warp-synchronous PTX in it must not be made conditional or duplicated into
/// branches. What has no side effects may move.
static void markInlineAsmConvergent(llvm::Module &module) {
  for (llvm::Function &function : module)
    for (llvm::Instruction &instruction : llvm::instructions(function))
      if (auto *call = dyn_cast<llvm::CallInst>(&instruction); call && call->isInlineAsm())
        if (cast<llvm::InlineAsm>(call->getCalledOperand())->hasSideEffects())
          call->setConvergent();
}

static LogicalResult lowerToLlvmDialect(ModuleOp module, bool withLocations) {
  PassManager passes(module.getContext());
  auto &kernels = passes.nest<gpu::GPUModuleOp>();
  kernels.addPass(createLowerHopperToNvvm());
  kernels.addPass(createCanonicalizerPass());
  kernels.addPass(createCSEPass());
  kernels.addPass(createSCFToControlFlowPass());
  // Also turns the NVVM operations that have no LLVM intrinsic into inline PTX.
  kernels.addPass(createConvertToLLVMPass());
  kernels.addPass(createReconcileUnrealizedCastsPass());
  // .loc directives, nothing else of debug information.
  if (withLocations)
    passes.addPass(LLVM::createDIScopeForLLVMFuncOpPass({LLVM::DIEmissionKind::DebugDirectivesOnly}));
  return passes.run(module);
}

Result<PtxText> compileToPtx(gpu::GPUModuleOp gpuModule, const std::string &irName) {
  static const bool targetReady = [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    return true;
  }();
  (void)targetReady;

  std::string diagnostics;
  ScopedDiagnosticHandler collect(gpuModule.getContext(), [&](Diagnostic &diagnostic) {
    diagnostics += diagnostics.empty() ? diagnostic.str() : "; " + diagnostic.str();
    return success();
  });
  std::string where = "gpu.module @" + gpuModule.getName().str();
  OwningOpRef<ModuleOp> scratch = ModuleOp::create(gpuModule.getLoc());
  auto clone = gpuModule.clone();
  scratch->push_back(clone);
  PtxText text;
  if (!irName.empty()) {
    llvm::raw_string_ostream ir(text.ir);
    generateLocationsFromIR(ir, irName, *scratch, OpPrintingFlags());
  }
  if (failed(lowerToLlvmDialect(*scratch, !irName.empty())))
    return fail(where + ": cannot be lowered to the llvm dialect: " + diagnostics);
  std::optional<SmallVector<char, 0>> ptx = PtxSerializer(*clone, markInlineAsmConvergent).run();
  if (!ptx)
    return fail(where + ": cannot be compiled to PTX: " + diagnostics);
  // The serialiser may end the text with a NUL, which is no part of it.
  while (!ptx->empty() && ptx->back() == '\0')
    ptx->pop_back();
  text.ptx.assign(ptx->begin(), ptx->end());
  return text;
}

} // namespace quant::nvvm
