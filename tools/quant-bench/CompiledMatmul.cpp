//===- CompiledMatmul.cpp - one matrix product, compiled and loaded -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/CompiledMatmul.h"

#include "dialects/machine/X86.h"
#include "runtime/module/module.h"
#include "tools/pipeline/HostUnits.h"
#include "tools/pipeline/ModuleStage.h"
#include "tools/pipeline/Registration.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FormatVariadic.h"

#include <fmt/core.h>

using namespace mlir;
using namespace quant;
using namespace quant::bench;

static int64_t bitsOf(StringRef type) {
  int64_t bits = 0;
  type.drop_while([](char c) { return !llvm::isDigit(c); }).consumeInteger(10, bits);
  return bits;
}

int64_t WeightSpec::dataBytes() const { return rows * ((columns * bitsOf(storage) + 7) / 8); }
int64_t WeightSpec::scaleBytes() const { return scale.empty() ? 0 : scales() * bitsOf(scale) / 8; }

//===----------------------------------------------------------------------===//
// IR
//===----------------------------------------------------------------------===//

/// A model of one matmul.
static std::string modelText(const WeightSpec &spec) {
  std::string text, data = llvm::formatv("tensor<{0}x{1}x{2}>", spec.rows, spec.columns, spec.storage);
  std::string x = llvm::formatv("tensor<?x{0}xf32>", spec.columns), y = llvm::formatv("tensor<?x{0}xf32>", spec.rows);
  llvm::raw_string_ostream out(text);
  out << "func.func @forward(%x: " << x << " {program.dim = #program.dim<tokens>}) -> (" << y
      << " {program.dim = #program.dim<tokens>}) "
      << "attributes {program.max_context = 1 : i64} {\n  %data = program.weight \"data\" : " << data << "\n";
  std::string weight = data, name = "%data";
  if (!spec.scale.empty()) {
    std::string scale = llvm::formatv("tensor<{0}x{1}x{2}>", spec.scaleRows(), spec.scaleColumns(), spec.scale);
    std::string zero = llvm::formatv("tensor<{0}x{1}x{2}>", spec.scaleRows(), spec.scaleColumns(), spec.zero);
    bool hasZeros = !spec.zero.empty();
    std::string zeroText = hasZeros              ? ", zero " + spec.zero
                           : spec.zeroConstant   ? ", zero " + std::to_string(spec.zeroConstant)
                           : spec.hasGlobalScale ? ", global f32"
                                                 : "";
    weight = llvm::formatv("!qblock.tensor<{0}x{1}x{2}, block<{3}x{4}>, {5}{6}>", spec.rows, spec.columns, spec.storage,
                           spec.blockRows, spec.blockColumns, spec.scale, zeroText);
    name = "%weight";
    out << "  %scale = program.weight \"scale\" : " << scale << "\n";
    if (hasZeros)
      out << "  %zero = program.weight \"zero\" : " << zero << "\n";
    if (spec.hasGlobalScale)
      out << "  %global = program.weight \"global\" : tensor<1x1xf32>\n";
    StringRef more = hasZeros ? ", %zero" : spec.hasGlobalScale ? ", %global" : "";
    std::string moreType = hasZeros ? ", " + zero : spec.hasGlobalScale ? ", tensor<1x1xf32>" : "";
    out << "  %weight = qblock.assemble %data, %scale" << more << " : (" << data << ", " << scale << moreType << ") -> " << weight
        << "\n";
  }
  std::string input = "%x";
  if (spec.inputs == Inputs::Int8) {
    std::string quantized = llvm::formatv("!qblock.tensor<?x{0}xi8, block<1x?>, f32>", spec.columns);
    out << "  %q = qblock.quantize %x : " << x << " -> " << quantized << "\n";
    input = "%q";
    x = quantized;
  }
  out << "  %y = qblock.matmul " << input << ", " << name << " : (" << x << ", " << weight << ") -> " << y
      << "\n  return %y : " << y << "\n}\n";
  return text;
}

