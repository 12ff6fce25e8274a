//===- HopperEpilogue.cpp - bias, SwiGLU, split-K and stores ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rows/NarrowFloats.h"
#include "lowering/target/sm90/HopperLowering.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace quant;
using namespace quant::hopper;

namespace quant::nvvm {

static constexpr int64_t kChunkBytes = 16;
static constexpr unsigned kF32Bytes = 4;

//===----------------------------------------------------------------------===//
// Staging: a fragment into a swizzled tile
//===----------------------------------------------------------------------===//

namespace {
/// Writes a fragment into the staging tile, in the layout that TMA expects of its swizzle. That also spreads the writes over the
/// banks.
class Staging {
public:
  Staging(HopperBuilder &b, const KernelContext &kernel, TileType tile, Value base, Value sum)
      : b(b), kernel(kernel), tile(tile), base(base), sum(sum) {}

  void write(bool transposed) {
    if (isa<Float8E4M3FNType>(tile.getElementType()))
      codes();
    else if (tile.getElementType().isBF16())
      transposed ? matricesTransposed() : matrices();
    else
      transposed ? valuesTransposed() : values();
  }

private:
  int64_t fragmentColumns() const { return cast<VectorType>(sum.getType()).getNumElements() * 2; }
  Value pack(int64_t i) { return b.packBf16(b.extract(sum, i), b.extract(sum, i + 1)); }

  /// What chunk numbers of a row are XORed with.
  Value swizzleOf(Value row) {
    switch (tile.getSwizzle()) {
    case 128:
      return b.bitAnd(row, 7);
    case 64:
      return b.bitAnd(b.shiftRight(row, 1), 3);
    default:
      return b.bitAnd(b.shiftRight(row, 2), 1);
    }
  }

  /// Where a thread writes: row `row` + `rowsBelow` (a multiple of 8) and chunk `chunk` ^ `first`, `first` counting over panels;
  /// plus `bytes`. What is constant stands outermost, where the instruction's own offset takes it: few addresses live in
  /// registers.
  Value address(Value row, int64_t rowsBelow, Value chunk, int64_t first, Value bytes = {}) {
    int64_t chunks = tile.getSwizzle() / kChunkBytes;
    Value swizzled = b.bitXor(b.bitXor(chunk, b.int32(first % chunks)), swizzleOf(row));
    Value inPanel = b.add(b.mul(row, tile.getSwizzle()), b.mul(swizzled, kChunkBytes));
    Value address = b.add(base, bytes ? b.add(inPanel, bytes) : inPanel);
    return b.offset(b.sharedPointer(address), first / chunks * tile.getPanelBytes() + rowsBelow * tile.getSwizzle());
  }

  /// stmatrix.x4 writes 16 rows x 16 columns: lanes 0-15 give the rows of the left chunk, lanes 16-31 those of the right one.
  void matrices() {
    Value row = b.add(b.mul(kernel.warpInGroup(b), 16), b.bitAnd(kernel.lane, 15));
    Value rightHalf = b.shiftRight(kernel.lane, 4);
    for (int64_t column = 0; column < fragmentColumns(); column += 16) {
      int64_t i = column / 2;
      b.storeMatrices(address(row, 0, rightHalf, column / 8), {pack(i), pack(i + 2), pack(i + 4), pack(i + 6)}, false);
    }
  }

  /// Rows of the tile are columns of the fragment. A warp's 16 rows are two chunks; lanes 8-15 (and 24-31) give the right one,
  /// and of an x4 lanes 16-31 the next eight columns.
  void matricesTransposed() {
    Value chunk = b.add(b.mul(kernel.warpInGroup(b), 2), b.bitAnd(b.shiftRight(kernel.lane, 3), 1));
    Value row = b.add(b.bitAnd(kernel.lane, 7), b.mul(b.shiftRight(kernel.lane, 4), 8));
    int64_t columns = fragmentColumns();
    if (columns == 8) // x2 looks at the addresses of lanes 0-15.
      b.storeMatrices(address(b.bitAnd(kernel.lane, 7), 0, chunk, 0), {pack(0), pack(2)}, true);
    else
      for (int64_t column = 0; column < columns; column += 16) {
        int64_t i = column / 2;
        b.storeMatrices(address(row, column, chunk, 0), {pack(i), pack(i + 2), pack(i + 4), pack(i + 6)}, true);
      }
  }

