//===- HopperAttention.cpp - the scheduler of queries, softmax ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/HopperLowering.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <limits>
#include <numbers>

using namespace mlir;
using namespace quant;
using namespace quant::hopper;

namespace quant::nvvm {

static constexpr unsigned kI32Bytes = 4, kF32Bytes = 4;
static constexpr int64_t kChunkBytes = 16;

static Value loadIndex(HopperBuilder &b, Value list, Value index) {
  return b.load(b.i32(), b.at(list, b.i32(), index), kI32Bytes);
}

//===----------------------------------------------------------------------===//
// Scheduler
//===----------------------------------------------------------------------===//

namespace {
/// A tile of queries. It is no tile of its own where a token before belongs to the same one.
struct QueryTile {
  Value isOwn, row, until, sequence, keys, part;
};

struct LowerForQueries : HopperPattern<ForQueriesOp> {
  using HopperPattern::HopperPattern;

  LogicalResult lower(ForQueriesOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    Value count = b.mul(adaptor.getTokens(), op.getTilesOfToken() * static_cast<int64_t>(op.getParts()));
    auto loop = scf::ForOp::create(b, b.blockIndex(), count, b.gridSize(), adaptor.getInit());
    if (failed(rewriter.convertRegionTypes(&op.getBody(), *getTypeConverter())))
      return rewriter.notifyMatchFailure(op, "what is carried has no type on the GPU");
    OpBuilder::InsertionGuard guard(b);
    if (adaptor.getInit().empty())
      rewriter.eraseOp(loop.getBody()->getTerminator());
    b.setInsertionPointToStart(loop.getBody());
    QueryTile tile = tileAt(op, adaptor, loop.getInductionVar(), b);
    SmallVector<Value> arguments = {tile.row, tile.until, tile.sequence, tile.keys, tile.part};
    llvm::append_range(arguments, loop.getRegionIterArgs());
    Block *place = loop.getBody();
    if (tile.isOwn) {
      auto branch = scf::IfOp::create(b, adaptor.getInit().getTypes(), tile.isOwn, /*withElseRegion=*/true);
      scf::YieldOp::create(b, branch.getResults());
      place = branch.thenBlock();
      if (adaptor.getInit().empty())
        rewriter.eraseOp(place->getTerminator());
      else
        addElse(branch, loop.getRegionIterArgs(), b);
    }
    rewriter.inlineBlockBefore(&op.getBody().front(), place, place->end(), arguments);
    rewriter.replaceOp(op, loop.getResults());
    return success();
  }

private:
  static void addElse(scf::IfOp branch, ValueRange values, HopperBuilder &b) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(branch.elseBlock());
    scf::YieldOp::create(b, values);
  }

  static QueryTile tileAt(ForQueriesOp op, Adaptor adaptor, Value index, HopperBuilder &b) {
    int64_t heads = static_cast<int64_t>(op.getHeads()), tilesOfToken = op.getTilesOfToken();
    // Parts of one tile run side by side.
    auto parts = static_cast<int64_t>(op.getParts());
    QueryTile tile;
    Value number = b.div(index, parts);
    tile.part = parts == 1 ? b.int32(0) : b.sub(index, b.mul(number, parts));
    Value token = b.div(number, tilesOfToken), firstRow = b.mul(token, heads);
    tile.sequence = loadIndex(b, adaptor.getSequences(), token);
    tile.keys = b.add(loadIndex(b, adaptor.getPositions(), token), 1);
    tile.row = firstRow;
    tile.until = b.add(firstRow, heads);
    if (tilesOfToken > 1) {
      tile.row = b.add(firstRow, b.mul(b.sub(number, b.mul(token, tilesOfToken)), kSm90a.wgmmaRows));
      tile.until = b.minUnsigned(tile.until, b.add(tile.row, kSm90a.wgmmaRows));
    }
    if (op.getTokensOfTile() > 1)
      addNeighbours(op, adaptor, token, tile, b);
    return tile;
  }

  /// Takes in the tokens behind that are of the same sequence and of the same tile's place.
  static void addNeighbours(ForQueriesOp op, Adaptor adaptor, Value token, QueryTile &tile, HopperBuilder &b) {
    int64_t tokens = op.getTokensOfTile();
    Value place = b.sub(token, b.mul(b.div(token, tokens), tokens));
    Value last = b.sub(adaptor.getTokens(), 1);
    Value before = loadIndex(b, adaptor.getSequences(), b.select(b.equal(place, 0), token, b.sub(token, 1)));
    Value isFirst = b.equal(place, 0), differs = b.compare(arith::CmpIPredicate::ne, before, tile.sequence);
    tile.isOwn = b.bitOr(isFirst, differs);
    Value belongs;
    for (int64_t i = 1; i < tokens; ++i) {
      Value next = b.add(token, i), inside = b.minUnsigned(next, last);
      Value fits = b.bitAnd(b.below(b.add(place, i), b.int32(tokens)), b.below(next, adaptor.getTokens()));
      Value same = b.bitAnd(fits, b.equal(loadIndex(b, adaptor.getSequences(), inside), tile.sequence));
      belongs = belongs ? b.bitAnd(belongs, same) : same;
      Value keys = b.max(tile.keys, b.add(loadIndex(b, adaptor.getPositions(), inside), 1));
      tile.keys = b.select(belongs, keys, tile.keys);
      tile.until = b.select(belongs, b.mul(b.add(next, 1), static_cast<int64_t>(op.getHeads())), tile.until);
    }
  }
};
} // namespace

