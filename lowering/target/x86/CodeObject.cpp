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
#include "mlir/IR/Threading.h"
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

/// The modules in `module`.
LogicalResult convertToLLVM(ModuleOp module) {
  PassManager pm(module.getContext());
  OpPassManager &shard = pm.nest<ModuleOp>();
  shard.addPass(createSCFToControlFlowPass());
  shard.addPass(createConvertVectorToLLVMPass());
  shard.addPass(createConvertToLLVMPass());
  shard.addPass(createReconcileUnrealizedCastsPass());
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

/// What the kernels share is long, and written as it should run: full unrolling, value numbering over all of it and the like cost
/// more time than all of the rest and gain nothing.
constexpr StringLiteral kShortPipeline =
    "function(simplifycfg,early-cse<memssa>,instcombine<no-verify-fixpoint>,loop-simplify,lcssa,loop-mssa(loop-rotate,licm),"
    "simplifycfg,instcombine<no-verify-fixpoint>)";

void optimize(llvm::Module &module, llvm::TargetMachine &machine, bool isShared) {
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
  if (!isShared)
    return (void)passes.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2).run(module, modules);
  llvm::ModulePassManager pipeline;
  llvm::cantFail(passes.parsePassPipeline(pipeline, kShortPipeline));
  pipeline.run(module, modules);
}

bool emit(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type, SmallVectorImpl<char> &out) {
  llvm::raw_svector_ostream stream(out);
  llvm::legacy::PassManager codegen;
  if (machine.addPassesToEmitFile(codegen, stream, nullptr, type))
    return false;
  codegen.run(module);
  return true;
}

//===----------------------------------------------------------------------===//
// Shards
//===----------------------------------------------------------------------===//

/// A part of the kernels that becomes an object of its own, so that threads can work side by side: what kernels share, function
/// by function, and the kernels.
struct Shard {
  ModuleOp module;
  bool isShared;
  std::unique_ptr<llvm::LLVMContext> context = std::make_unique<llvm::LLVMContext>();
  std::unique_ptr<llvm::Module> llvmModule = nullptr;
  /// The object, and the text if it is wanted.
  SmallVector<char> object = {}, assembly = {};
  std::string error = {};
};

/// Moves functions into modules of their own, which lie in `module`; declares in each what it calls.
std::vector<Shard> splitIntoShards(ModuleOp module) {
  OpBuilder builder(module.getBodyRegion());
  builder.setInsertionPointToEnd(module.getBody());
  auto kernels = ModuleOp::create(builder, module.getLoc());
  std::vector<Shard> shards;
  for (func::FuncOp function : llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
    if (!function.isPrivate()) {
      function->moveBefore(kernels.getBody(), kernels.getBody()->end());
      continue;
    }
    builder.setInsertionPointToEnd(kernels.getBody());
    builder.insert(function.cloneWithoutRegions());
    builder.setInsertionPointToEnd(module.getBody());
    auto own = ModuleOp::create(builder, function.getLoc());
    function->moveBefore(own.getBody(), own.getBody()->end());
    function.setPublic();
    shards.push_back({own, /*isShared=*/true});
  }
  // Last, as it has the least work.
  shards.push_back({kernels, /*isShared=*/false});
  return shards;
}

void compileShard(Shard &shard, const machine::X86Unit &unit, bool wantsAssembly) {
  std::unique_ptr<llvm::TargetMachine> machine = createTargetMachine(unit, shard.error);
  if (!machine)
    return;
  llvm::Module &module = *shard.llvmModule;
  module.setTargetTriple(machine->getTargetTriple());
  module.setDataLayout(machine->createDataLayout());
  setFunctionAttributes(module, unit);
  optimize(module, *machine, shard.isShared);
  if (wantsAssembly)
    emit(*llvm::CloneModule(module), *machine, llvm::CodeGenFileType::AssemblyFile, shard.assembly);
  if (!emit(module, *machine, llvm::CodeGenFileType::ObjectFile, shard.object))
    shard.error = "the host target cannot emit objects";
}

} // namespace

FailureOr<FlatImage> quant::host::compileKernels(ModuleOp module, StringRef isaName, std::string *assembly) {
  const machine::X86Unit &unit = *machine::findX86Unit(isaName);
  SmallVector<std::string> names;
  // The program is data: only kernels are compiled, and what they share.
  for (func::FuncOp function : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
    if (function->hasAttr(program::kScratchBytesAttr))
      names.push_back(function.getSymName().str());
    else if (!function.isPrivate())
      function.erase();
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  std::vector<Shard> shards = splitIntoShards(module);
  if (failed(convertToLLVM(module)))
    return module.emitError("kernels cannot be converted to the llvm dialect");
  for (Shard &shard : shards)
    if (!(shard.llvmModule = translateModuleToLLVMIR(shard.module, *shard.context, "kernels")))
      return module.emitError("kernels cannot be translated to LLVM's IR");
  parallelForEach(module.getContext(), shards, [&](Shard &shard) { compileShard(shard, unit, assembly != nullptr); });
  SmallVector<StringRef> objects;
  for (Shard &shard : shards) {
    if (!shard.error.empty())
      return module.emitError("cannot generate host code: ") << shard.error;
    objects.emplace_back(shard.object.data(), shard.object.size());
    if (assembly)
      assembly->append(shard.assembly.begin(), shard.assembly.end());
  }
  llvm::Expected<FlatImage> image = linkFlatImage(objects, names);
  if (!image)
    return module.emitError("cannot lay out host code: ") << llvm::toString(image.takeError());
  return std::move(*image);
}