  /// A lane's pairs of columns, 8 bytes each.
  void values() {
    Value half = b.mul(b.bitAnd(kernel.lane, 1), 2 * kF32Bytes), chunk = b.bitAnd(b.shiftRight(kernel.lane, 1), 1);
    for (int64_t i = 0; i < fragmentColumns() / 2; i += 2) {
      Value pair = b.pack({b.extract(sum, i), b.extract(sum, i + 1)});
      b.store(pair, address(kernel.fragmentRow(b), i % 4 / 2 * 8, chunk, i / 4 * 2, half), 2 * kF32Bytes);
    }
  }

  /// A lane's pairs of columns, 2 bytes each; a chunk is 16 columns.
  void codes() {
    Value inHalf = kernel.fragmentColumn(b), row = kernel.fragmentRow(b), chunk = b.int32(0);
    for (int64_t i = 0; i < fragmentColumns() / 2; i += 2) {
      int64_t columns = i / 4 * 8;
      Value pair = b.encodePairE4M3(b.extract(sum, i), b.extract(sum, i + 1));
      b.store(pair, address(row, i % 4 / 2 * 8, chunk, columns / 16, b.add(inHalf, columns % 16)), 2);
    }
  }

  /// Fragment rows are the tile's columns: 16 of a warp, four chunks in the panel of warps 0-1 or 2-3.
  void valuesTransposed() {
    Value inChunk = b.mul(b.bitAnd(b.shiftRight(kernel.lane, 2), 3), kF32Bytes);
    Value panel = b.mul(b.shiftRight(kernel.warpInGroup(b), 1), tile.getPanelBytes());
    Value chunk = b.add(b.mul(b.bitAnd(kernel.warp, 1), 4), b.shiftRight(kernel.lane, 4));
    for (int64_t i = 0; i < fragmentColumns() / 2; ++i) {
      Value row = b.add(kernel.fragmentColumn(b), i % 2);
      b.store(b.extract(sum, i), address(row, i / 4 * 8, chunk, i % 4 / 2 * 2, b.add(panel, inChunk)), kF32Bytes);
    }
  }

