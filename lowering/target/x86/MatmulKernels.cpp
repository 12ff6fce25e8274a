//===- MatmulKernels.cpp - ops that multiply by a weight ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/common/Tiles.h"
#include "lowering/target/x86/Decode.h"
#include "lowering/target/x86/MatmulFunction.h"
#include "lowering/target/x86/PackedMatmul.h"
#include "lowering/target/x86/RegisterTile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

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
  Value data, scale, zero, global, firstRow, rows;
};

/// `part` is one of the weight's, or one that was picked.
template <typename Part>
WeightData dataOf(HostBuilder &b, const Weight &weight, const Part &part) {
  return {part.data,
          part.scale,
          part.zero,
          part.global,
          b.size(weight.columns),
          b.size(weight.scaleType ? weight.scaleColumns() : 0)};
}

/// Bytes from row to row.
Value strideOf(HostBuilder &b, const Rows &rows) { return b.size(rows.stride * bytesOf(rows.element)); }

PickedPart pickPart(HostBuilder &b, const Weight &weight, Value index) {
  PickedPart picked;
  for (auto [number, part] : llvm::enumerate(weight.parts)) {
    PickedPart other{part.data, part.scale, part.zero, part.global, b.size(part.firstRow), b.size(part.rows)};
    if (number == 0) {
      picked = other;
      continue;
    }
    Value isThis = b.compare(arith::CmpIPredicate::eq, index, number);
    for (auto member : {&PickedPart::data, &PickedPart::scale, &PickedPart::zero, &PickedPart::global, &PickedPart::firstRow,
                        &PickedPart::rows})
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

/// Rows of x: f32, or codes in i8 and a list of scales.
struct Inputs {
  Rows numbers;
  std::optional<Rows> scales;
};

FailureOr<Inputs> findInputs(KernelContext &context, Operation *op, Value x) {
  auto type = dyn_cast<qblock::BlockTensorType>(x.getType());
  if (!type) {
    Result<Rows> rows = context.operands.rows(x);
    if (rows && rows->element.isF32())
      return Inputs{*rows, {}};
    return op->emitError("the host multiplies activations of f32, or of i8 with a scale for each row, not ") << x.getType();
  }
  Result<rows::Quantized> quantized = context.operands.quantized(x);
  bool isOurs = quantized && type.getStorageType().isSignlessInteger(8) && quantized->scales.element.isF32() &&
                quantized->blockColumns >= quantized->codes.columns && quantized->scales.stride == 1 && !type.hasZeroPoint();
  if (!isOurs)
    return op->emitError("the host multiplies activations of f32, or of i8 with a scale for each row, not ") << type;
  return Inputs{quantized->codes, quantized->scales};
}

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

/// What a tile is cut from.
static Value sourceOf(Value tile) {
  while (Operation *slice = tile.getDefiningOp()) {
    if (!isa<qblock::ExtractSliceOp, tensor::ExtractSliceOp>(slice))
      break;
    tile = slice->getOperand(0);
  }
  return tile;
}

Value quant::host::tilesOfStep(KernelContext &context, qblock::MatmulAccOp matmul) {
  HostBuilder &b = context.b;
  const x86::MatmulSchedule &sizes = context.schedule;
  if (sizes.callRows < 2 * sizes.rows)
    return b.size(1);
  Result<Weight> weight = context.operands.weight(sourceOf(matmul.getW()));
  bool isPacked =
      weight && PackedMatmul::takes(sizes, WeightForm(*weight), isa<qblock::BlockTensorType>(matmul.getX().getType()), b.target);
  if (!isPacked)
    return b.size(1);
  Value manyTokens = b.greater(context.operands.tokens(), b.size(sizes.dotTokens));
  Value tiles = b.select(manyTokens, b.size(sizes.callRows / sizes.rows), b.size(1));
  return b.select(isSharedCall(context), b.size(1), tiles);
}

LogicalResult quant::host::emitMatmul(KernelContext &context, DestinationStyleOpInterface op, Value block) {
  HostBuilder &b = context.b;
  Result<MatmulTiles> tiles = findTiles(b, context.operands, op, block);
  if (!tiles)
    return op->emitError("the host cannot find its tile: ") << tiles.error().message;
  // Tiles of neighbouring rows of the weight, or one.
  Result<MatmulTiles> last = tiles->group ? tiles : findTiles(b, context.operands, op, b.sub(context.endBlock, 1));
  if (!last)
    return op->emitError("the host cannot find its last tile: ") << last.error().message;
  Result<Weight> weight = context.operands.weight(tiles->w.source);
  FailureOr<Inputs> inputs = findInputs(context, op, tiles->x.source);
  if (failed(checkWeight(op, weight)) || failed(inputs))
    return failure();
  if (!tiles->beginsAtZero)
    return op->emitError("the host starts its sums at zero");
  Rows out = context.operands.resultRows(0);
  bool oneScaleRow = blocksKeepScaleRows(*weight, context.schedule.rows);
  Value firstRow = tiles->w.offsets[0], count = tiles->out.sizes[0];
  const Rows &x = inputs->numbers;
  RangeInput input{b.rowAddress(x, tiles->x.offsets[0]), strideOf(b, x), tiles->gather, b.size(tiles->gather ? tiles->topK : 0)};
  if (inputs->scales)
    input.scales = b.rowAddress(*inputs->scales, tiles->x.offsets[0]);
  auto multiply = [&] {
    forParts(b, *weight, firstRow, b.add(last->w.offsets[0], last->w.sizes[0]), [&](PickedPart part, Value begin, Value end) {
      for (Value *table : {&part.data, &part.scale, &part.zero, &part.global})
        if (tiles->group && *table)
          *table = b.load(b.ptr(), b.at(*table, tiles->group, 8));
      RangeOutput output{b.at(b.rowAddress(out, tiles->out.offsets[0]), part.firstRow, 4), strideOf(b, out)};
      callMatmul(context, *weight, context.schedule,
                 {dataOf(b, *weight, part), begin, end, oneScaleRow, inputs->scales.has_value(), count, input, output, {}});
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
  sizes.callRows = 0;
  bool oneScaleRow = blocksKeepScaleRows(weight, kHeadRows);
  // Cut where blocks of scales may end, wherever the head begins.
  b.loop(b.mul(b.div(begin, kHeadRows), kHeadRows), end, kHeadRows, [&](Value first) {
    Value last = b.min(b.add(first, kHeadRows), end);
    callMatmul(context, weight, sizes,
               {dataOf(b, weight, weight.parts[0]),
                b.max(first, begin),
                last,
                oneScaleRow,
                /*hasInt8Inputs=*/false,
                context.operands.tokens(),
                input,
                output,
                {}});
  });
  return success();
}

/// Stores those of 16 columns that lie inside a row, of which `left` are left; of all rows the width is known.
static void storeColumns(HostBuilder &b, Value vector, Value address, Value left, int64_t width) {
  if (width % kLanes == 0)
    return b.store(vector, address);
  LLVM::MaskedStoreOp::create(b, vector, address, b.firstLanes(left), 4);
}

/// The head's key rows are decoded once into scratch; tokens then sum them, weighted by their queries.
LogicalResult quant::host::emitMlaAbsorb(KernelContext &context, deepseek::MlaAbsorbOp op, Value head) {
  HostBuilder &b = context.b;
  FailureOr<HeadMatmul> operands = findHeadOperands(context, op, op.getQ(), "q", op.getKvB());
  if (failed(operands))
    return failure();
  if (op.getRope())
    return op.emitError("queries complete with rope are for tensor cores: mla_core takes them apart");
  auto &[q, out, weight] = *operands;
  int64_t nope = op.getNopeDim(), latent = weight.columns, padded = (latent + kLanes - 1) / kLanes * kLanes;
  Value panel = context.allocate(nope * padded * 4);
  Value firstRow = b.mul(head, nope + op.getVDim());
  WeightForm form(weight);
  WeightReader reader(b, form, dataOf(b, weight, weight.parts[0]));
  b.loop(b.size(0), b.size(nope), 1, [&](Value d) { reader.decodeRow(b.add(firstRow, d), b.at(panel, b.mul(d, padded), 4)); });
  TileShape shape = tileShape(b.target);
  Value tokens = context.operands.tokens();
  b.loop(b.size(0), tokens, shape.rows, [&](Value first) {
    // Past the last token, the last stands in and is stored again.
    SmallVector<Value> queries, targets;
    for (int64_t t = 0; t < shape.rows; ++t) {
      Value token = b.min(b.add(first, t), b.sub(tokens, 1));
      queries.push_back(b.at(b.rowAddress(q, token), b.mul(head, nope + op.getRopeDim()), 4));
      targets.push_back(b.at(b.rowAddress(out, token), b.mul(head, latent), 4));
    }
    forVectorTiles(b, shape, latent, [&](Value column, TileShape tile) {
      auto factor = [&](int64_t t, Value d) { return b.load(b.f32(), b.at(queries[t], d, 4)); };
      auto keys = [&](Value d, int64_t v) {
        return b.load(b.vecF32(), b.at(b.at(panel, b.add(b.mul(d, padded), column), 4), v * kLanes, 4));
      };
      SmallVector<Value> sums(tile.rows * tile.vectors, b.splatF32(kLanes, 0.0f));
      sums = OuterProduct{tile, factor, keys}.sum(b, b.size(nope), sums);
      for (auto [index, sum] : llvm::enumerate(sums)) {
        Value start = b.add(column, static_cast<int64_t>(index) % tile.vectors * kLanes);
        storeColumns(b, sum, b.at(targets[index / tile.vectors], start, 4), b.sub(b.size(latent), start), latent);
      }
    });
  });
  return success();
}
