//===- MatmulKernels.cpp - x times W transposed, straight from the file ---===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One row of x: a few weight rows at a time, decoded in registers, with prefetch: memory bandwidth is the limit.
// More rows of x: four weight rows are decoded and scaled once into scratch, then multiplied with all of them.
//
//===----------------------------------------------------------------------===//

#include "lowering/host/Decode.h"
#include "lowering/host/Kernels.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/STLExtras.h"

#include <numeric>

using namespace mlir;
using namespace quant;
using namespace quant::host;

namespace {

constexpr int64_t kBlockRows = 128;
constexpr int64_t kPanelRows = 4, kPanelTokens = 4;
constexpr int64_t kPrefetchBytes = 512, kCacheLine = 64;

/// The rows [begin, end) of one weight tensor against all rows of x.
struct RowRange {
  Value data, scale, zero; // addresses of the tensor's first row
  Value begin, end;
  Value x;                                   // rows of x
  llvm::function_ref<Value(Value)> xAddress; // f32 row m of x
  llvm::function_ref<Value(Value, Value)> outAddress; // f32 result (m, weight row)
};

class MatmulEmitter {
public:
  MatmulEmitter(KernelContext &context, const Weight &weight)
      : context(context), b(context.b), weight(weight), span(spanColumns(weight)) {
    panelColumns = (weight.columns + kLanes - 1) / kLanes * kLanes;
  }

  void emit(const RowRange &range) {
    auto oneRow = b.compare(arith::CmpIPredicate::eq, range.x, 1);
    Value panel = context.allocate(kPanelRows * panelColumns * 4);
    b.ifThen(oneRow, [&] { emitRowGroups(range, b.target.gemvRows, [&](Value row, int64_t rows) { gemv(range, row, rows); }); },
             [&] { emitRowGroups(range, kPanelRows, [&](Value row, int64_t rows) { gemm(range, row, rows, panel); }); });
  }

  /// Decodes columns [0, columns) of `row`, scaled, as f32 to `target`, with zeros up to a multiple of 16.
  void decodeRow(const RowRange &range, Value row, Value target) {
    Value data = rowData(range, row), scales = rowScales(range, row);
    forSpans([&](Value column, int64_t columns, Value scaleIndex) {
      Value scale = loadScale(range, scales, scaleIndex), zero = loadZero(range, row, scaleIndex);
      Value source = b.at(data, storageOffset(column), 1);
      forPieces(columns, [&](int64_t offset, int64_t lanes, Value value) {
        Value scaled = value;
        if (zero)
          scaled = b.subF(scaled, b.splat(zero, lanes));
        if (scale)
          scaled = b.mulF(scaled, b.splat(scale, lanes));
        b.store(scaled, b.at(target, b.add(column, offset), 4));
      }, source);
    });
    if (int64_t rest = panelColumns - weight.columns)
      b.store(b.splatF32(rest, 0.0f), b.at(target, weight.columns, 4));
  }

private:
  KernelContext &context;
  HostBuilder &b;
  const Weight &weight;
  int64_t span;
  int64_t panelColumns;

  /// Columns that share a scale and are handled as one straight piece of code.
  static int64_t spanColumns(const Weight &weight) {
    if (!weight.scaleType || weight.blockColumns >= weight.columns)
      return std::min<int64_t>(128, weight.columns);
    return weight.blockColumns <= 128 ? weight.blockColumns : std::gcd<int64_t>(weight.blockColumns, 128);
  }

  Value storageOffset(Value elements) {
    unsigned bits = weight.storage.getIntOrFloatBitWidth();
    return bits < 8 ? b.div(elements, 8 / bits) : b.mul(elements, bits / 8);
  }