  HopperBuilder &b;
  const KernelContext &kernel;
  TileType tile;
  Value base, sum;
};
} // namespace

//===----------------------------------------------------------------------===//
// Stores
//===----------------------------------------------------------------------===//

static void lowerStoreTile(HopperLowering &lowering, StoreTileOp op, StoreTileOp::Adaptor adaptor, HopperBuilder &b) {
  const KernelContext &kernel = lowering.contextOf(op);
  // Before the staging tile is written again, the previous store must have read it. Only the thread that issued the store can
  // wait for it; the barrier tells the others.
  Value isStoreThread = kernel.isStoreThread(b);
  if (!op.getFollows()) {
    b.ifThen(isStoreThread, [&] { b.waitStoresRead(); });
    kernel.syncWarpgroup(b);
  }
  TileType staging = op.getStaging().getType();
  Staging(b, kernel, staging, adaptor.getStaging(), adaptor.getSum()).write(op.getTransposed());
  // TMA reads through the async proxy: every writer fences its own writes, then all meet, then one thread stores.
  b.fenceSharedForAsync();
  kernel.syncWarpgroup(b);
  b.ifThen(isStoreThread, [&] {
    int64_t panels = staging.getColumns() / staging.getPanelColumns();
    for (int64_t panel = 0; panel < panels; ++panel) {
      Value from = b.sharedPointer(b.add(adaptor.getStaging(), panel * staging.getPanelBytes()));
      Value column = b.add(adaptor.getColumn(), panel * staging.getPanelColumns());
      SmallVector<Value> at = {column, adaptor.getRow()};
      if (adaptor.getUntil())
        at = raggedCoordinates(b, op.getMap().getType(), adaptor.getRow(), column, adaptor.getUntil());
      if (op.getAdd())
        b.tmaStoreAdd({adaptor.getMap()}, from, at);
      else
        b.tmaStore({adaptor.getMap()}, from, at);
    }
    b.commitStores();
  });
}

static void lowerWaitStores(HopperLowering &lowering, WaitStoresOp op, WaitStoresOp::Adaptor, HopperBuilder &b) {
  b.ifThen(lowering.contextOf(op).isStoreThread(b), [&] { b.waitStoresRead(); });
}

//===----------------------------------------------------------------------===//
// Bias
//===----------------------------------------------------------------------===//

static SmallVector<Value> biasOfColumns(HopperLowering &lowering, AddBiasOp op, AddBiasOp::Adaptor adaptor, HopperBuilder &b) {
  SmallVector<Value> values;
  Value first = b.add(adaptor.getFirst(), lowering.contextOf(op).fragmentColumn(b));
  for (int64_t column = 0; column < op.getSum().getType().getColumns(); column += 8) {
    // Columns beyond the matrix take the last pair: they are not stored.
    Value at = b.minUnsigned(b.add(first, column), b.int32(op.getSize() - 2));
    Value pair = b.loadConstant(VectorType::get(2, b.getF32Type()), b.at(adaptor.getBias(), b.f32(), at), 2 * kF32Bytes);
    Value left = b.extract(pair, 0), right = b.extract(pair, 1);
    values.append({left, right, left, right});
  }
  return values;
}

static SmallVector<Value> biasOfRows(HopperLowering &lowering, AddBiasOp op, AddBiasOp::Adaptor adaptor, HopperBuilder &b) {
  Value row = b.add(adaptor.getFirst(), lowering.contextOf(op).fragmentRow(b));
  SmallVector<Value> two;
  for (int64_t below : {0, 8}) {
    Value at = b.minUnsigned(b.add(row, below), b.int32(op.getSize() - 1));
    two.push_back(b.loadConstant(b.getF32Type(), b.at(adaptor.getBias(), b.f32(), at), kF32Bytes));
  }
  SmallVector<Value> values;
  for (int64_t i = 0; i < op.getSum().getType().getValues(); i += 4)
    values.append({two[0], two[0], two[1], two[1]});
  return values;
}

static Value lowerAddBias(HopperLowering &lowering, AddBiasOp op, AddBiasOp::Adaptor adaptor, HopperBuilder &b) {
  auto biasOf = op.getRows() ? biasOfRows : biasOfColumns;
  return b.add(adaptor.getSum(), b.pack(biasOf(lowering, op, adaptor, b)));
}

//===----------------------------------------------------------------------===//
// SwiGLU and quantization
//===----------------------------------------------------------------------===//

/// silu(g) * u of values rounded to bf16.
static Value swiglu(HopperBuilder &b, Value gate, Value up) {
  auto rounded = [&](Value values) {
    Type narrow = HopperBuilder::withElement(values.getType(), b.getBF16Type());
    return b.convert(b.f32(), LLVM::FPTruncOp::create(b, narrow, values));
  };
  Value g = rounded(gate), one = b.constant(g.getType(), 1.0);
  return b.mul(b.div(g, b.add(one, b.exp(b.neg(g)))), rounded(up));
}

static SmallVector<Value> lowerSwigluQuantize(HopperLowering &, SwigluQuantizeOp op, SwigluQuantizeOp::Adaptor adaptor,
                                              HopperBuilder &b) {
  constexpr double kLeastAmax = 1e-4, kLargestE4M3 = 448.0;
  Value hidden = swiglu(b, adaptor.getGate(), adaptor.getUp());
  int64_t count = HopperBuilder::laneCount(hidden.getType());
  // A lane has two columns of its top row, then two of its bottom row.
  Value largest[2] = {b.number(kLeastAmax), b.number(kLeastAmax)}, scales[2], inverses[2];
  for (int64_t i = 0; i < count; ++i)
    largest[i % 4 / 2] = b.max(largest[i % 4 / 2], b.abs(b.extract(hidden, i)));
  for (int row = 0; row < 2; ++row) {
    for (int64_t mask : {1, 2})
      largest[row] = b.max(largest[row], b.shuffleXor(largest[row], mask));
    scales[row] = b.div(largest[row], b.number(kLargestE4M3));
    if (op.getPowerOfTwo())
      scales[row] = rows::roundUpToPowerOfTwo(b, scales[row]);
    inverses[row] = b.div(b.number(1.0), scales[row]);
  }
  SmallVector<Value> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(b.quotient(b.extract(hidden, i), scales[i % 4 / 2], inverses[i % 4 / 2]));
  return {b.pack(values), b.pack({scales[0], scales[1]})};
}

static void lowerStoreRowScales(HopperLowering &lowering, StoreRowScalesOp op, StoreRowScalesOp::Adaptor adaptor,
                                HopperBuilder &b) {
  const KernelContext &kernel = lowering.contextOf(op);
  Value inFragment = kernel.fragmentRow(b), isFirstOfRow = b.equal(b.bitAnd(kernel.lane, 3), 0);
  for (int64_t half = 0; half < 2; ++half) {
    Value row = b.add(inFragment, 8 * half);
    Value isThere = b.bitAnd(isFirstOfRow, b.below(b.add(adaptor.getRow(), row), adaptor.getUntil()));
    b.ifThen(isThere, [&] {
      b.store(b.extract(adaptor.getScales(), half), b.at(adaptor.getPointer(), b.f32(), b.add(adaptor.getIndex(), row)),
              kF32Bytes);
    });
  }
}

//===----------------------------------------------------------------------===//
// Rope
//===----------------------------------------------------------------------===//

static void lowerRopeRows(HopperLowering &lowering, RopeRowsOp op, RopeRowsOp::Adaptor adaptor, HopperBuilder &b) {
  constexpr int64_t kThreads = kSm90a.warpgroupThreads();
  auto size = static_cast<int64_t>(op.getSize()), half = size / 2;
  bool isInterleaved = op.getInterleaved();
  // Rows are counted in 64 bits.
  auto inRow = [&](Value matrix, Type element, uint64_t columns, Value row, Value column) {
    return b.at(b.at(matrix, LLVM::LLVMArrayType::get(element, columns), row), element, column);
  };
  Type from = op.getFrom().getType().getElementType(), to = op.getTo().getType().getElementType();
  Value rows = b.minUnsigned(b.sub(adaptor.getUntil(), adaptor.getRow()), b.int32(kSm90a.wgmmaRows));
  Value thread = b.bitAnd(lowering.contextOf(op).thread, kThreads - 1);
  b.loop(thread, b.mul(rows, half), b.int32(kThreads), {}, [&](Value index, ValueRange) {
    Value rowInTile = b.div(index, half), pair = b.sub(index, b.mul(rowInTile, half)), row = b.add(adaptor.getRow(), rowInTile);
    Value first = isInterleaved ? b.mul(pair, 2) : pair;
    int64_t distance = isInterleaved ? 1 : half;
    Value source = inRow(adaptor.getFrom(), from, op.getFromColumns(), row, b.add(adaptor.getFromColumn(), first));
    Value turn = inRow(adaptor.getTable(), b.f32(), op.getSize(), row, pair);
    Value target = inRow(adaptor.getTo(), to, op.getToColumns(), row, b.add(adaptor.getToColumn(), first));
    Value left = b.loadNumber(from, source), right = b.loadNumber(from, b.at(source, from, distance));
    Value cosine = b.loadNumber(b.f32(), turn), sine = b.loadNumber(b.f32(), b.at(turn, b.f32(), half));
    b.storeNumber(to, target, b.sub(b.mul(left, cosine), b.mul(right, sine)));
    b.storeNumber(to, b.at(target, to, distance), b.add(b.mul(left, sine), b.mul(right, cosine)));
    return SmallVector<Value>();
  });
}

//===----------------------------------------------------------------------===//
// Split-K
//===----------------------------------------------------------------------===//

// Partial sums lie as the threads hold them: [fragment][part][values / 4][thread][4], so that a warp's accesses are 512 bytes in
// a row, and a thread only reads what its namesakes wrote.

/// The thread's first four values of a part.
static Value addressOf(CombinePartsOp op, CombinePartsOp::Adaptor adaptor, const KernelContext &kernel, Value part,
                       HopperBuilder &b) {
  auto partType = LLVM::LLVMArrayType::get(b.getF32Type(), op.getSum().getType().getValues() * kSm90a.warpgroupThreads());
  Value base = b.at(adaptor.getWorkspace(), partType, part);
  return b.offset(base, b.mul(b.bitAnd(kernel.thread, kSm90a.warpgroupThreads() - 1), kChunkBytes));
}

static void leave(CombinePartsOp op, CombinePartsOp::Adaptor adaptor, const KernelContext &kernel, Value part, HopperBuilder &b) {
  Value at = addressOf(op, adaptor, kernel, part, b), sum = adaptor.getSum();
  for (int64_t i = 0; i < op.getSum().getType().getValues(); i += 4)
    b.store(b.extract(sum, i, 4), b.offset(at, i / 4 * kChunkBytes * kSm90a.warpgroupThreads()), kChunkBytes);
}

/// Counts this warpgroup in and tells all its threads whether it is the last.
static Value comesLast(CombinePartsOp op, CombinePartsOp::Adaptor adaptor, const KernelContext &kernel, HopperBuilder &b) {
  // The barrier orders every thread's part before the count, which releases them all to whoever counts after it and acquires
  // theirs, and the second barrier passes that on: one fence of GPU scope, as in CUTLASS's Barrier.
  kernel.syncWarpgroup(b);
  b.ifThen(kernel.isStoreThread(b), [&] {
    Value counter = b.at(adaptor.getCounters(), b.getI32Type(), adaptor.getFragment());
    Value last = b.equal(b.countUp(counter), b.int32(op.getParts() - 1));
    // Ready for the next launch.
    b.ifThen(last, [&] { b.store(b.int32(0), counter, 4); });
    b.store(b.zeroExtend(b.i32(), last), b.sharedPointer(adaptor.getFlag()), 4);
  });
  kernel.syncWarpgroup(b);
  return b.equal(b.load(b.getI32Type(), b.sharedPointer(adaptor.getFlag()), 4), b.int32(1));
}

/// All parts in their order, also this warpgroup's own: the result must not depend on who came last.
static Value total(CombinePartsOp op, CombinePartsOp::Adaptor adaptor, const KernelContext &kernel, Value firstPart,
                   HopperBuilder &b) {
  int64_t values = op.getSum().getType().getValues();
  auto end = b.loop(b.int32(0), b.int32(op.getParts()), 1, b.zeroVector(values), [&](Value part, ValueRange carried) {
    Value at = addressOf(op, adaptor, kernel, b.add(firstPart, part), b);
    SmallVector<Value> quads;
    for (int64_t i = 0; i < values; i += 4)
      quads.push_back(
          b.load(VectorType::get(4, b.f32()), b.offset(at, i / 4 * kChunkBytes * kSm90a.warpgroupThreads()), kChunkBytes));
    return SmallVector<Value>{b.add(carried[0], b.pack(quads))};
  });
  return end[0];
}

static SmallVector<Value> lowerCombineParts(HopperLowering &lowering, CombinePartsOp op, CombinePartsOp::Adaptor adaptor,
                                            HopperBuilder &b) {
  const KernelContext &kernel = lowering.contextOf(op);
  Value firstPart = b.mul(adaptor.getFragment(), op.getParts());
  leave(op, adaptor, kernel, b.add(firstPart, adaptor.getPart()), b);
  Value last = comesLast(op, adaptor, kernel, b);
  auto branch = scf::IfOp::create(b, adaptor.getSum().getType(), last, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  scf::YieldOp::create(b, total(op, adaptor, kernel, firstPart, b));
  b.setInsertionPointToStart(branch.elseBlock());
  scf::YieldOp::create(b, adaptor.getSum());
  return {last, branch.getResult(0)};
}

void populateEpiloguePatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns.add<LowerBy<lowerStoreTile>, LowerBy<lowerWaitStores>, LowerBy<lowerAddBias>, LowerBy<lowerCombineParts>,
               LowerBy<lowerSwigluQuantize>, LowerBy<lowerStoreRowScales>, LowerBy<lowerRopeRows>>(lowering);
}

} // namespace quant::nvvm
