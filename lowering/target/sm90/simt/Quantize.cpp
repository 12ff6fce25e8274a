//===- Quantize.cpp - quantize and dequantize as kernels of their own --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The row programs of qblock.quantize and qblock.dequantize, laid out as the same ops are in modules.
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/Quantize.h"

#include "dialects/machine/Fp8GemmPlan.h"
#include "dialects/qblock/QBlock.h"
#include "dialects/qblock/RowPrograms.h"
#include "lowering/target/sm90/simt/RowMapping.h"

#include <fmt/core.h>

using namespace mlir;

namespace quant::nvvm {

/// Columns of a group, rows and columns of a weight's block.
static constexpr int64_t kBlock = machine::kBlockK;
static constexpr int64_t kMultiple = abi::kKMajorRowMultiple;

static const char *nameOf(FloatKind kind) { return kind == FloatKind::bf16 ? "bf16" : "f32"; }
static Type typeOf(Builder &b, FloatKind kind) { return kind == FloatKind::bf16 ? Type(b.getBF16Type()) : Type(b.getF32Type()); }

std::string QuantizeConfig::symbolName() const {
  return fmt::format("sm90_fp8_quantize_{}_k{}{}", nameOf(input), k, powerOfTwo ? "_ue8m0" : "");
}

std::string DequantizeConfig::symbolName() const { return fmt::format("sm90_fp8_dequantize_{}_n{}_k{}", nameOf(output), n, k); }

/// Sizes and indices of elements are i32 in the kernels.
static constexpr int64_t kMaxDim = int64_t(1) << 24;

Result<void> checkQuantize(const QuantizeConfig &config) {
  if (config.k <= 0 || config.k > kMaxDim)
    return fail(fmt::format("{}: K must be 1 to {}", config.symbolName(), kMaxDim));
  if (!(config.amaxFloor >= 0) || config.amaxFloor > 1e30)
    return fail(config.symbolName() + ": amax_floor must be finite and not negative");
  return {};
}

Result<void> checkDequantize(const DequantizeConfig &config) {
  if (config.n <= 0 || config.k <= 0 || config.n > kMaxDim || config.k > kMaxDim)
    return fail(fmt::format("{}: N and K must be 1 to {}", config.symbolName(), kMaxDim));
  return {};
}

/// Rows as far apart as the recipe's operand has them.
static rows::Rows rowsOf(SimtBuilder &b, Value pointer, Type element, int64_t columns, int64_t pitch) {
  return {pointer, element, columns, pitch};
}

Result<LaunchRecipe> buildQuantize(gpu::GPUModuleOp gpuModule, const QuantizeConfig &config) {
  QUANT_TRY(checkQuantize(config));
  SizeExpr m = Dim::M;
  int64_t groups = llvm::divideCeil(config.k, kBlock), pitch = llvm::alignTo(config.k, machine::kSm90a.tmaAlignment);
  int64_t laneColumns = PieceRows::columnsPerLane(config.input == FloatKind::bf16 ? 16 : 32);
  SimtSpec spec;
  spec.name = config.symbolName();
  spec.threads = PieceRows::kThreads;
  spec.grid = PieceRows::grid(m, config.k, laneColumns);
  spec.operands = {{"x", nameOf(config.input), false, {m, config.k}},
                   // Rows as the matmul's a has them; what lies between K and the next multiple of 16 is not defined.
                   {"q", "f8E4M3FN", true, {m, pitch}},
                   {"scale", "f32", true, {groups, SizeExpr(kMultiple) * SizeExpr::ceilDiv(m, kMultiple)}}};
  spec.sizes = {Dim::M};
  spec.config = {{"k", config.k}};
  Result<LaunchRecipe> recipe =
      buildSimtKernel(gpuModule, spec, [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value> sizes) -> Result<void> {
        rows::Rows x = rowsOf(b, pointers[0], typeOf(b, config.input), config.k, config.k);
        rows::Quantized target{rowsOf(b, pointers[1], b.getType<Float8E4M3FNType>(), config.k, pitch),
                               rowsOf(b, pointers[2], b.f32(), groups, groups), 1, kBlock, /*kMajor=*/true};
        PieceRows program(b, /*operands=*/nullptr, sizes[0], config.k, laneColumns);
        qblock::quantizeRow(program, {target, config.amaxFloor, config.powerOfTwo},
                            [&](rows::Column column) { return program.load(x, column); });
        return {};
      });
  // Units are counted in i32, and the last block may count past the end.
  if (recipe)
    recipe->limits = {
        {Dim::M, std::min((int64_t(1) << 31) - 8, ((int64_t(1) << 31) - PieceRows::kThreads) / groups * PieceRows::kRows)}};
  return recipe;
}

//===----------------------------------------------------------------------===//
// Dequantize
//===----------------------------------------------------------------------===//

Result<LaunchRecipe> buildDequantize(gpu::GPUModuleOp gpuModule, const DequantizeConfig &config) {
  QUANT_TRY(checkDequantize(config));
  constexpr int64_t kLaneColumns = 8;
  int64_t blockRows = llvm::divideCeil(config.n, kBlock), blockColumns = llvm::divideCeil(config.k, kBlock);
  int64_t units = llvm::divideCeil(config.n, PieceRows::kRows) * blockColumns;
  if (units > (int64_t(1) << 31) - PieceRows::kThreads)
    return fail(config.symbolName() + ": the weight has more elements than the kernel can count");
  SimtSpec spec;
  spec.name = config.symbolName();
  spec.threads = PieceRows::kThreads;
  spec.grid = PieceRows::grid(config.n, config.k, kLaneColumns);
  spec.operands = {{"q", "f8E4M3FN", false, {config.n, config.k}},
                   {"scale", "f32", false, {blockRows, blockColumns}},
                   {"x", nameOf(config.output), true, {config.n, config.k}}};
  spec.config = {{"n", config.n}, {"k", config.k}};
  return buildSimtKernel(gpuModule, spec, [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value>) -> Result<void> {
    rows::Quantized source{rowsOf(b, pointers[0], b.getType<Float8E4M3FNType>(), config.k, config.k),
                           rowsOf(b, pointers[1], b.f32(), blockColumns, blockColumns), kBlock, kBlock, /*kMajor=*/false};
    PieceRows program(b, /*operands=*/nullptr, b.int32(config.n), config.k, kLaneColumns);
    qblock::dequantizeRow(program, source, rowsOf(b, pointers[2], typeOf(b, config.output), config.k, config.k));
    return {};
  });
}

//===----------------------------------------------------------------------===//
// Compiled
//===----------------------------------------------------------------------===//

Result<CompiledKernel> compileQuantize(const QuantizeConfig &config, const AssemblerOptions &options) {
  return compileAlone([&](gpu::GPUModuleOp gpuModule) { return buildQuantize(gpuModule, config); }, options);
}

Result<CompiledKernel> compileDequantize(const DequantizeConfig &config, const AssemblerOptions &options) {
  return compileAlone([&](gpu::GPUModuleOp gpuModule) { return buildDequantize(gpuModule, config); }, options);
}

} // namespace quant::nvvm