  Value rowData(const RowRange &range, Value row) {
    return b.at(range.data, row, storageBytes(weight.storage, weight.columns));
  }
  Value rowScales(const RowRange &range, Value row) {
    if (!weight.scaleType)
      return {};
    return b.at(range.scale, b.mul(b.div(row, weight.blockRows), weight.scaleColumns()), bytesOf(weight.scaleType));
  }
  Value loadScale(const RowRange &range, Value scales, Value index) {
    if (!weight.scaleType)
      return {};
    return b.loadScalarAsF32(weight.scaleType, b.at(scales, index, bytesOf(weight.scaleType)));
  }
  /// The block's zero point as f32, or none.
  Value loadZero(const RowRange &range, Value row, Value index) {
    if (!weight.zeroType)
      return {};
    Value block = b.add(b.mul(b.div(row, weight.blockRows), weight.scaleColumns()), index);
    Value zero = b.load(b.i8(), b.at(range.zero, block, 1));
    return arith::SIToFPOp::create(b.builder, b.loc, b.f32(), zero);
  }

  void emitRowGroups(const RowRange &range, int64_t groupRows, function_ref<void(Value, int64_t)> group) {
    Value whole = b.mul(b.div(b.sub(range.end, range.begin), groupRows), groupRows);
    Value middle = b.add(range.begin, whole);
    b.loop(range.begin, middle, groupRows, [&](Value row) { group(row, groupRows); });
    b.loop(middle, range.end, 1, [&](Value row) { group(row, 1); });
  }

  /// Calls `body` for each span of columns: a loop over whole spans, then the ragged rest.
  void forSpans(function_ref<void(Value column, int64_t columns, Value scaleIndex)> body) {
    int64_t whole = weight.columns / span * span;
    auto scaleIndex = [&](Value column) { return b.div(column, weight.blockColumns); };
    b.loop(b.cst(0), b.cst(whole), span, [&](Value column) { body(column, span, scaleIndex(column)); });
    if (whole < weight.columns)
      body(b.cst(whole), weight.columns - whole, scaleIndex(b.cst(whole)));
  }

  /// Decodes `columns` codes at `source` in pieces of 64, 16 and what is left.
  void forPieces(int64_t columns, function_ref<void(int64_t offset, int64_t lanes, Value value)> body, Value source) {
    int64_t offset = 0;
    auto address = [&] { return b.at(source, storageBytes(weight.storage, offset), 1); };
    for (; offset + 64 <= columns; offset += 64)
      for (auto [quarter, value] : llvm::enumerate(decode64(b, weight.storage, address())))
        body(offset + kLanes * quarter, kLanes, value);
    while (offset < columns) {
      int64_t lanes = std::min(kLanes, columns - offset);
      body(offset, lanes, decode(b, weight.storage, address(), lanes));
      offset += lanes;
    }
  }

  //===--- One row of x ---===//

  /// Fetches what the same rows need `kPrefetchBytes` later; past a row's end, the next group's first columns.
  void prefetchAhead(Value firstRow, Value column, int64_t rows, int64_t columns) {
    int64_t rowBytes = storageBytes(weight.storage, weight.columns), spanBytes = storageBytes(weight.storage, columns);
    if (rows == 1 || rowBytes < 2 * kPrefetchBytes)
      return;
    Value ahead = b.add(storageOffset(column), kPrefetchBytes);
    Value wraps = b.compare(arith::CmpIPredicate::uge, ahead, rowBytes);
    Value offset = b.add(ahead, b.select(wraps, b.cst((rows - 1) * rowBytes), b.cst(0)));
    Value base = b.at(firstRow, offset, 1);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t line = 0; line < spanBytes; line += kCacheLine)
        b.prefetch(b.at(base, row * rowBytes + line, 1));
  }

  /// `rows` results of one row of x. Each span's products are summed in f32 and then scaled ("promotion").
  void gemv(const RowRange &range, Value row, int64_t rows) {
    Value x = range.xAddress(b.cst(0)), data = rowData(range, row);
    int64_t rowBytes = storageBytes(weight.storage, weight.columns);
    auto spanStep = [&](Value column, int64_t columns, ValueRange acc) {
      prefetchAhead(data, column, rows, columns);
      SmallVector<Value> result;
      Value source = b.at(data, storageOffset(column), 1), inputs = b.at(x, column, 4);
      Value scaleIndex = b.div(column, weight.blockColumns);
      for (int64_t r = 0; r < rows; ++r) {
        Value weightRow = b.add(row, r);
        Value products = spanProducts(range, weightRow, b.at(source, r * rowBytes, 1), inputs, columns, scaleIndex);
        Value scale = weight.scaleType ? loadScale(range, rowScales(range, weightRow), scaleIndex) : b.cstF32(1.0f);
        result.push_back(b.fma(products, b.splat(scale, kLanes), acc[r]));
      }
      return result;
    };
    SmallVector<Value> acc(rows, b.splatF32(kLanes, 0.0f));
    int64_t whole = weight.columns / span * span;
    acc = b.loop(b.cst(0), b.cst(whole), span, acc, [&](Value column, ValueRange carried) { return spanStep(column, span, carried); });
    if (whole < weight.columns)
      acc = spanStep(b.cst(whole), weight.columns - whole, acc);
    for (int64_t r = 0; r < rows; ++r)
      b.store(b.sumLanes(acc[r]), range.outAddress(b.cst(0), b.add(row, r)));
  }