static Value lowerLoadRowKeys(HopperLowering &lowering, LoadRowKeysOp op, LoadRowKeysOp::Adaptor adaptor, HopperBuilder &b) {
  Value first = b.add(adaptor.getRow(), lowering.contextOf(op).fragmentRow(b)), last = b.sub(adaptor.getUntil(), 1);
  SmallVector<Value> keys;
  for (int64_t below : {0, 8}) {
    Value row = b.add(first, below);
    Value token = b.div(b.minUnsigned(row, last), static_cast<int64_t>(op.getHeads()));
    Value there = b.add(loadIndex(b, adaptor.getPositions(), token), 1);
    keys.push_back(b.select(b.below(row, adaptor.getUntil()), there, b.int32(0)));
  }
  return b.pack(keys);
}

//===----------------------------------------------------------------------===//
// Softmax
//===----------------------------------------------------------------------===//

// A thread's values come in fours: two columns of its top row, two of its bottom row. Four lanes share a row.

static int64_t rowOf(int64_t value) { return value % 4 / 2; }

template <typename Combine>
static Value overRow(HopperBuilder &b, Value value, Combine combine) {
  for (int64_t mask : {1, 2})
    value = combine(value, b.shuffleXor(value, mask));
  return value;
}

/// The scaled scores; minus infinity where a row has no such key.
static SmallVector<Value> maskedScores(HopperLowering &lowering, SoftmaxOp op, SoftmaxOp::Adaptor adaptor, HopperBuilder &b) {
  Value firstColumn = b.add(adaptor.getFirst(), lowering.contextOf(op).fragmentColumn(b));
  Value left[2] = {b.sub(b.extract(adaptor.getKeys(), 0), firstColumn), b.sub(b.extract(adaptor.getKeys(), 1), firstColumn)};
  Value none = b.number(-std::numeric_limits<float>::infinity()), scale = b.number(op.getScale().convertToDouble());
  SmallVector<Value> scores;
  for (int64_t i = 0; i < op.getScores().getType().getValues(); ++i) {
    Value isKey = b.less(b.int32(i / 4 * 8 + i % 2), left[rowOf(i)]);
    scores.push_back(b.select(isKey, b.mul(b.extract(adaptor.getScores(), i), scale), none));
  }
  return scores;
}

static SmallVector<Value> lowerSoftmax(HopperLowering &lowering, SoftmaxOp op, SoftmaxOp::Adaptor adaptor, HopperBuilder &b) {
  SmallVector<Value> scores = maskedScores(lowering, op, adaptor, b);
  Value largest[2], sums[2], factors[2], blockMax[2];
  for (auto [i, score] : llvm::enumerate(scores)) {
    Value &most = blockMax[rowOf(static_cast<int64_t>(i))];
    most = most ? b.max(most, score) : score;
  }
  for (int row = 0; row < 2; ++row) {
    Value before = b.extract(adaptor.getMax(), row);
    largest[row] = b.max(before, overRow(b, blockMax[row], [&](Value x, Value y) { return b.max(x, y); }));
    factors[row] = b.exp2(b.sub(before, largest[row]));
    sums[row] = b.mul(b.extract(adaptor.getSum(), row), factors[row]);
  }
  for (auto [i, score] : llvm::enumerate(scores)) {
    int64_t row = rowOf(static_cast<int64_t>(i));
    score = b.exp2(b.sub(score, largest[row]));
    sums[row] = b.add(sums[row], score);
  }
  return {b.pack(scores), b.pack({largest[0], largest[1]}), b.pack({sums[0], sums[1]}), b.pack({factors[0], factors[1]})};
}

