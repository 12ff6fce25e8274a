//===- SimtMemory.cpp - typed loads and stores -------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtBuilder.h"

#include "dialects/qblock/QBlock.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace quant::nvvm {

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

Value SimtBuilder::allocateShared(int64_t bytes) {
  Value address = offset(dynamicShared(), nextShared);
  nextShared += (bytes + 15) / 16 * 16;
  return address;
}

/// Elements that 16 bytes hold: what one load or store takes at most.
static int64_t elementsOf16Bytes(Type element) { return 16 / bytesOf(element); }

Value SimtBuilder::decodePair(Type element, Value codes) {
  StringRef name = isa<Float8E5M2Type>(element) ? "llvm.nvvm.e5m2x2.to.f16x2.rn" : "llvm.nvvm.e4m3x2.to.f16x2.rn";
  return convert(f32(), intrinsic(VectorType::get(2, getF16Type()), name, codes));
}

Value SimtBuilder::decodeBytes(Type element, Value pointer, int64_t count) {
  if (count == 1)
    return extract(decodePair(element, zeroExtend(getI16Type(), load(i8(), pointer, 1))), 0);
  Value codes = load(VectorType::get(count / 2, getI16Type()), pointer, count);
  SmallVector<Value> pairs;
  for (int64_t pair = 0; pair < count / 2; ++pair)
    pairs.push_back(decodePair(element, extract(codes, pair)));
  return pack(pairs);
}

Value SimtBuilder::loadLanes(Type element, Value pointer, int64_t count) {
  if (isa<Float8E4M3FNType, Float8E5M2Type>(element))
    return decodeBytes(element, pointer, count);
  int64_t whole = std::min(count, elementsOf16Bytes(element));
  SmallVector<Value> parts;
  for (int64_t first = 0; first < count; first += whole)
    parts.push_back(convert(f32(), load(lanesOf(element, whole), at(pointer, element, first), bytesOf(element) * whole)));
  return pack(parts);
}

Value SimtBuilder::encodeE4M3(Value values) {
  int64_t count = laneCount(values.getType());
  if (count == 1)
    return convert(i8(), encodePairE4M3(values, number(0.0)));
  SmallVector<Value> pairs;
  for (int64_t index = 0; index < count; index += 2)
    pairs.push_back(encodePairE4M3(extract(values, index), extract(values, index + 1)));
  return pack(pairs);
}

void SimtBuilder::storeLanes(Type element, Value pointer, Value values) {
  int64_t count = laneCount(values.getType()), whole = std::min(count, elementsOf16Bytes(element));
  for (int64_t first = 0; first < count; first += whole) {
    Value part = extract(values, first, whole);
    Value packed = isa<Float8E4M3FNType>(element) ? encodeE4M3(part) : convert(element, part);
    store(packed, at(pointer, element, first), bytesOf(element) * whole);
  }
}

Value SimtBuilder::globalTable(ArrayRef<double> values) {
  auto function = getInsertionBlock()->getParent()->getParentOfType<LLVM::LLVMFuncOp>();
  auto gpuModule = function->getParentOfType<gpu::GPUModuleOp>();
  std::string name = (function.getName() + "_constants").str();
  while (gpuModule.lookupSymbol(name))
    name += "_";
  {
    OpBuilder::InsertionGuard guard(*this);
    setInsertionPointToStart(gpuModule.getBody());
    auto type = LLVM::LLVMArrayType::get(getF64Type(), values.size());
    auto attribute = DenseElementsAttr::get(RankedTensorType::get(values.size(), getF64Type()), values);
    LLVM::GlobalOp::create(*this, type, /*isConstant=*/true, LLVM::Linkage::Internal, name, attribute, /*alignment=*/8,
                           /*addrSpace=*/1);
  }
  return LLVM::AddressOfOp::create(*this, ptr(1), name);
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

/// Whether neighbouring columns from a multiple of `lanes` on can be loaded at once.
static bool areAligned(const rows::Rows &rows, const rows::Column &column) {
  int64_t lanes = column.lanes;
  return column.count % lanes == 0 && rows.offset % lanes == 0 && (rows.isList || rows.stride % lanes == 0);
}

Value SimtBuilder::inside(const rows::Column &column, Value value, Value beyond) {
  if (!column.mayExceed)
    return value;
  if (column.count % column.lanes == 0)
    return select(less(column.first.value, column.count), value, beyond);
  SmallVector<Value> lanes;
  for (int64_t lane = 0; lane < column.lanes; ++lane)
    lanes.push_back(select(less(add(column.first.value, lane), column.count), extract(value, lane), extract(beyond, lane)));
  return pack(lanes);
}

Value SimtBuilder::loadColumns(const rows::Rows &rows, Value rowAddress, const rows::Column &column) {
  int64_t lanes = column.lanes;
  auto loadAt = [&](Value first, int64_t count, int64_t limit) {
    Value place = column.mayExceed ? min(first, limit - count) : first;
    return loadLanes(rows.element, at(rowAddress, rows.element, place), count);
  };
  SmallVector<Value> parts;
  if (areAligned(rows, column))
    parts.push_back(loadAt(column.first.value, lanes, column.count));
  else
    for (int64_t lane = 0; lane < lanes; ++lane)
      parts.push_back(loadAt(add(column.first.value, lane), 1, column.count));
  return inside(column, pack(parts), number(0.0, lanes));
}

void SimtBuilder::storeColumns(const rows::Rows &rows, Value rowAddress, const rows::Column &column, Value value) {
  auto storeAt = [&](Value first, Value part) {
    auto emit = [&] { storeLanes(rows.element, at(rowAddress, rows.element, first), part); };
    return column.mayExceed ? ifThen(less(first, column.count), emit) : emit();
  };
  if (areAligned(rows, column))
    return storeAt(column.first.value, value);
  for (int64_t lane = 0; lane < column.lanes; ++lane)
    storeAt(add(column.first.value, lane), extract(value, lane));
}

Value SimtBuilder::scaleAddress(const rows::Quantized &quantized, Value row, Value group, Value rowCount) {
  const rows::Rows &scales = quantized.scales;
  if (!quantized.kMajor)
    return at(rowAddress(scales, row), scales.element, group);
  constexpr int64_t kMultiple = abi::kKMajorRowMultiple;
  auto wide = [&](Value value) { return convert(getI64Type(), value); };
  Value padded = mul(div(add(rowCount, kMultiple - 1), kMultiple), kMultiple);
  return at(scales.base, scales.element, add(mul(wide(group), wide(padded)), wide(row)));
}

} // namespace quant::nvvm