  /// Lane-wise sums of x times the codes of one span of one row.
  Value spanProducts(const RowRange &range, Value row, Value source, Value inputs, int64_t columns, Value scaleIndex) {
    Value zero = loadZero(range, row, scaleIndex);
    Value acc = b.splatF32(kLanes, 0.0f);
    forPieces(columns, [&](int64_t offset, int64_t lanes, Value value) {
      Value input = b.load(b.vecF32(lanes), b.at(inputs, offset, 4));
      if (zero)
        value = b.subF(value, b.splat(zero, lanes));
      if (lanes < kLanes)
        std::tie(value, input) = std::pair(widen(value), widen(input));
      acc = b.fma(value, input, acc);
    }, source);
    return acc;
  }

  /// A narrower vector followed by zeros.
  Value widen(Value vector) {
    int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
    SmallVector<int64_t> mask;
    for (int64_t lane = 0; lane < kLanes; ++lane)
      mask.push_back(std::min(lane, lanes));
    return vector::ShuffleOp::create(b.builder, b.loc, vector, b.splatF32(lanes, 0.0f), mask);
  }

  //===--- Many rows of x ---===//

  void gemm(const RowRange &range, Value row, int64_t rows, Value panel) {
    for (int64_t r = 0; r < rows; ++r)
      decodeRow(range, b.add(row, r), b.at(panel, r * panelColumns, 4));
    Value whole = b.mul(b.div(range.x, kPanelTokens), kPanelTokens);
    b.loop(b.cst(0), whole, kPanelTokens, [&](Value m) { panelTile(range, row, rows, m, kPanelTokens, panel); });
    b.loop(whole, range.x, 1, [&](Value m) { panelTile(range, row, rows, m, 1, panel); });
  }

  /// tokens x rows results, all accumulators in registers.
  void panelTile(const RowRange &range, Value row, int64_t rows, Value m, int64_t tokens, Value panel) {
    SmallVector<Value> inputs;
    for (int64_t t = 0; t < tokens; ++t)
      inputs.push_back(range.xAddress(b.add(m, t)));
    auto step = [&](Value column, int64_t lanes, ValueRange acc) {
      SmallVector<Value> weights, result;
      for (int64_t r = 0; r < rows; ++r)
        weights.push_back(b.load(b.vecF32(), b.at(panel, b.add(column, r * panelColumns), 4)));
      for (int64_t t = 0; t < tokens; ++t) {
        Value input = b.load(b.vecF32(lanes), b.at(inputs[t], column, 4));
        if (lanes < kLanes)
          input = widen(input);
        for (int64_t r = 0; r < rows; ++r)
          result.push_back(b.fma(weights[r], input, acc[t * rows + r]));
      }
      return result;
    };
    SmallVector<Value> acc(tokens * rows, b.splatF32(kLanes, 0.0f));
    int64_t whole = weight.columns / kLanes * kLanes;
    acc = b.loop(b.cst(0), b.cst(whole), kLanes, acc, [&](Value column, ValueRange carried) { return step(column, kLanes, carried); });
    if (whole < weight.columns)
      acc = step(b.cst(whole), weight.columns - whole, acc);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = 0; r < rows; ++r)
        b.store(b.sumLanes(acc[t * rows + r]), range.outAddress(b.add(m, t), b.add(row, r)));
  }
};

