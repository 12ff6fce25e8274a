//===- Quantize.cpp - quantize and dequantize as kernels of their own --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Both are limited by memory. A thread handles the same columns of four rows: four independent loads of up to 16 bytes, enough in
// flight with all threads of a multiprocessor to cover the latency, and in quantize the four rows' scales are one 16-byte store.
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/Quantize.h"
#include "dialects/machine/Fp8GemmPlan.h"
#include "lowering/target/sm90/simt/E4M3.h"
#include "lowering/target/sm90/simt/SimtKernel.h"

using namespace mlir;

namespace quant::nvvm {

/// Rows that a thread handles: of a K block, their scales lie side by side.
static constexpr int64_t kRows = 4;
static constexpr int64_t kThreads = 256;
/// Rows and columns of a weight's block.
static constexpr int64_t kBlock = machine::kBlockK;

using machine::alignTo;
using machine::ceilDiv;

static const char *nameOf(FloatKind kind) { return kind == FloatKind::bf16 ? "bf16" : "f32"; }
static Type typeOf(Builder &b, FloatKind kind) { return kind == FloatKind::bf16 ? Type(b.getBF16Type()) : Type(b.getF32Type()); }

std::string QuantizeConfig::symbolName() const {
  return std::string("sm90_fp8_quantize_") + nameOf(input) + "_k" + std::to_string(k) + (powerOfTwo ? "_ue8m0" : "");
}

std::string DequantizeConfig::symbolName() const {
  return std::string("sm90_fp8_dequantize_") + nameOf(output) + "_n" + std::to_string(n) + "_k" + std::to_string(k);
}

/// Sizes and indices of elements are i32 in the kernels.
static constexpr int64_t kMaxDim = int64_t(1) << 24;

Result<void> checkQuantize(const QuantizeConfig &config) {
  if (config.k <= 0 || config.k > kMaxDim)
    return fail(config.symbolName() + ": K must be 1 to " + std::to_string(kMaxDim));
  if (!(config.amaxFloor >= 0) || config.amaxFloor > 1e30)
    return fail(config.symbolName() + ": amax_floor must be finite and not negative");
  return {};
}

Result<void> checkDequantize(const DequantizeConfig &config) {
  if (config.n <= 0 || config.k <= 0 || config.n > kMaxDim || config.k > kMaxDim)
    return fail(config.symbolName() + ": N and K must be 1 to " + std::to_string(kMaxDim));
  return {};
}

/// `count` columns of a row from `column` on, which is a multiple of `count` and below `columns`; zeros beyond.
static SmallVector<Value> loadColumns(SimtBuilder &b, Type element, Value row, Value column, int64_t count, int64_t columns) {
  if (columns % count == 0)
    return b.loadFloats(element, b.at(row, element, column), count);
  SmallVector<Value> values;
  for (int64_t index = 0; index < count; ++index) {
    Value at = b.add(column, index), inside = b.less(at, columns);
    Value value = b.loadFloat(element, b.at(row, element, b.minSigned(at, b.constI32(columns - 1))));
    values.push_back(b.select(inside, value, b.constF32(0.0)));
  }
  return values;
}

//===----------------------------------------------------------------------===//
// Quantize
//===----------------------------------------------------------------------===//

namespace {

/// A group of 128 columns of four rows belongs to 16 or 32 neighbouring lanes.
class QuantizeKernel {
public:
  QuantizeKernel(SimtBuilder &b, const QuantizeConfig &config, ArrayRef<Value> pointers, Value m)
      : b(b), config(config), x(pointers[0]), codes(pointers[1]), scales(pointers[2]), m(m) {}

  static int64_t columnsPerLane(const QuantizeConfig &config) { return config.input == FloatKind::bf16 ? 8 : 4; }
  static int64_t groupsPerBlock(const QuantizeConfig &config) { return kThreads * columnsPerLane(config) / kGroupColumns; }