static SmallVector<Value> lowerSoftmaxEnd(HopperLowering &, SoftmaxEndOp, SoftmaxEndOp::Adaptor adaptor, HopperBuilder &b) {
  SmallVector<Value> inverses, logarithms;
  for (int row = 0; row < 2; ++row) {
    Value sum = overRow(b, b.extract(adaptor.getSum(), row), [&](Value x, Value y) { return b.add(x, y); });
    Value isEmpty = b.equal(sum, b.number(0.0));
    inverses.push_back(b.select(isEmpty, b.number(0.0), b.div(b.number(1.0), sum)));
    logarithms.push_back(b.mul(b.add(b.extract(adaptor.getMax(), row), b.log2(sum)), b.number(std::numbers::ln2)));
  }
  return {b.pack(inverses), b.pack(logarithms)};
}

static Value lowerSplatRows(HopperLowering &, SplatRowsOp, SplatRowsOp::Adaptor adaptor, HopperBuilder &b) {
  return b.pack({adaptor.getValue(), adaptor.getValue()});
}

static Value lowerScaleRows(HopperLowering &, ScaleRowsOp op, ScaleRowsOp::Adaptor adaptor, HopperBuilder &b) {
  Value rows[2] = {b.extract(adaptor.getRows(), 0), b.extract(adaptor.getRows(), 1)};
  SmallVector<Value> factors;
  for (int64_t i = 0; i < op.getType().getValues(); ++i)
    factors.push_back(rows[rowOf(i)]);
  return b.mul(adaptor.getValues(), b.pack(factors));
}

//===----------------------------------------------------------------------===//
// Operands of the second product
//===----------------------------------------------------------------------===//

static Value lowerOperandOf(HopperLowering &, OperandOfOp op, OperandOfOp::Adaptor adaptor, HopperBuilder &b) {
  SmallVector<Value> pairs;
  for (int64_t i = 0; i < op.getFragment().getType().getValues(); i += 2)
    pairs.push_back(b.packBf16(b.extract(adaptor.getFragment(), i), b.extract(adaptor.getFragment(), i + 1)));
  return b.pack(pairs);
}

static void lowerClearRows(HopperLowering &lowering, ClearRowsOp op, ClearRowsOp::Adaptor adaptor, HopperBuilder &b) {
  // The swizzle moves chunks inside of their row, so that a row's zeros need none. A thread has one chunk of every 16th row.
  TileType tile = op.getTile().getType();
  int64_t chunks = tile.getSwizzle() / kChunkBytes, rowsAtATime = kSm90a.warpgroupThreads() / chunks;
  Value thread = b.bitAnd(lowering.contextOf(op).thread, kSm90a.warpgroupThreads() - 1);
  Value firstRow = b.div(thread, chunks), zeros = b.integer(VectorType::get(4, b.i32()), 0);
  Value at = b.sharedPointer(b.add(adaptor.getTile(), b.mul(thread, kChunkBytes)));
  for (int64_t row = 0; row < tile.getRows(); row += rowsAtATime) {
    Value below = b.add(firstRow, row);
    Value isCleared = b.bitAnd(b.less(b.sub(adaptor.getFrom(), 1), below), b.less(below, tile.getRows()));
    b.ifThen(isCleared, [&] {
      for (int64_t panel = 0; panel < tile.getColumns() / tile.getPanelColumns(); ++panel)
        b.store(zeros, b.offset(at, panel * tile.getPanelBytes() + row * tile.getSwizzle()), kChunkBytes);
    });
  }
  b.fenceSharedForAsync();
}

static void lowerStoreRows(HopperLowering &lowering, StoreRowsOp op, StoreRowsOp::Adaptor adaptor, HopperBuilder &b) {
  const KernelContext &kernel = lowering.contextOf(op);
  auto rowType = LLVM::LLVMArrayType::get(b.f32(), op.getColumns());
  Value inFragment = kernel.fragmentRow(b), column = b.add(adaptor.getColumn(), kernel.fragmentColumn(b));
  for (int64_t below : {0, 8}) {
    Value row = b.add(inFragment, below);
    b.ifThen(b.below(b.add(adaptor.getRow(), row), adaptor.getUntil()), [&] {
      Value at = b.at(b.at(adaptor.getPointer(), rowType, b.add(adaptor.getIndex(), row)), b.f32(), column);
      for (int64_t i = below / 4; i < op.getValues().getType().getValues(); i += 4) {
        Value pair = b.pack({b.extract(adaptor.getValues(), i), b.extract(adaptor.getValues(), i + 1)});
        b.store(pair, b.offset(at, i / 4 * 8 * kF32Bytes), 2 * kF32Bytes);
      }
    });
  }
}

void populateAttentionPatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns
      .add<LowerForQueries, LowerBy<lowerLoadRowKeys>, LowerBy<lowerSoftmax>, LowerBy<lowerSoftmaxEnd>, LowerBy<lowerSplatRows>,
           LowerBy<lowerScaleRows>, LowerBy<lowerOperandOf>, LowerBy<lowerClearRows>, LowerBy<lowerStoreRows>>(lowering);
}

} // namespace quant::nvvm
