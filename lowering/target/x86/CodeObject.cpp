//===- CodeObject.cpp - from lowered kernels to machine code --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/CodeObject.h"
#include "dialects/machine/X86.h"
#include "dialects/program/Program.h"

#include "mlir/Conversion/ConvertToLLVM/ToLLVMPass.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/SmallVectorMemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

namespace {

LogicalResult convertToLLVM(ModuleOp module) {
  PassManager pm(module.getContext());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createConvertToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}

/// The CPU is never detected here: what runs is decided at load time.
std::unique_ptr<llvm::TargetMachine> createTargetMachine(const machine::X86Unit &unit, std::string &error) {
  static const bool initialized = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    return true;
  }();
  (void)initialized;
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  llvm::TargetOptions options;
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(triple, unit.llvmCpu, unit.llvmFeatures, options,
                                                                          llvm::Reloc::PIC_, llvm::CodeModel::Small,
                                                                          llvm::CodeGenOptLevel::Default));
}

/// The middle end and code generation read the CPU from each function. `no-builtins` keeps loops from becoming calls.
void setFunctionAttributes(llvm::Module &module, const machine::X86Unit &unit) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", unit.llvmCpu);
    if (!unit.llvmFeatures.empty())
      function.addFnAttr("target-features", unit.llvmFeatures);
    function.addFnAttr("no-builtins");
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.addFnAttr("prefer-vector-width", "512");
  }
}

void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::PipelineTuningOptions tuning;
  // Kernels are written in vectors; what is left scalar is short.
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  llvm::PassBuilder passes(&machine, tuning);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  passes.registerModuleAnalyses(modules);
  passes.registerCGSCCAnalyses(callGraph);
  passes.registerFunctionAnalyses(functions);
  passes.registerLoopAnalyses(loops);
  passes.crossRegisterProxies(loops, functions, callGraph, modules);
  passes.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2).run(module, modules);
}

bool emit(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type, SmallVectorImpl<char> &out) {
  llvm::raw_svector_ostream stream(out);
  llvm::legacy::PassManager codegen;
  if (machine.addPassesToEmitFile(codegen, stream, nullptr, type))
    return false;
  codegen.run(module);
  return true;
}

} // namespace

FailureOr<CodeObject> quant::host::compileKernels(ModuleOp module, StringRef isaName, std::string *assembly) {
  const machine::X86Unit &unit = *machine::findX86Unit(isaName);
  SmallVector<std::string> names;
  // The program is data: only kernels are compiled.
  for (func::FuncOp function : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
    if (function->hasAttr(program::kScratchBytesAttr))
      names.push_back(function.getSymName().str());
    else
      function.erase();
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  if (failed(convertToLLVM(module)))
    return module.emitError("kernels cannot be converted to the llvm dialect");
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> llvmModule = translateModuleToLLVMIR(module, context, "kernels");
  std::string error;
  std::unique_ptr<llvm::TargetMachine> machine = createTargetMachine(unit, error);
  if (!llvmModule || !machine)
    return module.emitError("cannot generate host code: ") << error;
  llvmModule->setTargetTriple(machine->getTargetTriple());
  llvmModule->setDataLayout(machine->createDataLayout());
  setFunctionAttributes(*llvmModule, unit);
  optimize(*llvmModule, *machine);
  if (assembly) {
    SmallVector<char> text;
    emit(*llvm::CloneModule(*llvmModule), *machine, llvm::CodeGenFileType::AssemblyFile, text);
    assembly->assign(text.begin(), text.end());
  }
  SmallVector<char> object;
  if (!emit(*llvmModule, *machine, llvm::CodeGenFileType::ObjectFile, object))
    return module.emitError("the host target cannot emit objects");
  llvm::Expected<FlatImage> image = linkFlatImage(llvm::StringRef(object.data(), object.size()), names);
  if (!image)
    return module.emitError("cannot lay out host code: ") << llvm::toString(image.takeError());
  return CodeObject{std::move(*image), std::string(unit.name), unit.requiredFeatures};
}
