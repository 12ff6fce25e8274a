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
#include "passes/Passes.h"
#include "runtime/device/host/code_image.h"
#include "tools/pipeline/Registration.h"
#include "tools/quant-sim/api/simulator.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

#include <cstring>

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

/// The stages from `scheduled` to `target`, which `lowering` is.
static Result<void> lower(ModuleOp module, const std::string &unit, std::unique_ptr<Pass> lowering, bool roundsInputs = false) {
  ScheduleKernelsOptions schedule;
  schedule.target = unit == kGpu ? kGpu : "host";
  if (unit != kGpu)
    schedule.unit = unit;
  schedule.roundInputs = roundsInputs;
  PassManager passes(module.getContext());
  passes.addPass(createScheduleKernels(schedule));
  passes.addNestedPass<func::FuncOp>(createTileMatmuls());
  passes.addNestedPass<func::FuncOp>(createCanonicalizerPass());
  passes.addPass(std::move(lowering));
  return succeeded(passes.run(module)) ? Result<void>() : fail("the kernel does not lower");
}

//===----------------------------------------------------------------------===//
// Host
//===----------------------------------------------------------------------===//

/// Room behind each operand that a kernel must not touch.
static constexpr size_t kGuard = 256;
static constexpr std::byte kUntouched{0x5a};

/// Appends the room to an operand and what it points to, and writes the table of addresses.
static void enter(Memory &operand) {
  for (auto [index, pointee] : llvm::enumerate(operand.pointees)) {
    enter(pointee);
    std::byte *address = pointee.bytes.data();
    std::memcpy(&operand.bytes[index * sizeof(address)], &address, sizeof(address));
  }
  operand.bytes.insert(operand.bytes.end(), kGuard, kUntouched);
}

static Result<void> leave(Memory &operand) {
  for (Memory &pointee : operand.pointees)
    QUANT_TRY(leave(pointee));
  size_t bytes = operand.bytes.size() - kGuard;
  if (std::any_of(operand.bytes.begin() + bytes, operand.bytes.end(), [](std::byte byte) { return byte != kUntouched; }))
    return fail("a store beyond an operand of " + std::to_string(bytes) + " bytes");
  operand.bytes.resize(bytes);
  return {};
}

namespace {

/// A kernel's code and what a call needs beside it.
struct HostCode {
  runtime::CodeImage image;
  abi::HostKernel kernel;
  runtime::Memory scratch;
  AffineMap grid;

  Result<void> run(const Sizes &sizes, std::vector<Memory> &operands) const {
    int64_t dims[abi::kNumDims] = {sizes.tokens, sizes.sequences, sizes.outputs, sizes.cacheRows};
    int64_t blocks = grid.compose(ArrayRef<int64_t>(dims)).front();
    std::vector<void *> table;
    for (Memory &operand : operands) {
      enter(operand);
      table.push_back(operand.bytes.data());
    }
    kernel(table.data(), dims, scratch.data(), 0, blocks);
    for (Memory &operand : operands)
      QUANT_TRY(leave(operand));
    return {};
  }
};

} // namespace

/// The module's context must outlive the kernel.
static Result<Kernel> compileForHost(ModuleOp module, const std::string &isa, bool roundsInputs) {
  LowerToHostOptions options;
  options.isa = isa;
  QUANT_TRY(lower(module, isa, createLowerToHost(options), roundsInputs));
  auto kernel = *module.getOps<func::FuncOp>().begin();
  int64_t scratchBytes = kernel->getAttrOfType<IntegerAttr>(program::kScratchBytesAttr).getInt();
  AffineMap grid = kernel->getAttrOfType<AffineMapAttr>(program::kGridAttr).getValue();
  FailureOr<host::FlatImage> object = host::compileKernels(module, isa);
  if (failed(object))
    return fail("no code");
  runtime::CodeObject loadable;
  loadable.isa = isa;
  loadable.textOffset = static_cast<int64_t>(object->textOffset);
  loadable.textBytes = static_cast<int64_t>(object->textBytes);
  loadable.image = std::as_bytes(std::span(object->image));
  QUANT_TRY_ASSIGN(runtime::CodeImage image, runtime::CodeImage::load(loadable));
  QUANT_TRY_ASSIGN(runtime::Memory scratch, runtime::Memory::allocate(scratchBytes + 64, "scratch"));
  abi::HostKernel entry = image.kernel(static_cast<int64_t>(object->entries.begin()->second));
  auto code = std::make_shared<HostCode>(HostCode{std::move(image), entry, std::move(scratch), grid});
  return [code](const Sizes &sizes, std::vector<Memory> &operands) { return code->run(sizes, operands); };
}

