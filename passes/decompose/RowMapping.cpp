//===- RowMapping.cpp - row programs in upstream dialects -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Row by row and column by column: nothing here is parallel or wide, so that what NumPy checks is the program itself. Results are
// memrefs while they are written.
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/LatentCache.h"
#include "dialects/rows/NarrowFloats.h"
#include "dialects/rows/RowBuilder.h"
#include "passes/decompose/Definition.h"

#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace quant;
using namespace quant::rows;

namespace {

/// Codes and scales of a block-scaled value; of any other, itself and null.
using Parts = std::pair<Value, Value>;

/// Memory for the results of an op, and the parts of its block-scaled operands.
class Buffers {
public:
  Buffers(Definition &d, rows::RowOpInterface op) : d(d) {
    for (Value operand : op->getOperands())
      if (isa<qblock::BlockTensorType>(operand.getType())) {
        auto storage = qblock::StorageOp::create(d, operand);
        parts[operand] = {storage.getData(), storage.getScale()};
      }
    leading = d.dim(of(op.getRowSource()).first, 0);
    for (Value result : op->getResults())
      if (auto block = dyn_cast<qblock::BlockTensorType>(result.getType()))
        parts[result] = {allocate(block.getDataTensorType()), allocate(block.getScaleTensorType())};
      else
        parts[result] = {allocate(cast<RankedTensorType>(result.getType())), Value()};
  }

  Parts of(Value value) const { return parts.contains(value) ? parts.lookup(value) : Parts(value, Value()); }
  /// The size of the leading dimension that counts the op's rows.
  Value leadingSize() const { return leading; }

  /// What is in a result's memory, as the op's result.
  Value finish(Value result) {
    auto [data, scales] = of(result);
    if (!scales)
      return tensorOf(data);
    return qblock::AssembleOp::create(d, result.getType(), tensorOf(data), tensorOf(scales), Value());
  }

private:
  Definition &d;
  Value leading;
  llvm::DenseMap<Value, Parts> parts;

  Value allocate(RankedTensorType type) {
    SmallVector<Value> sizes(type.getNumDynamicDims(), leading);
    return memref::AllocOp::create(d, MemRefType::get(type.getShape(), type.getElementType()), sizes);
  }

  Value tensorOf(Value buffer) {
    auto type = cast<MemRefType>(buffer.getType());
    auto tensor = RankedTensorType::get(type.getShape(), type.getElementType());
    return bufferization::ToTensorOp::create(d, tensor, buffer, /*restrict=*/true, /*writable=*/true);
  }
};

class DefinitionRows final : public RowBuilder {
public:
  /// `buffers` may be null where the program names none of its op's operands.
  DefinitionRows(Definition &d, const Buffers *buffers, Value row) : RowBuilder(d), d(d), buffers(buffers), rowIndex(row) {}

  Num row() override { return num(rowIndex); }
  Num tokens(Value tensor) override { return num(d.dim(tensor, 0)); }

  Rows rows(Value tensor) override { return wholeRows(cast<ShapedType>(tensor.getType()), buffers->of(tensor).first); }

  Quantized quantized(Value tensor) override {
    auto type = cast<qblock::BlockTensorType>(tensor.getType());
    auto [data, scales] = buffers->of(tensor);
    auto whole = [](Value value) { return wholeRows(cast<ShapedType>(value.getType()), value); };
    return {whole(data), whole(scales), type.getBlockExtent(type.getRank() - 2), type.getBlockExtent(type.getRank() - 1), false};
  }

  Num load(const Rows &rows, const Column &column) override { return at(rows, column.first); }
  void store(const Rows &rows, const Column &column, const Num &value) override { put(rows, column.first, value); }

  Num at(const Rows &rows, const Num &column) override {
    if (isOfBytes(rows))
      return atBytes(rows, column);
    SmallVector<Value> indices = indicesOf(rows, column);
    Value element = isa<MemRefType>(rows.base.getType()) ? memref::LoadOp::create(d, rows.base, indices).getResult()
                                                         : tensor::ExtractOp::create(d, rows.base, indices).getResult();
    if (isa<Float8E4M3FNType>(rows.element))
      return num(decodeE4M3(d, d.bitcast(d.i8(), element)));
    if (isa<Float8E8M0FNUType>(rows.element))
      return num(decodeE8M0(d, d.bitcast(d.i8(), element)));
    if (rows.element.isInteger(32))
      return num(d.convert(d.sizeType(), element));
    return num(d.convert(d.f32(), element));
  }

  void put(const Rows &rows, const Num &column, const Num &value) override {
    if (isOfBytes(rows))
      return putBytes(rows, column, value);
    Value element;
    if (isa<Float8E4M3FNType>(rows.element))
      element = d.bitcast(rows.element, encodeE4M3(d, value.value));
    else if (isa<Float8E8M0FNUType>(rows.element))
      element = d.bitcast(rows.element, encodeE8M0(d, value.value));
    else
      element = d.convert(rows.element, value.value);
    memref::StoreOp::create(d, element, rows.base, indicesOf(rows, column));
  }

  Num sum(int64_t columns, Fold fold) override { return reduce(wholeRow(columns), constant(0.0), fold); }
  using RowBuilder::forColumns, RowBuilder::max;
  Num max(const Group &group, const Num &least, Fold fold) override { return reduce(group, least, fold); }

  void forColumns(const Group &group, Body<Column> body) override {
    forEach(group.first, group.first + group.columns, [&](Num index) { body({index, 1, group.columns, false}); });
  }

