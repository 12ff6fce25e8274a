//===- Fp8Gemm.cpp - limits, shared memory, recipe and entry point -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/nvvm/Fp8Gemm.h"
#include "lowering/nvvm/Fp8GemmKernel.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <algorithm>

using namespace mlir;

namespace quant::nvvm {

/// What a block may use on sm_90.
static constexpr int64_t kSharedBytesPerBlock = 232448;
/// Tiles are counted in i32, and the loop over them steps past the end by up to one grid.
static constexpr int64_t kMaxTiles = int64_t(1) << 30;

std::string Fp8GemmConfig::symbolName() const {
  return "sm90_fp8_gemm_1d2d_n" + std::to_string(n) + "_k" + std::to_string(k) + "_bm" + std::to_string(blockM) + "_bn" +
         std::to_string(blockN);
}

Fp8GemmLayout::Fp8GemmLayout(const Fp8GemmConfig &config)
    : n(config.n), k(config.k), blockM(config.blockM), blockN(config.blockN) {
  stageBytesA = blockM * kBlockK;
  stageBytesB = blockN * kBlockK;
  stageBytesScale = blockM * static_cast<int64_t>(sizeof(float));
  offsetA = blockM * blockN * 2;
  int64_t bytesOfStage = stageBytes() + 2 * kBarrierBytes;
  stages = config.stages ? config.stages : (kSharedBytesPerBlock - offsetA) / bytesOfStage;
  offsetB = offsetA + stages * stageBytesA;
  offsetScale = offsetB + stages * stageBytesB;
  offsetFull = offsetScale + stages * stageBytesScale;
  offsetEmpty = offsetFull + stages * kBarrierBytes;
  totalBytes = offsetEmpty + stages * kBarrierBytes;
}

static Result<void> check(const Fp8GemmConfig &config) {
  auto refuse = [&](const std::string &why) { return fail(config.symbolName() + ": " + why); };
  if (config.n <= 0 || config.n % 8)
    return refuse("N must be a positive multiple of 8, since TMA needs rows of bf16 D that are multiples of 16 bytes");
  if (config.k <= 0 || config.k % 16)
    return refuse("K must be a positive multiple of 16, since TMA needs rows of A and B that are multiples of 16 bytes; pad the "
                  "rows with zeros");
  if (config.blockM != 64 && config.blockM != 128)
    return refuse("blockM must be 64 or 128");
  if (config.blockN != 64 && config.blockN != 128)
    return refuse("blockN must be 64 or 128");
  if (config.stages < 0)
    return refuse("stages must not be negative");
  if (Fp8GemmLayout layout(config); layout.totalBytes > kSharedBytesPerBlock)
    return refuse(std::to_string(config.stages) + " stages need " + std::to_string(layout.totalBytes) +
                  " bytes of shared memory, a block has " + std::to_string(kSharedBytesPerBlock));
  // Columns, K and the index of a scale of B are i32 in the kernel.
  constexpr int64_t kMaxDim = int64_t(1) << 24;
  if (config.n > kMaxDim || config.k > kMaxDim)
    return refuse("N and K must be at most " + std::to_string(kMaxDim));
  return {};
}

//===----------------------------------------------------------------------===//
// Recipe
//===----------------------------------------------------------------------===//

enum OperandIndex { kOperandA, kOperandScaleA, kOperandB, kOperandScaleB, kOperandD };

static std::vector<Operand> operandsOf(const Fp8GemmLayout &layout) {
  SizeExpr m = SizeExpr::dim("M");
  SizeExpr paddedM = SizeExpr(4) * SizeExpr::ceilDiv(m, 4);
  return {{"a", "f8E4M3FN", false, {m, layout.k}},
          {"scale_a", "f32", false, {layout.kBlocks(), paddedM}},
          {"b", "f8E4M3FN", false, {layout.n, layout.k}},
          {"scale_b", "f32", false, {(layout.n + kBlockK - 1) / kBlockK, layout.kBlocks()}},
          {"d", "bf16", true, {m, layout.n}}};
}

static std::vector<Parameter> parametersOf(const Fp8GemmLayout &layout) {
  SizeExpr m = SizeExpr::dim("M");
  SizeExpr scaleStride = SizeExpr(16) * SizeExpr::ceilDiv(m, 4);
  return {TensorMapParameter{kOperandA, "UINT8", {layout.k, m}, layout.k, {kBlockK, layout.blockM}, 128, 256},
          // M, not Mpad: the padding is never read, whatever it holds.
          TensorMapParameter{kOperandScaleA, "FLOAT32", {m, layout.kBlocks()}, scaleStride, {layout.blockM, 1}, 0, 256},
          TensorMapParameter{kOperandB, "UINT8", {layout.k, layout.n}, layout.k, {kBlockK, layout.blockN}, 128, 256},
          TensorMapParameter{kOperandD, "BFLOAT16", {layout.n, m}, 2 * layout.n, {kStoreN, kWarpgroupM}, 128, 256},
          PointerParameter{kOperandScaleB}, I32Parameter{m}};
}

static LaunchRecipe recipeOf(const Fp8GemmLayout &layout, const std::string &symbolName) {
  LaunchRecipe recipe;
  recipe.kernel = symbolName;
  recipe.block = {layout.threads(), 1, 1};
  recipe.dynamicSharedBytes = layout.totalBytes;
  // Persistent: at most one block per multiprocessor, each walks its share of the tiles.
  recipe.grid =
      SizeExpr::min(SizeExpr::dim("sms"), SizeExpr::ceilDiv(SizeExpr::dim("M"), layout.blockM) * SizeExpr(layout.tilesN()));
  recipe.limits = {{"M", std::min(kMaxTiles / layout.tilesN() * layout.blockM, (int64_t(1) << 31) - layout.blockM)}};
  recipe.operands = operandsOf(layout);
  recipe.parameters = parametersOf(layout);
  recipe.config = {
      {"n", layout.n}, {"k", layout.k}, {"block_m", layout.blockM}, {"block_n", layout.blockN}, {"stages", layout.stages}};
  return recipe;
}

//===----------------------------------------------------------------------===//
// Kernel function
//===----------------------------------------------------------------------===//

/// Argument attributes. gpu.func would reject nvvm.grid_constant and drop llvm.byval, hence an llvm.func.
static SmallVector<DictionaryAttr> argumentAttributes(Builder &builder) {
  auto mapType = TypeAttr::get(LLVM::LLVMArrayType::get(builder.getI8Type(), 128));
  // By value in parameter memory and never written: TMA reads the tensor map right there.
  auto tensorMap = builder.getDictionaryAttr({builder.getNamedAttr("llvm.byval", mapType),
                                              builder.getNamedAttr("llvm.align", builder.getI64IntegerAttr(64)),
                                              builder.getNamedAttr("nvvm.grid_constant", builder.getUnitAttr())});
  auto readOnly = builder.getDictionaryAttr({builder.getNamedAttr("llvm.noalias", builder.getUnitAttr()),
                                             builder.getNamedAttr("llvm.readonly", builder.getUnitAttr())});
  return {tensorMap, tensorMap, tensorMap, tensorMap, readOnly, builder.getDictionaryAttr({})};
}

static LLVM::LLVMFuncOp createKernelFunction(HopperBuilder &builder, const Fp8GemmLayout &layout, StringRef name) {
  MLIRContext *context = builder.getContext();
  Type pointer = LLVM::LLVMPointerType::get(context), global = LLVM::LLVMPointerType::get(context, 1);
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context),
                                          {pointer, pointer, pointer, pointer, global, builder.getI32Type()});
  // Without maxntid ptxas ignores setmaxnreg (C7508); it gives each thread 65536 / threads registers.
  auto threads = builder.getDenseI32ArrayAttr({static_cast<int32_t>(layout.threads()), 1, 1});
  SmallVector<NamedAttribute> attributes = {
      builder.getNamedAttr("gpu.kernel", builder.getUnitAttr()), builder.getNamedAttr("nvvm.kernel", builder.getUnitAttr()),
      builder.getNamedAttr("nvvm.maxntid", threads), builder.getNamedAttr("nvvm.minctasm", builder.getI32IntegerAttr(1))};
  return builder.create<LLVM::LLVMFuncOp>(name, type, LLVM::Linkage::External, /*dsoLocal=*/false, LLVM::CConv::C,
                                          SymbolRefAttr(), attributes, argumentAttributes(builder));
}