//===----------------------------------------------------------------------===//
// Simulator
//===----------------------------------------------------------------------===//

/// Where kernels see what tables point to: below the simulator's own addresses, and far from each other.
static constexpr uint64_t kPointees = uint64_t(0x7000) << 32, kPointeeDistance = uint64_t(1) << 32;

static Result<void> runSimulated(const sim::Module &code, const sim::Recipe &recipe, const Sizes &sizes,
                                 std::vector<Memory> &operands) {
  sim::Dims dims = {{abi::Dim::Tokens, sizes.tokens},
                    {abi::Dim::Sequences, sizes.sequences},
                    {abi::Dim::Outputs, sizes.outputs},
                    {abi::Dim::Context, sizes.cacheRows},
                    {abi::Dim::M, sizes.tokens}};
  QUANT_TRY_ASSIGN(std::vector<sim::RecipeOperand> wanted, recipe.operands(dims));
  std::vector<sim::Buffer> buffers, pointees;
  for (auto [index, operand] : llvm::enumerate(operands)) {
    const std::string &name = wanted[index].name;
    if (wanted[index].bytes != operand.bytes.size())
      return fail(name + " has " + std::to_string(operand.bytes.size()) + " bytes");
    for (auto [entry, pointee] : llvm::enumerate(operand.pointees)) {
      uint64_t address = kPointees + pointees.size() * kPointeeDistance;
      std::memcpy(&operand.bytes[entry * sizeof(address)], &address, sizeof(address));
      pointees.push_back({name, pointee.bytes, /*writable=*/false, address});
    }
    buffers.push_back({name, operand.bytes, wanted[index].written});
  }
  buffers.insert(buffers.end(), pointees.begin(), pointees.end());
  QUANT_TRY_ASSIGN(sim::Launch prepared, recipe.launch(dims, std::move(buffers)));
  QUANT_TRY_ASSIGN(sim::Report report, sim::run(code, prepared, {}));
  return report.findings.empty() ? Result<void>() : fail(report.findings.front().toString());
}

static Result<Kernel> compileForSimulator(ModuleOp module) {
  QUANT_TRY(lower(module, kGpu, createLowerToNvvm()));
  auto kernel = *module.getOps<func::FuncOp>().begin();
  if (auto reason = kernel->getAttrOfType<StringAttr>(program::kUnsupportedAttr))
    return fail(reason.str());
  QUANT_TRY_ASSIGN(nvvm::PtxText text, nvvm::compileToPtx(*module.getOps<gpu::GPUModuleOp>().begin()));
  QUANT_TRY_ASSIGN(nvvm::GpuArtifact artifact, nvvm::assemble(text.ptx));
  if (!artifact.findings().empty())
    return fail(artifact.findings().front());
  QUANT_TRY_ASSIGN(std::shared_ptr<sim::Module> code, sim::Module::load(artifact.ptx));
  std::string launch = program::getLaunchJson(kernel->getAttr(program::kLaunchAttr)).dump();
  QUANT_TRY_ASSIGN(sim::Recipe recipe, sim::Recipe::parse(launch, ""));
  return
      [code, recipe](const Sizes &sizes, std::vector<Memory> &operands) { return runSimulated(*code, recipe, sizes, operands); };
}

//===----------------------------------------------------------------------===//
// Both
//===----------------------------------------------------------------------===//

Result<Kernel> compileKernel(const std::string &text, const std::string &unit, bool roundsInputs) {
  DialectRegistry registry;
  registerDialects(registry);
  auto context = std::make_shared<MLIRContext>(registry, MLIRContext::Threading::DISABLED);
  context->loadAllAvailableDialects();
  std::string message;
  ScopedDiagnosticHandler handler(context.get(), [&](Diagnostic &diagnostic) { message += diagnostic.str() + "\n"; });
  auto module = parseSourceString<ModuleOp>(text, context.get());
  if (!module)
    return fail(message);
  Result<Kernel> kernel = unit == kGpu ? compileForSimulator(*module) : compileForHost(*module, unit, roundsInputs);
  if (!kernel)
    return fail(kernel.error().message + " " + message);
  return [context, run = std::move(*kernel)](const Sizes &sizes, std::vector<Memory> &operands) { return run(sizes, operands); };
}

Result<void> runKernel(const std::string &text, const std::string &unit, const Sizes &sizes, std::vector<Memory> &operands) {
  QUANT_TRY_ASSIGN(Kernel kernel, compileKernel(text, unit));
  return kernel(sizes, operands);
}

} // namespace quant::test