LogicalResult checkWeight(Operation *op, const FailureOr<Weight> &weight) {
  if (failed(weight))
    return op->emitError("the weight is of a type or a form that the host cannot read");
  if (weight->storage.getIntOrFloatBitWidth() < 8 && weight->columns % 2 != 0)
    return op->emitError("rows of ") << weight->columns << " 4-bit codes do not start on a byte";
  return success();
}

/// One part of a weight, picked at run time.
struct PickedPart {
  Value data, scale, zero, firstRow, rows;
};

PickedPart pickPart(HostBuilder &b, const Weight &weight, Value index) {
  PickedPart picked;
  for (auto [number, part] : llvm::enumerate(weight.parts)) {
    PickedPart other{part.data, part.scale, part.zero, b.cst(part.firstRow), b.cst(part.rows)};
    if (number == 0) {
      picked = other;
      continue;
    }
    Value isThis = b.compare(arith::CmpIPredicate::eq, index, number);
    for (auto member : {&PickedPart::data, &PickedPart::scale, &PickedPart::zero, &PickedPart::firstRow, &PickedPart::rows})
      if (picked.*member)
        picked.*member = b.select(isThis, other.*member, picked.*member);
  }
  return picked;
}

/// Runs `body` on the part of rows [first, first + 128) that lies in each part of the weight; begin and end count its own rows.
void forParts(HostBuilder &b, const Weight &weight, Value first,
              function_ref<void(const PickedPart &part, Value begin, Value end)> body) {
  Value limit = b.min(b.add(first, kBlockRows), weight.rows);
  b.loop(b.cst(0), b.cst(weight.parts.size()), 1, [&](Value index) {
    PickedPart part = pickPart(b, weight, index);
    Value begin = b.max(b.sub(first, part.firstRow), b.cst(0));
    body(part, begin, b.min(b.sub(limit, part.firstRow), part.rows));
  });
}

} // namespace

LogicalResult quant::host::emitMatmul(KernelContext &context, Value xValue, Value wValue, Value block) {
  HostBuilder &b = context.b;
  Operation *op = block.getParentBlock()->getParentOp();
  FailureOr<Weight> weight = context.operands.weight(wValue);
  FailureOr<Rows> x = context.operands.rows(xValue);
  if (failed(checkWeight(op, weight)))
    return failure();
  if (failed(x) || !x->element.isF32())
    return op->emitError("the host multiplies f32 activations only");
  Rows out = context.operands.resultRows(0);
  MatmulEmitter emitter(context, *weight);
  forParts(b, *weight, b.mul(block, kBlockRows), [&](const PickedPart &part, Value begin, Value end) {
    auto xAddress = [&](Value m) { return x->row(b, m); };
    auto outAddress = [&](Value m, Value row) { return b.at(out.row(b, m), b.add(row, part.firstRow), 4); };
    emitter.emit({part.data, part.scale, part.zero, begin, end, context.operands.resultRowCount(), xAddress, outAddress});
  });
  return success();
}

LogicalResult quant::host::emitGroupedMatmul(KernelContext &context, qblock::GroupedMatmulOp op, Value block) {
  HostBuilder &b = context.b;
  FailureOr<Weight> weight = context.operands.weight(op.getW());
  FailureOr<Rows> x = context.operands.rows(op.getX());
  if (failed(checkWeight(op, weight)))
    return failure();
  if (failed(x) || !x->element.isF32())
    return op.emitError("the host multiplies f32 activations only");
  Rows out = context.operands.resultRows(0);
  MatmulEmitter emitter(context, *weight);
  // Neighbouring blocks belong to different groups: few groups have rows, and so the work spreads over the threads.
  Value group = b.rem(block, weight->groups), offsets = b.at(context.operands.address(op.getOffsets()), group, 4);
  Value first = b.loadIndex(offsets), rows = b.sub(b.loadIndex(b.at(offsets, 1, 4)), first);
  Value gather = op.getRows() ? context.operands.address(op.getRows()) : Value();
  int64_t topK = cast<RankedTensorType>(op.getType()).getDimSize(1);
  auto xAddress = [&](Value m) {
    Value row = b.add(first, m);
    return x->row(b, gather ? b.div(b.loadIndex(b.at(gather, row, 4)), topK) : row);
  };
  auto tableEntry = [&](Value table) { return table ? b.load(b.ptr(), b.at(table, group, 8)) : Value(); };
  b.ifThen(b.compare(arith::CmpIPredicate::sgt, rows, 0), [&] {
    forParts(b, *weight, b.mul(b.div(block, weight->groups), kBlockRows), [&](const PickedPart &part, Value begin, Value end) {
      auto outAddress = [&](Value m, Value row) {
        return b.at(out.row(b, b.add(first, m)), b.add(row, part.firstRow), 4);
      };
      emitter.emit({tableEntry(part.data), tableEntry(part.scale), tableEntry(part.zero), begin, end, rows, xAddress, outAddress});
    });
  });
  return success();
}