/// A module file of the one kernel, for `isa` alone.
static Result<std::string> buildModule(const WeightSpec &spec, const std::string &isa, std::string *assembly) {
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { message += diagnostic.str() + "\n"; });
  auto module = parseSourceString<ModuleOp>(modelText(spec), &context);
  StageOptions options;
  options.activations = spec.inputs == Inputs::Bf16 ? Activations::Bf16 : Activations::F32;
  if (!module || failed(runStages(*module, Stage::Dispatched, options)))
    return fail("the matmul does not compile: " + message);
  ModuleBuilder builder;
  if (auto built = buildTargetModule(
          *module, {.stages = options, .units = {isa}, .ptxas = {}, .assembly = assembly, .observe = {}}, builder);
      !built)
    return fail(fmt::format("the matmul does not compile for {}: {}\n{}", isa, built.error().message, message));
  return builder.finish({{"shape", {spec.rows, spec.columns}}}, "quant-bench");
}

//===----------------------------------------------------------------------===//
// Loading and running
//===----------------------------------------------------------------------===//

Result<CompiledMatmul> CompiledMatmul::compile(const WeightSpec &spec, const std::string &isa, int threads,
                                               std::string *assembly) {
  if (!llvm::is_contained(runnableUnits(machine::x86UnitNames()), isa))
    return fail("this CPU does not run " + isa);
  QUANT_TRY_ASSIGN(std::string file, buildModule(spec, isa, assembly));
  QUANT_TRY_ASSIGN(runtime::Module module, runtime::parseModule(std::as_bytes(std::span(file)), "the matmul's module"));
  const runtime::Target &target = module.targets.front();
  QUANT_TRY_ASSIGN(const runtime::CodeObject *object, runtime::selectObject(target, isa, runtime::CpuFeatures::host()));
  // What quantizes x comes first and is left out.
  size_t launches = spec.inputs == Inputs::Int8 ? 2 : 1;
  if (target.program.dispatches.size() != launches)
    return fail(fmt::format("the matmul compiles to {} kernel launches, not {}", target.program.dispatches.size(), launches));
  const runtime::Dispatch &dispatch = target.program.dispatches.back();
  auto index = static_cast<size_t>(dispatch.kernel);
  CompiledMatmul result;
  QUANT_TRY_ASSIGN(result.code, runtime::CodeImage::load(*object));
  result.scratchStride =
      (target.kernels[index].scratchBytes + abi::kBufferAlignment - 1) / abi::kBufferAlignment * abi::kBufferAlignment;
  QUANT_TRY_ASSIGN(result.scratch, runtime::Memory::allocate(result.scratchStride * threads, "workers' scratch"));
  result.kernel = result.code.kernel(object->entries[index]);
  QUANT_TRY_ASSIGN(auto blocks, dispatch.grid.bounds(target.program.limits.intervals()));
  if (blocks.low != blocks.high)
    return fail("the matmul's grid depends on the rows of x: " + dispatch.grid.text());
  result.blocks = blocks.low;
  return result;
}

void CompiledMatmul::run(runtime::ThreadPool &pool, const MatmulOperands &operands, int64_t rows) const {
  // Outlining collects a kernel's inputs from the matmul's operands, in order; the result comes last.
  std::vector<const void *> table = {operands.x};
  if (operands.xScales)
    table.push_back(operands.xScales);
  table.push_back(operands.data);
  if (operands.scale)
    table.push_back(operands.scale);
  if (operands.zero)
    table.push_back(operands.zero);
  if (operands.global)
    table.push_back(operands.global);
  table.push_back(operands.out);
  int64_t dims[abi::kNumDims] = {rows, 1, rows, 1};
  pool.run(blocks, [&](int worker, int64_t begin, int64_t end) {
    kernel(const_cast<void *const *>(table.data()), dims, scratch.data() + worker * scratchStride, begin, end);
  });
}
