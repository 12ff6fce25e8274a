//===- SimtOperands.cpp - where a kernel's operands lie ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtOperands.h"

#include "dialects/program/Program.h"
#include "lowering/target/sm90/simt/E4M3.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;

namespace quant::nvvm {

static std::string textOf(Type type) {
  std::string text;
  llvm::raw_string_ostream(text) << type;
  return text;
}

/// A value that is in memory as another has it: casts, and dimensions joined.
static Value throughViews(Value value) {
  while (isa_and_nonnull<arith::ExtFOp, tensor::CollapseShapeOp>(value.getDefiningOp()))
    value = value.getDefiningOp()->getOperand(0);
  return value;
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

Quad Rows::load(SimtBuilder &b, Value row, Value column) const {
  bool whole = columns % kWarpColumns == 0;
  Quad values;
  if (hasQuads()) {
    Value inside = whole ? Value() : b.less(column, columns);
    Value at = whole ? column : b.minSigned(column, b.constI32(columns - kQuad));
    values.append(b.loadFloats(element, b.at(row, element, at), kQuad));
    for (Value &value : values)
      if (inside)
        value = b.select(inside, value, b.constF32(0.0));
    return values;
  }
  for (int64_t index = 0; index < kQuad; ++index) {
    Value at = b.add(column, index), inside = b.less(at, columns);
    Value value = b.loadFloat(element, b.at(row, element, b.minSigned(at, b.constI32(columns - 1))));
    values.push_back(b.select(inside, value, b.constF32(0.0)));
  }
  return values;
}

void Rows::store(SimtBuilder &b, Value row, Value column, ArrayRef<Value> values) const {
  if (columns % kWarpColumns == 0 && hasQuads())
    return b.storeFloats(element, b.at(row, element, column), values);
  if (hasQuads())
    return b.ifThen(b.less(column, columns), [&] { b.storeFloats(element, b.at(row, element, column), values); });
  for (auto [index, value] : llvm::enumerate(values)) {
    Value at = b.add(column, static_cast<int64_t>(index));
    b.ifThen(b.less(at, columns), [&] { b.storeFloats(element, b.at(row, element, at), value); });
  }
}

Value Quantized::scaleAddress(SimtBuilder &b, Value row, Value group) const {
  if (!kMajor)
    return b.at(b.rowAt(scales, scaleType, row, groups), scaleType, group);
  Value padded =
      b.mul(b.divideBy(b.add(rowCount, qblock::kKMajorRowMultiple - 1), qblock::kKMajorRowMultiple), qblock::kKMajorRowMultiple);
  auto wide = [&](Value value) { return b.create<arith::ExtSIOp>(b.getI64Type(), value).getResult(); };
  return b.at(scales, scaleType, b.add(b.mul(wide(group), wide(padded)), wide(row)));
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

std::pair<WeightPart, Value> Weight::partOf(SimtBuilder &b, Value row) const {
  WeightPart picked = parts.front();
  Value first = b.constI32(0);
  for (const WeightPart &part : ArrayRef(parts).drop_front()) {
    Value isHere = b.compare(SimtBuilder::IntPredicate::sge, row, b.constI32(part.firstRow));
    picked.data = b.select(isHere, part.data, picked.data);
    if (part.scale)
      picked.scale = b.select(isHere, part.scale, picked.scale);
    first = b.select(isHere, b.constI32(part.firstRow), first);
  }
  return {picked, b.sub(row, first)};
}

Rows Weight::rowsOf(const WeightPart &part) const { return {part.data, storage, columns, columns, 0, 1}; }

Value Weight::scaleAt(SimtBuilder &b, const WeightPart &part, Value row, Value column) const {
  if (!part.scale)
    return {};
  // The lanes beyond the last column take the scale of the last.
  Value inside = columns % kWarpColumns == 0 ? column : b.minSigned(column, b.constI32(columns - 1));
  Value index = b.add(b.mul(b.divideBy(row, blockRows), scaleColumns()), b.divideBy(inside, blockColumns));
  return b.loadScale(scaleType, b.at(part.scale, scaleType, index));
}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

SimtOperands::SimtOperands(SimtBuilder &b, func::FuncOp kernel, ArrayRef<Value> pointers, ArrayRef<Value> sizes)
    : b(b), kernel(kernel), sizes(sizes) {
  for (BlockArgument argument : kernel.getArguments())
    if (!argument.getType().isIndex()) {
      addresses[argument] = pointers.front();
      pointers = pointers.drop_front();
    }
  results.append(pointers.begin(), pointers.end());
}

Value SimtOperands::rowCount() const {
  func::FuncOp function = kernel;
  return program::getRowDim(function) == program::Dim::Outputs ? outputs() : tokens();
}

Result<Value> SimtOperands::address(Value value) const {
  auto found = addresses.find(throughViews(value));
  if (found != addresses.end())
    return found->second;
  return fail("an operand is no view of the kernel's arguments: " + textOf(value.getType()));
}

static Rows wholeRows(ShapedType type, Value base) {
  int64_t columns = type.getShape().back(), perToken = 1;
  for (int64_t size : type.getShape().drop_back().drop_front(type.getRank() > 1 ? 1 : 0))
    perToken *= size;
  return {base, type.getElementType(), columns, columns, 0, perToken};
}

Result<Rows> SimtOperands::rows(Value tensor) const {
  tensor = throughViews(tensor);
  if (auto slice = tensor.getDefiningOp<tensor::ExtractSliceOp>()) {
    Result<Rows> source = rows(slice.getSource());
    int64_t offset = slice.getStaticOffsets().back(), size = slice.getStaticSizes().back();
    if (!source)
      return source;
    if (ShapedType::isDynamic(offset) || ShapedType::isDynamic(size) || !slice.hasUnitStride())
      return fail("an operand is a slice that is not one of columns: " + textOf(slice.getType()));
    source->offset += offset;
    source->columns = size;
    return source;
  }
  Result<Value> base = address(tensor);
  if (!base)
    return tl::unexpected(base.error());
  auto type = cast<ShapedType>(tensor.getType());
  if (!isa<FloatType, IntegerType>(type.getElementType()) || llvm::any_of(type.getShape().drop_front(), ShapedType::isDynamic))
    return fail("an operand has a type that kernels do not take: " + textOf(type));
  return wholeRows(type, *base);
}

Rows SimtOperands::resultRows(unsigned index) const {
  func::FuncOp function = kernel;
  return wholeRows(cast<ShapedType>(function.getFunctionType().getResult(index)), results[index]);
}

Result<Quantized> SimtOperands::quantized(Rows codes, Value scales, qblock::BlockTensorType type) const {
  bool perRow = llvm::all_of(type.getBlock().drop_back(), [](int64_t extent) { return extent == 1; });
  if (!perRow || type.getBlock().back() != kGroupColumns || !isa<Float8E4M3FNType>(type.getStorageType()) ||
      !isa<Float32Type, Float8E8M0FNUType>(type.getScaleType()))
    return fail("activations are quantized to f8E4M3FN in groups of 128 with f32 or f8E8M0FNU scales, not to " + textOf(type));
  Quantized result{
      codes, scales, type.getScaleType(), (codes.columns + kGroupColumns - 1) / kGroupColumns, type.getKMajorScales(), {}};
  result.rowCount = b.mul(rowCount(), codes.perToken);
  return result;
}

Result<Quantized> SimtOperands::quantized(Value tensor) const {
  auto assemble = tensor.getDefiningOp<qblock::AssembleOp>();
  if (!assemble)
    return fail("quantized activations are not made of codes and scales: " + textOf(tensor.getType()));
  Result<Rows> codes = rows(assemble.getData());
  Result<Value> scales = address(assemble.getScale());
  if (!codes || !scales)
    return tl::unexpected(codes ? scales.error() : codes.error());
  return quantized(*codes, *scales, assemble.getType());
}

Result<Quantized> SimtOperands::resultQuantized(unsigned index, qblock::BlockTensorType type) const {
  return quantized(resultRows(index), results[index + 1], type);
}

Result<Weight> SimtOperands::weight(Value value) const {
  Weight weight{qblock::describeWeight(value)};
  // A lane's four columns share a scale.
  if (weight.zeroType || (weight.scaleType && weight.blockColumns % kQuad != 0 && weight.blockColumns < weight.columns))
    return fail("a weight has a scheme that kernels do not know: " + textOf(value.getType()));
  if (!isa<Float32Type, BFloat16Type, Float16Type, Float8E4M3FNType, Float8E5M2Type>(weight.storage))
    return fail("a weight is stored as " + textOf(weight.storage) + ", which kernels do not read");
  for (WeightPart &part : weight.parts)
    for (Value *tensor : {&part.data, &part.scale}) {
      if (!*tensor)
        continue;
      Result<Value> found = address(*tensor);
      if (!found)
        return tl::unexpected(found.error());
      *tensor = *found;
    }
  return weight;
}

} // namespace quant::nvvm