LogicalResult quant::host::emitMlaExpand(KernelContext &context, deepseek::MlaExpandOp op, Value head) {
  HostBuilder &b = context.b;
  FailureOr<Weight> weight = context.operands.weight(op.getKvB());
  FailureOr<Rows> x = context.operands.rows(op.getX());
  if (failed(checkWeight(op, weight)))
    return failure();
  if (failed(x) || weight->parts.size() != 1)
    return op.emitError("x must be f32 rows and kv_b one tensor");
  const WeightPart &part = weight->parts[0];
  Rows out = context.operands.resultRows(0);
  int64_t vDim = op.getVDim(), nope = op.getNopeDim();
  Value begin = b.add(b.mul(head, nope + vDim), nope);
  auto xAddress = [&](Value m) { return b.at(x->row(b, m), b.mul(head, weight->columns), 4); };
  auto outAddress = [&](Value m, Value row) { return b.at(out.row(b, m), b.add(b.mul(head, vDim), b.sub(row, begin)), 4); };
  MatmulEmitter(context, *weight).emit({part.data, part.scale, part.zero, begin, b.add(begin, vDim), context.operands.tokens(),
                                        xAddress, outAddress});
  return success();
}

/// The head's key rows are decoded once into scratch; each token then sums them, weighted by its query.
LogicalResult quant::host::emitMlaAbsorb(KernelContext &context, deepseek::MlaAbsorbOp op, Value head) {
  HostBuilder &b = context.b;
  FailureOr<Weight> weight = context.operands.weight(op.getKvB());
  FailureOr<Rows> q = context.operands.rows(op.getQ());
  if (failed(checkWeight(op, weight)))
    return failure();
  if (failed(q) || weight->parts.size() != 1)
    return op.emitError("q must be f32 rows and kv_b one tensor");
  const WeightPart &part = weight->parts[0];
  Rows out = context.operands.resultRows(0);
  int64_t nope = op.getNopeDim(), latent = weight->columns, padded = (latent + kLanes - 1) / kLanes * kLanes;
  Value panel = context.allocate(nope * padded * 4);
  Value firstRow = b.mul(head, nope + op.getVDim());
  MatmulEmitter emitter(context, *weight);
  RowRange range{part.data, part.scale, part.zero, {}, {}, {}, {}, {}};
  b.loop(b.cst(0), b.cst(nope), 1, [&](Value d) { emitter.decodeRow(range, b.add(firstRow, d), b.at(panel, b.mul(d, padded), 4)); });
  b.loop(b.cst(0), context.operands.tokens(), 1, [&](Value token) {
    Value query = b.at(q->row(b, token), b.mul(head, nope + op.getRopeDim()), 4);
    Value target = b.at(out.row(b, token), b.mul(head, latent), 4);
    b.chunks(latent, [&](Value column, int64_t lanes) {
      SmallVector<Value> acc = b.loop(b.cst(0), b.cst(nope), 1, {b.splatF32(lanes, 0.0f)}, [&](Value d, ValueRange carried) {
        Value keys = b.load(b.vecF32(lanes), b.at(panel, b.add(b.mul(d, padded), column), 4));
        return SmallVector<Value>{b.fma(b.splat(b.load(b.f32(), b.at(query, d, 4)), lanes), keys, carried[0])};
      });
      b.store(acc[0], b.at(target, column, 4));
    });
  });
  return success();
}