Result<LaunchRecipe> buildFp8Gemm(gpu::GPUModuleOp gpuModule, const Fp8GemmConfig &config, std::string symbolName) {
  if (auto ok = check(config); !ok)
    return tl::unexpected(ok.error());
  if (symbolName.empty())
    symbolName = config.symbolName();
  if (gpuModule.lookupSymbol(symbolName))
    return fail("gpu.module @" + gpuModule.getName().str() + " already has a symbol " + symbolName);

  Fp8GemmLayout layout(config);
  HopperBuilder builder(gpuModule.getLoc(), gpuModule.getContext());
  declareDynamicShared(builder, gpuModule);
  builder.setInsertionPointToEnd(gpuModule.getBody());
  auto function = createKernelFunction(builder, layout, symbolName);
  Block *entry = function.addEntryBlock(builder);
  builder.setInsertionPointToStart(entry);
  auto value = [&](unsigned index) -> Value { return entry->getArgument(index); };
  Fp8GemmArguments arguments = {{value(0)}, {value(1)}, {value(2)}, {value(3)}, value(4), value(5)};
  Fp8GemmKernel(builder, layout, arguments).emit();
  builder.create<LLVM::ReturnOp>(ValueRange());
  return recipeOf(layout, symbolName);
}

Result<CompiledKernel> compileFp8Gemm(const Fp8GemmConfig &config, const AssemblerOptions &options) {
  DialectRegistry registry;
  registerNvvmLowering(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.loadAllAvailableDialects();
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  OpBuilder builder(module->getBodyRegion());
  auto gpuModule = gpu::GPUModuleOp::create(builder, module->getLoc(), "kernels");
  Result<LaunchRecipe> recipe = buildFp8Gemm(gpuModule, config);
  if (!recipe)
    return tl::unexpected(recipe.error());
  Result<std::string> ptx = compileToPtx(gpuModule);
  if (!ptx)
    return tl::unexpected(ptx.error());
  Result<GpuArtifact> artifact = assemble(std::move(*ptx), options);
  if (!artifact)
    return tl::unexpected(artifact.error());
  return CompiledKernel{std::move(*recipe), std::move(*artifact)};
}

} // namespace quant::nvvm