  void emit() {
    int64_t width = columnsPerLane(config), lanes = kGroupColumns / width, groups = ceilDiv(config.k, kGroupColumns);
    Value unit = b.add(b.mul(b.block, groupsPerBlock(config)), b.shiftRight(b.thread, lanes == 16 ? 4 : 5));
    Value rowTiles = b.divideBy(b.add(m, kRows - 1), kRows);
    firstRow = b.mul(b.divideBy(unit, groups), kRows);
    Value group = b.remainder(unit, groups);
    laneInGroup = b.bitAnd(b.thread, lanes - 1);
    column = b.add(b.mul(group, kGroupColumns), b.mul(laneInGroup, width));
    // Units beyond the last do the last rows again, so that all lanes take part in the reduction, and store nothing.
    isUnit = b.less(firstRow, b.mul(rowTiles, kRows));
    Value inside = b.less(column, config.k);
    SmallVector<SmallVector<Value>> values;
    for (int64_t row = 0; row < kRows; ++row)
      values.push_back(loadRow(row, inside));
    SmallVector<GroupScale> groupScales;
    for (int64_t row = 0; row < kRows; ++row) {
      Value amax = b.maxWarp(largestMagnitude(b, values[row], config.amaxFloor), lanes);
      groupScales.push_back(groupScale(b, amax, config.powerOfTwo));
    }
    for (int64_t row = 0; row < kRows; ++row)
      storeRow(row, inside, values[row], groupScales[row]);
    storeScales(group, groupScales);
  }

private:
  SimtBuilder &b;
  const QuantizeConfig &config;
  Value x, codes, scales, m, firstRow, column, laneInGroup, isUnit;

  SmallVector<Value> loadRow(int64_t row, Value inside) {
    Type element = typeOf(b, config.input);
    int64_t width = columnsPerLane(config);
    Value index = b.minSigned(b.add(firstRow, row), b.sub(m, b.constI32(1)));
    // A lane beyond the last column reads the row's first ones.
    Value at = b.select(inside, column, b.constI32(0));
    SmallVector<Value> values = loadColumns(b, element, b.rowAt(x, element, index, config.k), at, width, config.k);
    for (Value &value : values)
      value = b.select(inside, value, b.constF32(0.0));
    return values;
  }

  void storeRow(int64_t row, Value inside, ArrayRef<Value> values, const GroupScale &scale) {
    Type element = b.getType<Float8E4M3FNType>();
    SmallVector<Value> quotients;
    for (Value value : values)
      quotients.push_back(divideByScale(b, value, scale));
    Value index = b.add(firstRow, row);
    b.ifThen(b.logicalAnd(inside, b.less(index, m)), [&] {
      b.storeFloats(element,
                    b.at(b.rowAt(codes, element, index, alignTo(config.k, machine::kSm90a.tmaAlignment)), element, column),
                    quotients);
    });
  }

