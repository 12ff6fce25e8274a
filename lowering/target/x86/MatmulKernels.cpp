//===- MatmulKernels.cpp - ops that multiply by a weight ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/common/Tiles.h"
#include "lowering/target/x86/Decode.h"
#include "lowering/target/x86/MatmulFunction.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

namespace {

/// Weight rows of a head that are multiplied at a time.
constexpr int64_t kHeadRows = 128;

LogicalResult checkWeight(Operation *op, const Result<Weight> &weight) {
  if (!weight || !isDecodable(weight->storage))
    return op->emitError("the weight is of a type or a form that the host cannot read");
  if (weight->storage.getIntOrFloatBitWidth() < 8 && weight->columns % 2 != 0)
    return op->emitError("rows of ") << weight->columns << " 4-bit codes do not start on a byte";
  return success();
}

/// One part of a weight, picked at run time.
struct PickedPart {
  Value data, scale, zero, firstRow, rows;
};

/// `part` is one of the weight's, or one that was picked.
template <typename Part>
WeightData dataOf(HostBuilder &b, const Weight &weight, const Part &part) {
  return {part.data, part.scale, part.zero, b.size(weight.columns), b.size(weight.scaleType ? weight.scaleColumns() : 0)};
}

/// Bytes from row to row.
Value strideOf(HostBuilder &b, const Rows &rows) { return b.size(rows.stride * bytesOf(rows.element)); }

PickedPart pickPart(HostBuilder &b, const Weight &weight, Value index) {
  PickedPart picked;
  for (auto [number, part] : llvm::enumerate(weight.parts)) {
    PickedPart other{part.data, part.scale, part.zero, b.size(part.firstRow), b.size(part.rows)};
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

/// Whether no block of scales ends inside a tile of so many rows, in any part.
bool blocksKeepScaleRows(const Weight &weight, int64_t rows) {
  return weight.blockRows % rows == 0 &&
         llvm::all_of(weight.parts, [&](const WeightPart &part) { return part.firstRow % rows == 0; });
}

/// Runs `body` on the part of rows [first, limit) that lies in each part of the weight; begin and end count its own rows.
void forParts(HostBuilder &b, const Weight &weight, Value first, Value limit,
              function_ref<void(const PickedPart &part, Value begin, Value end)> body) {
  b.loop(b.size(0), b.size(weight.parts.size()), 1, [&](Value index) {
    PickedPart part = pickPart(b, weight, index);
    Value begin = b.max(b.sub(first, part.firstRow), b.size(0));
    body(part, begin, b.min(b.sub(limit, part.firstRow), part.rows));
  });
}

/// What an op multiplies that takes a head's rows of kv_b.
struct HeadMatmul {
  Rows x, out;
  Weight weight;
};

FailureOr<HeadMatmul> findHeadOperands(KernelContext &context, Operation *op, Value x, StringRef name, Value kvB) {
  Result<Weight> weight = context.operands.weight(kvB);
  Result<Rows> rows = context.operands.rows(x);
  if (failed(checkWeight(op, weight)))
    return failure();
  if (!rows || !rows->element.isF32() || weight->parts.size() != 1)
    return op->emitError(name) << " must be f32 rows and kv_b one tensor";
  return HeadMatmul{*rows, context.operands.resultRows(0), *weight};
}

} // namespace

LogicalResult quant::host::emitMatmul(KernelContext &context, DestinationStyleOpInterface op, Value block) {
  HostBuilder &b = context.b;
  Result<MatmulTiles> tiles = findTiles(b, context.operands, op, block);
  if (!tiles)
    return op->emitError("the host cannot find its tile: ") << tiles.error().message;
  Result<Weight> weight = context.operands.weight(tiles->w.source);
  Result<Rows> x = context.operands.rows(tiles->x.source);
  if (failed(checkWeight(op, weight)))
    return failure();
  if (!x || !x->element.isF32())
    return op->emitError("the host multiplies f32 activations only");
  if (!tiles->beginsAtZero)
    return op->emitError("the host starts its sums at zero");
  Rows out = context.operands.resultRows(0);
  bool oneScaleRow = blocksKeepScaleRows(*weight, context.schedule.rows);
  Value firstRow = tiles->w.offsets[0], count = tiles->out.sizes[0];
  RangeInput input{b.rowAddress(*x, tiles->x.offsets[0]), strideOf(b, *x), tiles->gather,
                   b.size(tiles->gather ? tiles->topK : 0)};
  auto multiply = [&] {
    forParts(b, *weight, firstRow, b.add(firstRow, tiles->w.sizes[0]), [&](PickedPart part, Value begin, Value end) {
      for (Value *table : {&part.data, &part.scale, &part.zero})
        if (tiles->group && *table)
          *table = b.load(b.ptr(), b.at(*table, tiles->group, 8));
      RangeOutput output{b.at(b.rowAddress(out, tiles->out.offsets[0]), part.firstRow, 4), strideOf(b, out)};
      callMatmul(context, *weight, context.schedule,
                 {dataOf(b, *weight, part), begin, end, oneScaleRow, count, input, output, {}});
    });
  };
  // Most groups have no row.
  if (tiles->group)
    b.ifThen(b.greater(count, b.size(0)), multiply);
  else
    multiply();
  return success();
}

LogicalResult quant::host::emitMlaExpand(KernelContext &context, deepseek::MlaExpandOp op, Value head) {
  HostBuilder &b = context.b;
  FailureOr<HeadMatmul> operands = findHeadOperands(context, op, op.getX(), "x", op.getKvB());
  if (failed(operands))
    return failure();
  auto &[x, out, weight] = *operands;
  int64_t vDim = op.getVDim(), nope = op.getNopeDim();
  Value begin = b.add(b.mul(head, nope + vDim), nope), end = b.add(begin, vDim);
  RangeInput input{b.at(b.rowAddress(x, b.size(0)), b.mul(head, weight.columns), 4), strideOf(b, x), {}, b.size(0)};
  // Row `begin` of the weight is the head's first result.
  RangeOutput output{b.at(b.rowAddress(out, b.size(0)), b.sub(b.mul(head, vDim), begin), 4), strideOf(b, out)};
  MatmulSchedule sizes = context.schedule;
  sizes.rows = kHeadRows;
  bool oneScaleRow = blocksKeepScaleRows(weight, kHeadRows);
  // Cut where blocks of scales may end, wherever the head begins.
  b.loop(b.mul(b.div(begin, kHeadRows), kHeadRows), end, kHeadRows, [&](Value first) {
    Value last = b.min(b.add(first, kHeadRows), end);
    callMatmul(context, weight, sizes,
               {dataOf(b, weight, weight.parts[0]),
                b.max(first, begin),
                last,
                oneScaleRow,
                context.operands.tokens(),
                input,
                output,
                {}});
  });
  return success();
}

/// The head's key rows are decoded once into scratch; each token then sums them, weighted by its query.
LogicalResult quant::host::emitMlaAbsorb(KernelContext &context, deepseek::MlaAbsorbOp op, Value head) {
  HostBuilder &b = context.b;
  FailureOr<HeadMatmul> operands = findHeadOperands(context, op, op.getQ(), "q", op.getKvB());
  if (failed(operands))
    return failure();
  auto &[q, out, weight] = *operands;
  int64_t nope = op.getNopeDim(), latent = weight.columns, padded = (latent + kLanes - 1) / kLanes * kLanes;
  Value panel = context.allocate(nope * padded * 4);
  Value firstRow = b.mul(head, nope + op.getVDim());
  WeightForm form(weight);
  WeightReader reader(b, form, dataOf(b, weight, weight.parts[0]));
  b.loop(b.size(0), b.size(nope), 1, [&](Value d) { reader.decodeRow(b.add(firstRow, d), b.at(panel, b.mul(d, padded), 4)); });
  b.loop(b.size(0), context.operands.tokens(), 1, [&](Value token) {
    Value query = b.at(b.rowAddress(q, token), b.mul(head, nope + op.getRopeDim()), 4);
    Value target = b.at(b.rowAddress(out, token), b.mul(head, latent), 4);
    b.chunks(latent, [&](Value column, int64_t lanes) {
      SmallVector<Value> acc = b.loop(b.size(0), b.size(nope), 1, {b.splatF32(lanes, 0.0f)}, [&](Value d, ValueRange carried) {
        Value keys = b.load(b.vecF32(lanes), b.at(panel, b.add(b.mul(d, padded), column), 4));
        return SmallVector<Value>{b.fma(b.splat(b.load(b.f32(), b.at(query, d, 4)), lanes), keys, carried[0])};
      });
      b.store(acc[0], b.at(target, column, 4));
    });
  });
  return success();
}
