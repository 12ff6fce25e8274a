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

#include "dialects/machine/GemmPlan.h"
#include "dialects/qblock/QBlock.h"
#include "dialects/qblock/RowPrograms.h"
#include "lowering/target/sm90/simt/RowMapping.h"

#include <fmt/core.h>

using namespace mlir;

namespace quant::nvvm {

/// Columns of a group, rows and columns of a weight's block.
static constexpr int64_t kBlock = machine::kScaleBlock;
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

static Result<LaunchRecipe> buildQuantize(gpu::GPUModuleOp gpuModule, const QuantizeConfig &config) {
  QUANT_TRY(checkQuantize(config));
  SizeExpr m = Dim::M;
  int64_t groups = llvm::divideCeil(config.k, kBlock), pitch = llvm::alignTo(config.k, machine::kSm90a.tmaAlignment);
  int64_t laneColumns = PieceRows::columnsPerLane(config.input == FloatKind::bf16 ? 16 : 32);
  LaunchRecipe recipe;
  recipe.kernel = config.symbolName();
  recipe.block = {PieceRows::kThreads, 1, 1};
  recipe.grid = PieceRows::grid(m, config.k, laneColumns);
  recipe.operands = {{"x", nameOf(config.input), false, {m, config.k}},
                     // Rows as the matmul's a has them; what lies between K and the next multiple of 16 is not defined.
                     {"q", "f8E4M3FN", true, {m, pitch}},
                     {"scale", "f32", true, {groups, SizeExpr(kMultiple) * SizeExpr::ceilDiv(m, kMultiple)}}};
  recipe.config = {{"k", config.k}};
  // Units are counted in i32, and the last block may count past the end.
  recipe.limits = {
      {Dim::M, std::min((int64_t(1) << 31) - 8, ((int64_t(1) << 31) - PieceRows::kThreads) / groups * PieceRows::kRows)}};
  auto body = [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value> sizes) -> Result<void> {
    rows::Rows x{pointers[0], typeOf(b, config.input), config.k, config.k};
    rows::Rows codes{pointers[1], b.getType<Float8E4M3FNType>(), config.k, pitch}, scales{pointers[2], b.f32(), groups, groups};
    PieceRows program(b, /*operands=*/nullptr, sizes[0], config.k, laneColumns);
    qblock::quantizeRow(program, {{codes, scales, 1, kBlock, /*kMajor=*/true}, config.amaxFloor, config.powerOfTwo},
                        [&](rows::Column column) { return program.load(x, column); });
    return {};
  };
  return buildSimtKernel(gpuModule, recipe, Dim::M, body);
}

static Result<LaunchRecipe> buildDequantize(gpu::GPUModuleOp gpuModule, const DequantizeConfig &config) {
  QUANT_TRY(checkDequantize(config));
  constexpr int64_t kLaneColumns = 8;
  int64_t n = config.n, k = config.k, blockRows = llvm::divideCeil(n, kBlock), blockColumns = llvm::divideCeil(k, kBlock);
  int64_t units = llvm::divideCeil(n, PieceRows::kRows) * blockColumns;
  if (units > (int64_t(1) << 31) - PieceRows::kThreads)
    return fail(config.symbolName() + ": the weight has more elements than the kernel can count");
  LaunchRecipe recipe;
  recipe.kernel = config.symbolName();
  recipe.block = {PieceRows::kThreads, 1, 1};
  recipe.grid = PieceRows::grid(n, k, kLaneColumns);
  recipe.operands = {{"q", "f8E4M3FN", false, {n, k}},
                     {"scale", "f32", false, {blockRows, blockColumns}},
                     {"x", nameOf(config.output), true, {n, k}}};
  recipe.config = {{"n", n}, {"k", k}};
  auto body = [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value>) -> Result<void> {
    rows::Rows codes{pointers[0], b.getType<Float8E4M3FNType>(), k, k}, scales{pointers[1], b.f32(), blockColumns, blockColumns};
    PieceRows program(b, /*operands=*/nullptr, b.int32(n), k, kLaneColumns);
    qblock::dequantizeRow(program, {codes, scales, kBlock, kBlock}, {pointers[2], typeOf(b, config.output), k, k});
    return {};
  };
  return buildSimtKernel(gpuModule, recipe, {}, body);
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