  /// The rows beyond the last have places for their scales, too.
  void storeScales(Value group, ArrayRef<GroupScale> groupScales) {
    SmallVector<Value> values;
    for (const GroupScale &scale : groupScales)
      values.push_back(scale.scale);
    b.ifThen(b.logicalAnd(isUnit, b.equal(laneInGroup, b.constI32(0))), [&] {
      Value stride = b.create<arith::ExtSIOp>(b.getI64Type(), b.mul(b.divideBy(b.add(m, kRows - 1), kRows), kRows));
      Value wideGroup = b.create<arith::ExtSIOp>(b.getI64Type(), group);
      Value ofGroup = b.at(scales, b.getF32Type(), b.mul(wideGroup, stride));
      b.storeFloats(b.getF32Type(), b.at(ofGroup, b.getF32Type(), firstRow), values);
    });
  }
};

} // namespace

Result<LaunchRecipe> buildQuantize(gpu::GPUModuleOp gpuModule, const QuantizeConfig &config) {
  if (auto ok = checkQuantize(config); !ok)
    return tl::unexpected(ok.error());
  SizeExpr m = Dim::M, rowTiles = SizeExpr::ceilDiv(m, kRows);
  int64_t groups = ceilDiv(config.k, kGroupColumns);
  SimtSpec spec;
  spec.name = config.symbolName();
  spec.threads = kThreads;
  spec.grid = SizeExpr::ceilDiv(rowTiles * SizeExpr(groups), QuantizeKernel::groupsPerBlock(config));
  spec.operands = {{"x", nameOf(config.input), false, {m, config.k}},
                   // Rows as the matmul's a has them; what lies between K and the next multiple of 16 is not defined.
                   {"q", "f8E4M3FN", true, {m, alignTo(config.k, machine::kSm90a.tmaAlignment)}},
                   {"scale", "f32", true, {groups, SizeExpr(kRows) * rowTiles}}};
  spec.sizes = {Dim::M};
  spec.config = {{"k", config.k}};
  Result<LaunchRecipe> recipe =
      buildSimtKernel(gpuModule, spec, [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value> sizes) -> Result<void> {
        QuantizeKernel(b, config, pointers, sizes[0]).emit();
        return {};
      });
  // Units are counted in i32, and the last block may count past the end.
  if (recipe)
    recipe->limits = {{Dim::M, std::min((int64_t(1) << 31) - 8, ((int64_t(1) << 31) - kThreads) / groups * kRows)}};
  return recipe;
}

//===----------------------------------------------------------------------===//
// Dequantize
//===----------------------------------------------------------------------===//

/// Columns of a thread: 16 bytes of bf16.
static constexpr int64_t kDequantizeColumns = 8;

static void emitDequantize(SimtBuilder &b, const DequantizeConfig &config, ArrayRef<Value> pointers) {
  Type code = b.getType<Float8E4M3FNType>(), scaleType = b.getF32Type(), result = typeOf(b, config.output);
  int64_t chunks = ceilDiv(config.k, kDequantizeColumns), scaleColumns = ceilDiv(config.k, kBlock);
  Value unit = b.add(b.mul(b.block, kThreads), b.thread);
  Value firstRow = b.mul(b.divideBy(unit, chunks), kRows), column = b.mul(b.remainder(unit, chunks), kDequantizeColumns);
  b.ifThen(b.less(firstRow, config.n), [&] {
    // Four rows that begin at a multiple of four lie in one block.
    Value scaleIndex = b.add(b.mul(b.divideBy(firstRow, kBlock), scaleColumns), b.divideBy(column, kBlock));
    Value scale = b.loadFloat(scaleType, b.at(pointers[1], scaleType, scaleIndex));
    SmallVector<SmallVector<Value>> values;
    for (int64_t row = 0; row < kRows; ++row) {
      Value index = b.minSigned(b.add(firstRow, row), b.constI32(config.n - 1));
      values.push_back(loadColumns(b, code, b.rowAt(pointers[0], code, index, config.k), column, kDequantizeColumns, config.k));
    }
    for (int64_t row = 0; row < kRows; ++row) {
      for (Value &value : values[row])
        value = b.mulF32(value, scale);
      Value index = b.add(firstRow, row);
      b.ifThen(b.less(index, config.n), [&] {
        Value target = b.rowAt(pointers[2], result, index, config.k);
        if (config.k % kDequantizeColumns == 0) {
          // At most 16 bytes in one store.
          for (int64_t first = 0, width = config.output == FloatKind::bf16 ? 8 : 4; first < kDequantizeColumns; first += width)
            b.storeFloats(result, b.at(target, result, b.add(column, first)), ArrayRef(values[row]).slice(first, width));
          return;
        }
        for (int64_t offset = 0; offset < kDequantizeColumns; ++offset) {
          Value at = b.add(column, offset);
          b.ifThen(b.less(at, config.k), [&] { b.storeFloats(result, b.at(target, result, at), values[row][offset]); });
        }
      });
    }
  });
}

Result<LaunchRecipe> buildDequantize(gpu::GPUModuleOp gpuModule, const DequantizeConfig &config) {
  if (auto ok = checkDequantize(config); !ok)
    return tl::unexpected(ok.error());
  int64_t units = ceilDiv(config.n, kRows) * ceilDiv(config.k, kDequantizeColumns);
  if (units > (int64_t(1) << 31) - kThreads)
    return fail(config.symbolName() + ": the weight has more elements than the kernel can count");
  SimtSpec spec;
  spec.name = config.symbolName();
  spec.threads = kThreads;
  spec.grid = ceilDiv(units, kThreads);
  spec.operands = {{"q", "f8E4M3FN", false, {config.n, config.k}},
                   {"scale", "f32", false, {ceilDiv(config.n, kBlock), ceilDiv(config.k, kBlock)}},
                   {"x", nameOf(config.output), true, {config.n, config.k}}};
  spec.config = {{"n", config.n}, {"k", config.k}};
  return buildSimtKernel(gpuModule, spec, [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value>) -> Result<void> {
    emitDequantize(b, config, pointers);
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