  void forConstants(ArrayRef<double> values, function_ref<void(Column, Num)> body) override {
    int64_t columns = values.size();
    auto type = RankedTensorType::get({columns}, d.getF64Type());
    Value table = arith::ConstantOp::create(d, DenseElementsAttr::get(type, values));
    forColumns(columns, [&](Column column) { body(column, num(tensor::ExtractOp::create(d, table, column.first.value))); });
  }

  using RowBuilder::scratch;
  Rows scratch(int64_t columns, Type element) override {
    auto type = MemRefType::get({columns}, element);
    return wholeRows(type, memref::AllocaOp::create(d, type));
  }

private:
  Definition &d;
  const Buffers *buffers;
  Value rowIndex;

  //===--- Rows of bytes that are other numbers, the lowest byte first ---===//

  static bool isOfBytes(const Rows &rows) {
    return cast<ShapedType>(rows.base.getType()).getElementType().isInteger(8) && !rows.element.isInteger(8);
  }
  static int64_t bytesOf(const Rows &rows) { return rows.element.getIntOrFloatBitWidth() / 8; }
  /// Where byte `index` of a number lies.
  SmallVector<Value> byteOf(const Rows &rows, const Num &column, int64_t index) {
    return {rowOf(rows).value, ((column + rows.offset) * bytesOf(rows) + index).value};
  }

  Num atBytes(const Rows &rows, const Num &column) {
    Type word = d.getIntegerType(bytesOf(rows) * 8);
    Value bits = d.integer(word, 0);
    for (int64_t index = 0; index < bytesOf(rows); ++index) {
      Value byte = memref::LoadOp::create(d, rows.base, byteOf(rows, column, index));
      bits = d.bitOr(bits, d.shiftLeft(word == d.i8() ? byte : d.zeroExtend(word, byte), index * 8));
    }
    return num(isa<Float8E4M3FNType>(rows.element) ? decodeE4M3(d, bits) : d.convert(d.f32(), d.bitcast(rows.element, bits)));
  }

  void putBytes(const Rows &rows, const Num &column, const Num &value) {
    Value bits = isa<Float8E4M3FNType>(rows.element)
                     ? encodeE4M3(d, value.value)
                     : d.bitcast(d.getIntegerType(bytesOf(rows) * 8), d.convert(rows.element, value.value));
    for (int64_t index = 0; index < bytesOf(rows); ++index)
      memref::StoreOp::create(d, d.convert(d.i8(), d.shiftRight(bits, index * 8)), rows.base, byteOf(rows, column, index));
  }

  Num reduce(const Group &group, const Num &init, Fold fold) {
    return loop(group.first, group.first + group.columns, init, [&](Num index, ArrayRef<Num> sum) {
      return SmallVector<Num>{fold({index, 1, group.columns, false}, sum[0])};
    })[0];
  }

  SmallVector<Value> indicesOf(const Rows &rows, const Num &column) {
    Value last = (column + rows.offset).value;
    int64_t rank = cast<ShapedType>(rows.base.getType()).getRank();
    if (rank == 1)
      return {last};
    if (rows.isList)
      return {(column / rows.columns).value, (column % rows.columns).value};
    Num row = rowOf(rows);
    if (rank == 2)
      return {row.value, last};
    return {(row / rows.perToken).value, (row % rows.perToken).value, last};
  }
};

struct DefineRowOp : OpInterfaceRewritePattern<rows::RowOpInterface> {
  using OpInterfaceRewritePattern::OpInterfaceRewritePattern;

  LogicalResult matchAndRewrite(rows::RowOpInterface op, PatternRewriter &rewriter) const override {
    if (!rows::rowOpOf(op))
      return rewriter.notifyMatchFailure(op, "a number, not rows");
    for (Type type : llvm::concat<Type>(llvm::to_vector(op->getOperandTypes()), llvm::to_vector(op->getResultTypes())))
      if (auto block = dyn_cast<qblock::BlockTensorType>(type); block && !isKnown(block))
        return rewriter.notifyMatchFailure(op, "row programs quantize to f8E4M3FN, and here scales lie row by row");
    Definition d(op, rewriter);
    Buffers buffers(d, op);
    int64_t fixed = op.getFixedRows();
    Value rows = fixed ? d.size(fixed) : d.mul(buffers.leadingSize(), rows::rowsPerToken(op));
    d.loop(d.size(0), rows, 1, [&](Value row) {
      DefinitionRows program(d, &buffers, row);
      op.buildRow(program);
    });
    SmallVector<Value> values;
    for (Value result : op->getResults())
      values.push_back(buffers.finish(result));
    rewriter.replaceOp(op, values);
    return success();
  }

private:
  static bool isKnown(qblock::BlockTensorType type) {
    return type.getRank() > 1 && isa<Float8E4M3FNType>(type.getStorageType()) && !type.getKMajorScales();
  }
};

} // namespace

Value quant::unpackCache(Definition &d, Value cache, deepseek::CacheFormat format, int64_t latent, int64_t rope, Value rows) {
  auto type = MemRefType::get({ShapedType::kDynamic, latent + rope}, d.getF32Type());
  Value numbers = memref::AllocOp::create(d, type, ValueRange{rows});
  deepseek::LatentCache stored(wholeRows(cast<ShapedType>(cache.getType()), cache), format, latent, rope);
  d.loop(d.size(0), rows, 1, [&](Value row) {
    DefinitionRows words(d, nullptr, row);
    Rows target = wholeRows(type, numbers);
    words.forColumns(latent, [&](Column column) { words.store(target, column, stored.load(words, words.row(), column)); });
    words.forColumns(rope,
                     [&](Column column) { words.store(target.slice(latent, rope), column, words.load(stored.ropes, column)); });
  });
  return numbers;
}

void quant::addRowDefinitions(RewritePatternSet &patterns) { patterns.add<DefineRowOp>(patterns.getContext()); }
