//===- CompiledMatmul.cpp - one matrix product, compiled and loaded -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/CompiledMatmul.h"

#include "dialects/machine/X86.h"
#include "dialects/program/Program.h"
#include "lowering/target/x86/CodeObject.h"
#include "tools/pipeline/Registration.h"
#include "tools/pipeline/Stages.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FormatVariadic.h"

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

std::vector<std::string> quant::bench::runnableIsas() {
  std::vector<std::string> result;
  for (const machine::X86Unit &unit : machine::x86Units())
    if (runtime::CpuFeatures::host().missing(unit.requiredFeatures).empty())
      result.emplace_back(unit.name);
  return result;
}

//===----------------------------------------------------------------------===//
// IR
//===----------------------------------------------------------------------===//

/// A model of one matmul.
static std::string modelText(const WeightSpec &spec) {
  std::string text, data = llvm::formatv("tensor<{0}x{1}x{2}>", spec.rows, spec.columns, spec.storage);
  std::string x = llvm::formatv("tensor<?x{0}xf32>", spec.columns), y = llvm::formatv("tensor<?x{0}xf32>", spec.rows);
  llvm::raw_string_ostream out(text);
  out << "func.func @forward(%x: " << x << " {program.dim = #program.dim<tokens>}, %position: index {program.dim = #program.dim<position>}, "
      << "%outputs: index {program.dim = #program.dim<outputs>}) -> (" << y << " {program.dim = #program.dim<tokens>}) "
      << "attributes {program.max_context = 1 : i64} {\n  %data = program.weight \"data\" : " << data << "\n";
  std::string weight = data, name = "%data";
  if (!spec.scale.empty()) {
    std::string scale = llvm::formatv("tensor<{0}x{1}x{2}>", spec.scaleRows(), spec.scaleColumns(), spec.scale);
    std::string zero = llvm::formatv("tensor<{0}x{1}xi8>", spec.scaleRows(), spec.scaleColumns());
    weight = llvm::formatv("!qblock.tensor<{0}x{1}x{2}, block<{3}x{4}>, {5}{6}>", spec.rows, spec.columns, spec.storage,
                           spec.blockRows, spec.blockColumns, spec.scale, spec.zero ? ", zero i8" : "");
    name = "%weight";
    out << "  %scale = program.weight \"scale\" : " << scale << "\n";
    if (spec.zero)
      out << "  %zero = program.weight \"zero\" : " << zero << "\n";
    out << "  %weight = qblock.assemble %data, %scale" << (spec.zero ? ", %zero : (" : " : (") << data << ", " << scale
        << (spec.zero ? ", " + zero : "") << ") -> " << weight << "\n";
  }
  out << "  %y = qblock.matmul %x, " << name << " : (" << x << ", " << weight << ") -> " << y << "\n  return %y : " << y
      << "\n}\n";
  return text;
}

namespace {

/// Code of the one kernel, and what its launch needs.
struct KernelCode {
  host::CodeObject object;
  int64_t blocks, scratchBytes;
};

} // namespace

static Result<KernelCode> generate(const WeightSpec &spec, const std::string &isa, std::string *assembly) {
  DialectRegistry registry;
  registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) { message += diagnostic.str() + "\n"; });
  auto module = parseSourceString<ModuleOp>(modelText(spec), &context);
  StageOptions options;
  options.isa = isa;
  if (!module || failed(runStages(*module, Stage::Target, options)))
    return fail("the matmul does not compile: " + message);
  KernelCode code;
  for (func::FuncOp function : module->getOps<func::FuncOp>())
    if (auto grid = function->getAttrOfType<AffineMapAttr>(program::kGridAttr)) {
      code.blocks = grid.getValue().getSingleConstantResult();
      code.scratchBytes = function->getAttrOfType<IntegerAttr>(program::kScratchBytesAttr).getInt();
    }
  FailureOr<host::CodeObject> object = host::compileKernels(*module, isa, assembly);
  if (failed(object))
    return fail("no code for " + isa + ": " + message);
  code.object = std::move(*object);
  return code;
}

//===----------------------------------------------------------------------===//
// Loading and running
//===----------------------------------------------------------------------===//

Result<CompiledMatmul> CompiledMatmul::compile(const WeightSpec &spec, const std::string &isa, int threads,
                                               std::string *assembly) {
  if (!llvm::is_contained(runnableIsas(), isa))
    return fail("this CPU does not run " + isa);
  Result<KernelCode> generated = generate(spec, isa, assembly);
  if (!generated)
    return tl::unexpected(generated.error());
  host::CodeObject &object = generated->object;
  runtime::CodeObject loadable;
  loadable.isa = object.isa;
  loadable.textOffset = static_cast<int64_t>(object.textOffset);
  loadable.textBytes = static_cast<int64_t>(object.textBytes);
  loadable.image = std::as_bytes(std::span(object.image));
  Result<runtime::CodeImage> image = runtime::CodeImage::load(loadable);
  CompiledMatmul result;
  result.scratchStride = (generated->scratchBytes + abi::kBufferAlignment - 1) / abi::kBufferAlignment * abi::kBufferAlignment;
  Result<runtime::Memory> scratch = runtime::Memory::allocate(result.scratchStride * threads, "workers' scratch");
  if (!image || !scratch)
    return tl::unexpected(!image ? image.error() : scratch.error());
  result.code = std::move(*image);
  result.scratch = std::move(*scratch);
  result.kernel = result.code.kernel(static_cast<int64_t>(object.entries.begin()->second));
  result.blocks = generated->blocks;
  return result;
}

void CompiledMatmul::run(runtime::ThreadPool &pool, const MatmulOperands &operands, int64_t rows) const {
  // Outlining collects a kernel's inputs from the matmul's operands, in order; the result comes last.
  std::vector<const void *> table = {operands.x, operands.data};
  if (operands.scale)
    table.push_back(operands.scale);
  if (operands.zero)
    table.push_back(operands.zero);
  table.push_back(operands.out);
  int64_t dims[abi::kNumDims] = {rows, 0, rows, 1};
  pool.run(blocks, [&](int worker, int64_t begin, int64_t end) {
    kernel(const_cast<void *const *>(table.data()), dims, scratch.data() + worker * scratchStride, begin, end);
  });
}
