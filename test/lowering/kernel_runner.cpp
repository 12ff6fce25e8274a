//===- kernel_runner.cpp - one kernel on every unit that is here ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/lowering/kernel_runner.h"

#include "dialects/machine/X86.h"
#include "dialects/program/LaunchAttr.h"
#include "dialects/program/Program.h"
#include "lowering/target/sm90/Passes.h"
#include "lowering/target/sm90/Ptx.h"
#include "lowering/target/x86/CodeObject.h"
#include "lowering/target/x86/Passes.h"
#include "runtime/device/host/code_image.h"
#include "tools/pipeline/Registration.h"
#include "tools/quant-sim/api/simulator.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;

namespace quant::test {

static constexpr const char *kGpu = "sm_90a";

std::vector<std::string> units() {
  std::vector<std::string> result = {kGpu};
  for (const machine::X86Unit &unit : machine::x86Units())
    if (runtime::CpuFeatures::host().missing(unit.requiredFeatures).empty())
      result.emplace_back(unit.name);
  return result;
}

static Result<void> lower(ModuleOp module, std::unique_ptr<Pass> pass) {
  PassManager passes(module.getContext());
  passes.addPass(std::move(pass));
  return succeeded(passes.run(module)) ? Result<void>() : fail("the kernel does not lower");
}

//===----------------------------------------------------------------------===//
// Host
//===----------------------------------------------------------------------===//

/// Runs the kernel with room behind each operand that it must not touch.
static Result<void> runHost(ModuleOp module, const std::string &isa, const Sizes &sizes, std::vector<Memory> &operands) {
  LowerToHostOptions options;
  options.isa = isa;
  QUANT_TRY(lower(module, createLowerToHost(options)));
  auto kernel = *module.getOps<func::FuncOp>().begin();
  int64_t scratchBytes = kernel->getAttrOfType<IntegerAttr>(program::kScratchBytesAttr).getInt();
  AffineMap grid = kernel->getAttrOfType<AffineMapAttr>(program::kGridAttr).getValue();
  int64_t dims[abi::kNumDims] = {sizes.tokens, sizes.position, sizes.outputs, sizes.position + sizes.tokens};
  int64_t blocks = grid.compose(ArrayRef<int64_t>(dims)).front();
  FailureOr<host::CodeObject> object = host::compileKernels(module, isa);
  if (failed(object))
    return fail("no code");
  runtime::CodeObject loadable;
  loadable.isa = object->isa;
  loadable.textOffset = static_cast<int64_t>(object->textOffset);
  loadable.textBytes = static_cast<int64_t>(object->textBytes);
  loadable.image = std::as_bytes(std::span(object->image));
  QUANT_TRY_ASSIGN(runtime::CodeImage image, runtime::CodeImage::load(loadable));
  QUANT_TRY_ASSIGN(runtime::Memory scratch, runtime::Memory::allocate(scratchBytes + 64, "scratch"));
  constexpr size_t kGuard = 256;
  std::vector<void *> table;
  for (Memory &operand : operands) {
    operand.bytes.insert(operand.bytes.end(), kGuard, std::byte{0x5a});
    table.push_back(operand.bytes.data());
  }
  image.kernel(static_cast<int64_t>(object->entries.begin()->second))(table.data(), dims, scratch.data(), 0, blocks);
  for (Memory &operand : operands) {
    size_t bytes = operand.bytes.size() - kGuard;
    if (std::any_of(operand.bytes.begin() + bytes, operand.bytes.end(), [](std::byte byte) { return byte != std::byte{0x5a}; }))
      return fail("a store beyond an operand of " + std::to_string(bytes) + " bytes");
    operand.bytes.resize(bytes);
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Simulator
//===----------------------------------------------------------------------===//

static Result<void> runSimulated(ModuleOp module, const Sizes &sizes, std::vector<Memory> &operands) {
  QUANT_TRY(lower(module, createLowerToNvvm()));
  auto kernel = *module.getOps<func::FuncOp>().begin();
  if (auto reason = kernel->getAttrOfType<StringAttr>(program::kUnsupportedAttr))
    return fail(reason.str());
  QUANT_TRY_ASSIGN(nvvm::PtxText text, nvvm::compileToPtx(*module.getOps<gpu::GPUModuleOp>().begin()));
  QUANT_TRY_ASSIGN(nvvm::GpuArtifact artifact, nvvm::assemble(text.ptx));
  if (!artifact.findings().empty())
    return fail(artifact.findings().front());
  QUANT_TRY_ASSIGN(std::unique_ptr<sim::Module> code, sim::Module::load(artifact.ptx));
  std::string launch = program::getLaunchJson(kernel->getAttr(program::kLaunchAttr)).dump();
  QUANT_TRY_ASSIGN(sim::Recipe recipe, sim::Recipe::parse(launch, ""));
  sim::Dims dims = {{abi::Dim::Tokens, sizes.tokens},
                    {abi::Dim::Position, sizes.position},
                    {abi::Dim::Outputs, sizes.outputs},
                    {abi::Dim::Context, sizes.position + sizes.tokens},
                    {abi::Dim::M, sizes.tokens}};
  QUANT_TRY_ASSIGN(std::vector<sim::RecipeOperand> wanted, recipe.operands(dims));
  std::vector<sim::Buffer> buffers;
  for (auto [index, operand] : llvm::enumerate(operands)) {
    if (wanted[index].bytes != operand.bytes.size())
      return fail(wanted[index].name + " has " + std::to_string(operand.bytes.size()) + " bytes");
    buffers.push_back({wanted[index].name, operand.bytes, wanted[index].written});
  }
  QUANT_TRY_ASSIGN(sim::Launch prepared, recipe.launch(dims, std::move(buffers)));
  QUANT_TRY_ASSIGN(sim::Report report, sim::run(*code, prepared, {}));
  return report.findings.empty() ? Result<void>() : fail(report.findings.front().toString());
}

Result<void> runKernel(const std::string &text, const std::string &unit, const Sizes &sizes, std::vector<Memory> &operands) {
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { message += diagnostic.str() + "\n"; });
  auto module = parseSourceString<ModuleOp>(text, &context);
  if (!module)
    return fail(message);
  Result<void> done = unit == kGpu ? runSimulated(*module, sizes, operands) : runHost(*module, unit, sizes, operands);
  return done ? done : fail(done.error().message + " " + message);
}

} // namespace quant::test
