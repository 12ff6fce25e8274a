//===- GemmKernel.cpp - the matmul as a schedule of tiles ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/GemmKernel.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace quant::hopper;
using namespace quant::machine;

namespace quant::nvvm {

/// Registers per thread of the roles when there are two math warpgroups: 384 threads start with 65536 / 384 = 168 each, and
/// 128 x 40 + 256 x 232 gives out the same. With one math warpgroup all threads have 255 anyway.
static constexpr int64_t kProducerRegisters = 40, kMathRegisters = 232;

namespace {
/// Emits one kernel. A tile of D is slices of 64 rows of wgmma: 64 rows of D, or with swapAB 64 of its columns.
class Emitter {
public:
  Emitter(HopperBuilder &builder, const GemmPlan &plan) : b(builder), plan(plan), config(plan.config) {}

  KernelOp emit(StringRef name);

private:
  // Types.
  Type f8() { return Float8E4M3FNType::get(b.getContext()); }
  Type elementType() {
    if (config.element == GemmElement::i8)
      return b.getI8Type();
    return config.isFp8() ? f8() : b.getBF16Type();
  }
  Type typeD() {
    if (config.swiglu)
      return f8();
    return config.outputType == OutputType::f32 ? Type(b.getF32Type()) : Type(b.getBF16Type());
  }
  TileType tileType(ArrayRef<int64_t> shape, Type element, int64_t swizzle = 0) {
    return TileType::get(b.getContext(), shape, element, swizzle);
  }
  TensorMapType mapType(ArrayRef<int64_t> box, Type element, int64_t swizzle = 0, bool ragged = false) {
    return TensorMapType::get(b.getContext(), box, element, swizzle, ragged);
  }
  bool isGrouped() const { return config.groups > 0; }
  FragmentType fragmentType() { return FragmentType::get(b.getContext(), plan.arch.wgmmaRows, plan.wgmmaN()); }
  /// What wgmma sums up.
  Type sumElement() { return config.element == GemmElement::i8 ? Type(b.getI32Type()) : b.getF32Type(); }
  FragmentType sumType() { return FragmentType::get(b.getContext(), plan.arch.wgmmaRows, plan.wgmmaN(), sumElement()); }
  RingType ringType();

  // Roles.
  void addArguments(Block &body);
  void allocate();
  void emitRoles();
  void emitProducer();
  void emitMath(Value warpgroup);

  /// A tile of D.
  struct Tile {
    Value m0, n0, number, part;
    /// Where to load from: inside of the matrices, also if a cluster's other block is alone there.
    Value loadM, loadN;
    /// Of groups: which one, and the row behind its last.
    Value group, until;
    /// Of heads: which one, and n0 from its first column on.
    Value head, headN0;
  };
  using TileBody = function_ref<Value(const Tile &, Value slot)>;
  /// Every tile of this block, or `only` the "first" or the "rest"; carries the ring's slot.
  Value forEachTile(Value slot, TileBody body, StringRef only = {});
  Tile tileOf(Block &block);
  Value firstSlot() { return FirstSlotOp::create(b, SlotType::get(b.getContext())); }
  Value firstBlock(Value part);
  Value endBlock(Value part) { return config.splitK == 1 ? b.int32(plan.kBlocks()) : firstBlock(b.add(part, 1)); }
  using BlockBody = function_ref<SmallVector<Value>(Value blockK, ValueRange carried)>;
  SmallVector<Value> forEachBlock(Value begin, Value end, ValueRange init, int64_t unroll, BlockBody body);
  /// What an operand's loads are told: its rows, if a cluster shares it.
  Value sharedRows(Multicast operand, Value rows) { return config.multicast == operand ? rows : Value(); }
  Value lastStart(Value size, int64_t tile) {
    Value tiles = b.div(b.add(size, tile - 1), b.int32(tile));
    return b.mul(b.add(tiles, -1), tile);
  }

  // Producer.
  enum class Load { weight, activations, all };
  void produceTiles();
  Value load(Load what, const Tile &tile, Value blockK, Value slot);
  void loadScales(const Tile &tile, Value blockK, Value to);
  void loadWeight(const Tile &tile, int64_t weight, Value k0, Value to);
  void loadHeadWeight(const Tile &tile, Value k0, Value to);
  Value loadBlocks(Load what, const Tile &tile, Value begin, Value end, Value slot);

  // Math.
  struct ScaleRows {
    /// Where they begin.
    SmallVector<Value> starts;
    /// A row that a share of the columns may lie in, and whether it lies as far as that; null where it surely does.
    struct Candidate {
      size_t row;
      Value reaches;
    };
    /// Of each share, from the first row on.
    SmallVector<SmallVector<Candidate>> candidates;
  };
  ScaleRows scaleRowsOf(const Tile &tile, int64_t weight);
  SmallVector<Value> blockScales(const ScaleRows &rows, Value blockK);
  SmallVector<Value> multiplyTile(Value warpgroup, const Tile &tile, Value slot);
  SmallVector<Value> promoteBlocks(Value warpgroup, const Tile &tile, Value slot);
  SmallVector<Value> accumulateBlocks(Value warpgroup, const Tile &tile, Value slot);
  /// B's scales in a K block, of each weight.
  using ScalesB = ArrayRef<SmallVector<Value>>;
  SmallVector<Value> multiplyBlock(Value warpgroup, ScalesB scalesB, Value slot, ValueRange sums);
  SmallVector<Value> accumulateBlock(Value warpgroup, Value slot, ValueRange sums);
  Value startSlice(Block &stage, Value slice, int64_t weight, Value into, Value over);
  Value finish(Value accumulator, int64_t pending = 0) { return WgmmaWaitOp::create(b, sumType(), accumulator, pending); }
  Value promote(Value products, Value sum, Value scalesA, ArrayRef<Value> scalesB);
  /// Of rows and columns that have one scale each.
  struct LineScales {
    /// Of A's rows, and B's, one for each slice on wgmma's M.
    SmallVector<Value> a, b;
  };
  LineScales loadLineScales(Value warpgroup, const Tile &tile);
  void storeSlice(Value warpgroup, int64_t index, const Tile &tile, ValueRange sums);
  void storeHidden(Value slice, const Tile &tile, Value gate, Value up);
  void storeSum(Value slice, const Tile &tile, Value sum, bool follows);
  void completeQueries(Value slice, const Tile &tile);
  Value sliceOf(Value warpgroup, int64_t index) { return b.add(warpgroup, index * plan.warpgroups); }

  HopperBuilder &b;
  const GemmPlan &plan;
  const GemmConfig &config;
  Value mapA, mapScaleA, mapB, mapD, scaleA, scaleB, bias, workspace, counters, scaleD, counts, q, rope, d, m;
  Value staging, flags, groups, ring;
};
} // namespace

KernelOp Emitter::emit(StringRef name) {
  auto kernel = KernelOp::create(b, name, plan.cluster());
  b.inBlock(kernel.getBody(), {}, [&](Block &body) {
    addArguments(body);
    LaunchDependentsOp::create(b);
    allocate();
    emitRoles();
  });
  return kernel;
}

void Emitter::addArguments(Block &body) {
  auto add = [&](Type type) -> Value { return body.addArgument(type, b.getLoc()); };
  auto global = [&](Type element) { return GlobalType::get(b.getContext(), element); };
  // A matrix of scales for each group where its rows have a place of their own, a weight for each.
  SmallVector<int64_t> boxScales = {1, config.blockM}, boxB = {plan.boxRowsB(), plan.blockK()};
  if (config.isAbsorb())
    boxB.front() = plan.blockK();
  if (config.isMasked())
    boxScales.insert(boxScales.begin(), 1);
  if (isGrouped())
    boxB.insert(boxB.begin(), 1);
  mapA = add(mapType({plan.boxRowsA(), plan.blockK()}, elementType(), 128, /*ragged=*/isGrouped()));
  if (config.isFp8())
    mapScaleA = add(mapType(boxScales, b.getF32Type()));
  mapB = add(mapType(boxB, elementType(), 128));
  mapD = add(mapType({plan.storeRows(), plan.storeColumns()}, typeD(), plan.storeSwizzle(), /*ragged=*/isGrouped()));
  if (config.element == GemmElement::i8)
    scaleA = add(global(b.getF32Type()));
  if (config.element != GemmElement::bf16)
    scaleB = add(global(config.bf16Scales ? Type(b.getBF16Type()) : b.getF32Type()));
  if (config.bias)
    bias = add(global(b.getF32Type()));
  if (config.splitK > 1) {
    workspace = add(global(b.getF32Type()));
    counters = add(global(b.getI32Type()));
  }
  if (config.swiglu)
    scaleD = add(global(b.getF32Type()));
  if (isGrouped())
    counts = add(global(b.getI32Type()));
  if (config.mla.completes) {
    q = add(global(elementType()));
    rope = add(global(b.getF32Type()));
    d = add(global(typeD()));
  }
  m = add(b.getI32Type());
}

RingType Emitter::ringType() {
  // The operand on wgmma's M comes in slices of 64 rows.
  auto slices = tileType({plan.slices(), plan.arch.wgmmaRows, plan.blockK()}, elementType(), 128);
  auto whole = tileType({plan.wgmmaN(), plan.blockK()}, elementType(), 128);
  // The head's rows of kv_b as they are: K by N.
  if (config.isAbsorb())
    whole = tileType({plan.blockK(), plan.wgmmaN()}, elementType(), 128);
  SmallVector<TileType> tiles = {config.swapAB ? whole : slices};
  tiles.append(config.weights(), config.swapAB ? slices : whole);
  if (config.isFp8())
    tiles.push_back(tileType({1, config.blockM}, b.getF32Type()));
  return RingType::get(b.getContext(), plan.stages, plan.cluster(), tiles);
}

void Emitter::allocate() {
  staging = AllocOp::create(b, tileType({plan.slices(), plan.storeRows(), plan.stagingColumns()}, typeD(), plan.storeSwizzle()));
  if (config.splitK > 1)
    flags = AllocOp::create(b, tileType({plan.warpgroups, 1, 1}, b.getI32Type()));
  if (isGrouped())
    groups = ScanGroupsOp::create(b, GroupsType::get(b.getContext(), config.groups, plan.rowsAtATime()), counts, m,
                                  /*masked=*/config.isMasked(), config.groupAlignment);
  ring = RingOp::create(b, ringType(), plan.warpgroups * plan.arch.warpgroupWarps * plan.cluster());
}

void Emitter::emitRoles() {
  SmallVector<int64_t> registers;
  if (plan.warpgroups > 1)
    registers = {kMathRegisters, kProducerRegisters};
  auto roles = WarpRolesOp::create(b, ArrayRef<int64_t>{plan.warpgroups, 1}, registers, /*rolesCount=*/2);
  b.inBlock(roles.getRoles()[0], b.getI32Type(), [&](Block &body) { emitMath(body.getArgument(0)); });
  b.inBlock(roles.getRoles()[1], b.getI32Type(), [&](Block &) { emitProducer(); });
}

//===----------------------------------------------------------------------===//
// Tiles and K blocks
//===----------------------------------------------------------------------===//

Emitter::Tile Emitter::tileOf(Block &block) {
  Tile tile;
  tile.m0 = tile.loadM = block.getArgument(0);
  tile.n0 = tile.loadN = block.getArgument(1);
  tile.number = block.getArgument(2);
  tile.part = block.getArgument(3);
  if (isGrouped()) {
    tile.group = block.getArgument(4);
    tile.until = block.getArgument(5);
  }
  if (config.isMla()) {
    tile.head = b.div(tile.n0, config.headN());
    tile.headN0 = b.sub(tile.n0, b.mul(tile.head, config.headN()));
  }
  if (config.multicast == Multicast::b)
    tile.loadM = b.minUnsigned(tile.m0, isGrouped() ? b.add(tile.until, -1) : lastStart(m, config.blockM));
  if (config.multicast == Multicast::a)
    tile.loadN = b.minUnsigned(tile.n0, b.int32((plan.tilesN() - 1) * config.blockN));
  return tile;
}

Value Emitter::forEachTile(Value slot, TileBody body, StringRef only) {
  StringAttr pairs, which;
  if (config.multicast != Multicast::none)
    pairs = b.getStringAttr(config.multicast == Multicast::b ? "rows" : "columns");
  if (!only.empty())
    which = b.getStringAttr(only);
  auto loop =
      ForTilesOp::create(b, TypeRange(slot.getType()), isGrouped() ? Value() : m, groups, config.n,
                         ArrayRef<int64_t>{config.blockM, config.blockN}, plan.tilesPerGroup, config.splitK, pairs, which, slot);
  SmallVector<Type> arguments(loop.getTileArguments(), b.getI32Type());
  arguments.push_back(slot.getType());
  b.inBlock(loop.getBody(), arguments,
            [&](Block &block) { YieldOp::create(b, body(tileOf(block), block.getArguments().back())); });
  return loop.getResult(0);
}

/// Where part p begins: at p * blocks / parts.
Value Emitter::firstBlock(Value part) {
  return config.splitK == 1 ? b.int32(0) : b.div(b.mul(part, plan.kBlocks()), b.int32(config.splitK));
}

SmallVector<Value> Emitter::forEachBlock(Value begin, Value end, ValueRange init, int64_t unroll, BlockBody body) {
  SmallVector<Value> results = b.loop(begin, end, b.int32(1), init, body);
  if (unroll > 1)
    results.front().getDefiningOp()->setAttr("hopper.unroll", b.getI64IntegerAttr(unroll));
  return results;
}

//===----------------------------------------------------------------------===//
// Producer
//===----------------------------------------------------------------------===//

void Emitter::emitProducer() {
  auto one = OneThreadOp::create(b);
  b.inBlock(one.getBody(), {}, [&](Block &) { produceTiles(); });
}

void Emitter::produceTiles() {
  auto earlyEnd = [&](const Tile &tile) { return b.add(firstBlock(tile.part), plan.earlyBlocks()); };
  // The first weights, which no kernel writes, come while the kernels before still run.
  auto loadEarly = [&](const Tile &tile, Value slot) {
    return loadBlocks(Load::weight, tile, firstBlock(tile.part), earlyEnd(tile), slot);
  };
  auto loadFirst = [&](const Tile &tile, Value slot) {
    Value next = loadBlocks(Load::activations, tile, firstBlock(tile.part), earlyEnd(tile), slot);
    return loadBlocks(Load::all, tile, earlyEnd(tile), endBlock(tile.part), next);
  };
  auto loadTile = [&](const Tile &tile, Value slot) {
    return loadBlocks(Load::all, tile, firstBlock(tile.part), endBlock(tile.part), slot);
  };
  Value end;
  if (isGrouped()) {
    // Which weight is the first, the counts say, and a kernel before writes those.
    WaitPrerequisitesOp::create(b);
    end = forEachTile(firstSlot(), loadTile);
  } else {
    forEachTile(firstSlot(), loadEarly, "first");
    WaitPrerequisitesOp::create(b);
    Value next = forEachTile(firstSlot(), loadFirst, "first");
    end = forEachTile(next, loadTile, "rest");
  }
  if (plan.cluster() > 1)
    DrainOp::create(b, ring, end);
}

/// Fills the stages of the K blocks [begin, end), or some of their tiles; gives the slot behind them.
Value Emitter::loadBlocks(Load what, const Tile &tile, Value begin, Value end, Value slot) {
  return forEachBlock(begin, end, slot, /*unroll=*/what == Load::all ? 2 : 1, [&](Value blockK, ValueRange carried) {
    return SmallVector<Value>{load(what, tile, blockK, carried[0])};
  })[0];
}

Value Emitter::load(Load what, const Tile &tile, Value blockK, Value slot) {
  auto produce =
      ProduceOp::create(b, slot.getType(), ring, slot, /*begin=*/what == Load::weight, /*finish=*/what == Load::activations);
  ArrayRef<TileType> tiles = cast<RingType>(ring.getType()).getTiles();
  b.inBlock(produce.getBody(), SmallVector<Type>(tiles.begin(), tiles.end()), [&](Block &stage) {
    Value k0 = b.mul(blockK, plan.blockK());
    if (what != Load::weight) {
      Value column = config.isMla() ? b.add(b.mul(tile.head, plan.headColumnsA()), k0) : k0;
      TmaLoadOp::create(b, mapA, {tile.loadM, column}, tile.until, stage.getArgument(0), sharedRows(Multicast::a, m));
      if (config.isFp8())
        loadScales(tile, blockK, stage.getArguments().back());
    }
    for (int64_t weight = 0; weight < config.weights() && what != Load::activations; ++weight)
      loadWeight(tile, weight, k0, stage.getArgument(1 + weight));
  });
  return produce.getNext();
}

void Emitter::loadScales(const Tile &tile, Value blockK, Value to) {
  SmallVector<Value> at = {blockK, tile.loadM};
  if (config.isMasked())
    at = {tile.group, blockK, b.sub(tile.loadM, b.mul(tile.group, m))};
  TmaLoadOp::create(b, mapScaleA, at, /*until=*/Value(), to, /*multicast=*/Value());
}

void Emitter::loadHeadWeight(const Tile &tile, Value k0, Value to) {
  Value row = b.add(b.mul(tile.head, plan.headRowsB()), plan.firstRowB());
  SmallVector<Value> at = {b.add(row, tile.headN0), k0};
  if (config.isAbsorb())
    at = {b.add(row, k0), tile.headN0};
  TmaLoadOp::create(b, mapB, at, /*until=*/Value(), to, /*multicast=*/Value());
}

void Emitter::loadWeight(const Tile &tile, int64_t weight, Value k0, Value to) {
  if (config.isMla())
    return loadHeadWeight(tile, k0, to);
  SmallVector<Value> at = {b.add(tile.loadN, weight * config.n), k0};
  if (isGrouped())
    at.insert(at.begin(), tile.group);
  TmaLoadOp::create(b, mapB, at, /*until=*/Value(), to, sharedRows(Multicast::b, b.int32(plan.rowsB())));
}

//===----------------------------------------------------------------------===//
// Math
//===----------------------------------------------------------------------===//

void Emitter::emitMath(Value warpgroup) {
  // Before D is written, which a kernel before may still read, and the workspace, which it may still use.
  WaitPrerequisitesOp::create(b);
  forEachTile(firstSlot(), [&](const Tile &tile, Value slot) {
    SmallVector<Value> end = multiplyTile(warpgroup, tile, slot);
    for (int64_t index = 0; index < plan.slicesPerWarpgroup(); ++index)
      storeSlice(warpgroup, index, tile, ValueRange(end).slice(1 + index * config.weights(), config.weights()));
    return end[0];
  });
  WaitStoresOp::create(b);
}

/// Which rows of a weight's scales the tile's columns meet: one to three.
Emitter::ScaleRows Emitter::scaleRowsOf(const Tile &tile, int64_t weight) {
  ScaleRows rows;
  // Of several weights each begins a block.
  Value row = b.add(b.shiftRight(tile.loadN, 7), weight * config.n / kScaleBlock),
        intoBlock = b.bitAnd(tile.loadN, kScaleBlock - 1);
  int64_t share = plan.columnsOfScale(), last = (kScaleBlock - share + config.blockN - 1) / kScaleBlock;
  Value ofGroup = isGrouped() ? b.mul(tile.group, plan.scaleRowsB()) : Value();
  auto startOf = [&](Value row) { return b.mul(ofGroup ? b.add(row, ofGroup) : row, plan.kBlocks()); };
  rows.starts.push_back(startOf(row));
  // The last tile may end before the others, which then do not exist.
  for (int64_t next = 1; next <= last; ++next)
    rows.starts.push_back(startOf(b.minUnsigned(b.add(row, next), b.int32(plan.scaleRowsB() - 1))));
  for (int64_t column = 0; column < config.blockN; column += share) {
    SmallVector<ScaleRows::Candidate> &candidates = rows.candidates.emplace_back();
    for (int64_t next = 0; next <= last; ++next) {
      // Reached where column + intoBlock >= border.
      int64_t border = next * kScaleBlock;
      if (column >= border)
        candidates.assign({{static_cast<size_t>(next), Value()}});
      else if (column + kScaleBlock - share >= border)
        candidates.push_back({static_cast<size_t>(next), b.below(b.int32(border - 1 - column), intoBlock)});
    }
  }
  return rows;
}

/// B's scale of each share of the columns in a K block.
SmallVector<Value> Emitter::blockScales(const ScaleRows &rows, Value blockK) {
  SmallVector<Value> loaded, scales;
  for (Value start : rows.starts)
    loaded.push_back(LoadBlockScaleOp::create(b, b.getF32Type(), scaleB, b.add(start, blockK)));
  for (ArrayRef<ScaleRows::Candidate> candidates : rows.candidates) {
    Value scale;
    for (auto [row, reaches] : candidates)
      scale = reaches ? b.select(reaches, loaded[row], scale) : loaded[row];
    scales.push_back(scale);
  }
  return scales;
}

/// The next slot and the tile's sums, of each slice one for each weight.
SmallVector<Value> Emitter::multiplyTile(Value warpgroup, const Tile &tile, Value slot) {
  return config.isFp8() ? promoteBlocks(warpgroup, tile, slot) : accumulateBlocks(warpgroup, tile, slot);
}

SmallVector<Value> Emitter::promoteBlocks(Value warpgroup, const Tile &tile, Value slot) {
  SmallVector<ScaleRows> rows;
  for (int64_t weight = 0; weight < config.weights(); ++weight)
    rows.push_back(scaleRowsOf(tile, weight));
  SmallVector<Value> init = {slot};
  for (int64_t index = 0; index < plan.productsPerWarpgroup(); ++index)
    init.push_back(ZeroOp::create(b, fragmentType()));
  return forEachBlock(firstBlock(tile.part), endBlock(tile.part), init, plan.unroll(), [&](Value blockK, ValueRange carried) {
    // On its way while the stage is multiplied (ptxas sinks it behind the wait, however it is written).
    SmallVector<SmallVector<Value>> scalesB;
    for (const ScaleRows &ofWeight : rows)
      scalesB.push_back(blockScales(ofWeight, blockK));
    return multiplyBlock(warpgroup, scalesB, carried[0], carried.drop_front());
  });
}

Value Emitter::promote(Value products, Value sum, Value scalesA, ArrayRef<Value> scalesB) {
  if (config.swapAB)
    return PromoteOp::create(b, fragmentType(), products, sum, scalesB[0], scalesA);
  return PromoteOp::create(b, fragmentType(), products, sum, scalesA, scalesB);
}

/// The products of a slice with a weight, added to `into` or in the registers of `over` if there is one.
Value Emitter::startSlice(Block &stage, Value slice, int64_t weight, Value into, Value over) {
  Value ofA = stage.getArgument(0), ofB = stage.getArgument(1 + weight);
  Value tileM = config.swapAB ? ofB : ofA, tileN = config.swapAB ? ofA : ofB;
  auto sliceType = tileType(cast<TileType>(tileM.getType()).getShape().drop_front(), elementType(), 128);
  auto accumulatorType = AccumulatorType::get(b.getContext(), plan.arch.wgmmaRows, plan.wgmmaN(), sumElement());
  Value mine = TileAtOp::create(b, sliceType, tileM, slice);
  return WgmmaOp::create(b, accumulatorType, mine, tileN, /*transposed=*/config.isAbsorb(), into, over);
}

SmallVector<Value> Emitter::multiplyBlock(Value warpgroup, ScalesB scalesB, Value slot, ValueRange sums) {
  auto type = cast<RingType>(ring.getType());
  Type scalesType =
      config.swapAB ? Type(ColumnScalesType::get(b.getContext(), config.blockM)) : RowScalesType::get(b.getContext());
  SmallVector<Type> results(plan.productsPerWarpgroup(), fragmentType());
  results.push_back(scalesType);
  SmallVector<Type> types = {slot.getType()};
  llvm::append_range(types, results);
  auto consume = ConsumeOp::create(b, types, ring, slot);
  ArrayRef<TileType> tiles = type.getTiles();
  b.inBlock(consume.getBody(), SmallVector<Type>(tiles.begin(), tiles.end()), [&](Block &stage) {
    SmallVector<Value> yields;
    // A product takes the registers of the one before: 256 x 128 has none for two.
    Value products, scales;
    for (int64_t index = 0; index < plan.productsPerWarpgroup(); ++index) {
      int64_t weight = index % config.weights();
      Value slice = sliceOf(warpgroup, index / config.weights());
      // Read A's scales before the stage is let go: afterwards TMA may overwrite them.
      if (config.swapAB)
        scales = LoadColumnScalesOp::create(b, scalesType, stage.getArguments().back());
      else if (weight == 0)
        scales = LoadRowScalesOp::create(b, scalesType, stage.getArguments().back(), b.mul(slice, plan.arch.wgmmaRows));
      products = finish(startSlice(stage, slice, weight, /*into=*/Value(), /*over=*/products));
      bool isLast = index + 1 == plan.productsPerWarpgroup();
      yields.push_back(isLast ? products : promote(products, sums[index], scales, scalesB[weight]));
    }
    yields.push_back(scales);
    YieldOp::create(b, yields);
  });
  SmallVector<Value> next(consume.getResults().drop_back());
  next.back() = promote(next.back(), sums.back(), consume.getResults().back(), scalesB.back());
  return next;
}

//===----------------------------------------------------------------------===//
// Math without promotion: sums over all of K stay in wgmma's registers
//===----------------------------------------------------------------------===//

SmallVector<Value> Emitter::accumulateBlocks(Value warpgroup, const Tile &tile, Value slot) {
  LineScales scales;
  // On their way while the tile is multiplied, where there are registers for them.
  constexpr int64_t kColumnsWithScales = 128;
  bool isInt8 = config.element == GemmElement::i8, isEarly = plan.wgmmaN() <= kColumnsWithScales;
  if (isInt8 && isEarly)
    scales = loadLineScales(warpgroup, tile);
  SmallVector<Value> init = {slot};
  for (int64_t index = 0; index < plan.slicesPerWarpgroup(); ++index)
    init.push_back(ZeroOp::create(b, sumType()));
  SmallVector<Value> end =
      forEachBlock(firstBlock(tile.part), endBlock(tile.part), init, plan.unroll(),
                   [&](Value, ValueRange carried) { return accumulateBlock(warpgroup, carried[0], carried.drop_front()); });
  if (isInt8 && !isEarly)
    scales = loadLineScales(warpgroup, tile);
  for (int64_t index = 0; index < plan.slicesPerWarpgroup() && isInt8; ++index) {
    Value zero = ZeroOp::create(b, fragmentType()), ofA = scales.a[config.swapAB ? 0 : index];
    end[1 + index] = promote(end[1 + index], zero, ofA, scales.b[config.swapAB ? index : 0]);
  }
  return end;
}

/// All slices are in flight together.
SmallVector<Value> Emitter::accumulateBlock(Value warpgroup, Value slot, ValueRange sums) {
  SmallVector<Type> types = {slot.getType()};
  llvm::append_range(types, sums.getTypes());
  auto consume = ConsumeOp::create(b, types, ring, slot);
  ArrayRef<TileType> tiles = cast<RingType>(ring.getType()).getTiles();
  b.inBlock(consume.getBody(), SmallVector<Type>(tiles.begin(), tiles.end()), [&](Block &stage) {
    SmallVector<Value> started, yields;
    for (auto [index, sum] : llvm::enumerate(sums))
      started.push_back(
          startSlice(stage, sliceOf(warpgroup, static_cast<int64_t>(index)), /*weight=*/0, /*into=*/sum, /*over=*/Value()));
    for (Value accumulator : started)
      yields.push_back(finish(accumulator, /*pending=*/static_cast<int64_t>(started.size() - yields.size()) - 1));
    YieldOp::create(b, yields);
  });
  return consume.getResults();
}

Emitter::LineScales Emitter::loadLineScales(Value warpgroup, const Tile &tile) {
  LineScales scales;
  Value endA = isGrouped() ? tile.until : m, beforeB = isGrouped() ? b.mul(tile.group, config.n) : b.int32(0);
  auto load = [&](bool isOnM, Value pointer, Value first, Value end) {
    Type type = isOnM ? Type(RowScalesType::get(b.getContext())) : ColumnScalesType::get(b.getContext(), plan.wgmmaN());
    SmallVector<Value> loaded;
    for (int64_t index = 0; index < (isOnM ? plan.slicesPerWarpgroup() : 1); ++index) {
      Value from = isOnM ? b.add(first, b.mul(sliceOf(warpgroup, index), plan.arch.wgmmaRows)) : first;
      loaded.push_back(LoadScalesOp::create(b, type, pointer, from, end));
    }
    return loaded;
  };
  scales.a = load(!config.swapAB, scaleA, tile.m0, endA);
  scales.b = load(config.swapAB, scaleB, b.add(beforeB, tile.n0), b.add(beforeB, config.n));
  return scales;
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

void Emitter::storeSlice(Value warpgroup, int64_t index, const Tile &tile, ValueRange sums) {
  Value slice = sliceOf(warpgroup, index), sum = sums.front();
  if (config.swiglu)
    return storeHidden(slice, tile, sums[0], sums[1]);
  if (config.splitK == 1) {
    storeSum(slice, tile, sum, /*follows=*/index > 0);
    if (config.mla.completes)
      completeQueries(slice, tile);
    return;
  }
  auto flagType = tileType({1, 1}, b.getI32Type());
  Value flag = TileAtOp::create(b, flagType, flags, warpgroup);
  Value fragment = b.add(b.mul(tile.number, plan.slices()), slice);
  auto combine = CombinePartsOp::create(b, b.getI1Type(), fragmentType(), sum, workspace, counters, fragment, tile.part,
                                        config.splitK, flag);
  b.ifThen(combine.getLast(), [&] { storeSum(slice, tile, combine.getTotal(), /*follows=*/false); });
}

void Emitter::storeSum(Value slice, const Tile &tile, Value sum, bool follows) {
  Value first = b.mul(slice, plan.arch.wgmmaRows);
  Value column = config.isMla() ? b.add(b.mul(tile.head, plan.headColumnsD()), tile.headN0) : tile.n0;
  Value row = config.swapAB ? tile.m0 : b.add(tile.m0, first);
  if (config.swapAB)
    column = b.add(column, first);
  if (config.bias)
    sum = AddBiasOp::create(b, fragmentType(), sum, bias, column, config.n, /*rows=*/config.swapAB);
  auto mineType = tileType({plan.storeRows(), plan.stagingColumns()}, typeD(), plan.storeSwizzle());
  Value mine = TileAtOp::create(b, mineType, staging, slice);
  StoreTileOp::create(b, sum, mine, mapD, row, column, tile.until, /*transposed=*/config.swapAB, /*add=*/config.accumulate,
                      follows);
}

/// The head's queries behind their latents, once for all tiles of its columns.
void Emitter::completeQueries(Value slice, const Tile &tile) {
  Value row = b.add(tile.m0, b.mul(slice, plan.arch.wgmmaRows));
  Value isFirst = b.bitAnd(b.equal(tile.headN0, 0), b.below(row, m));
  b.ifThen(isFirst, [&] {
    Value from = b.add(b.mul(tile.head, plan.headColumnsA()), config.mla.nopeDim);
    Value to = b.add(b.mul(tile.head, plan.headColumnsD()), config.headN());
    RopeRowsOp::create(b, q, from, plan.columnsA(), rope, config.mla.ropeDim, d, to, plan.columnsD(), row, m,
                       config.mla.interleaved);
  });
}

/// Codes and scales of silu(gate) * up.
void Emitter::storeHidden(Value slice, const Tile &tile, Value gate, Value up) {
  auto quantized =
      SwigluQuantizeOp::create(b, fragmentType(), RowScalesType::get(b.getContext()), gate, up, config.powerOfTwoScales);
  storeSum(slice, tile, quantized.getValues(), /*follows=*/false);
  // Group by group of columns, all rows side by side; of masked groups each has its own.
  Value row = b.add(tile.m0, b.mul(slice, plan.arch.wgmmaRows)), group = b.shiftRight(tile.n0, 7), place = row;
  if (config.isMasked()) {
    group = b.add(group, b.mul(tile.group, config.n / kScaleBlock));
    place = b.sub(row, b.mul(tile.group, m));
  }
  constexpr int64_t kRows = 4;
  Value padded = b.mul(b.div(b.add(m, kRows - 1), kRows), kRows);
  StoreRowScalesOp::create(b, quantized.getScales(), scaleD, b.add(b.mul(group, padded), place), row,
                           isGrouped() ? tile.until : m);
}

KernelOp emitGemm(HopperBuilder &builder, const GemmPlan &plan, StringRef name) { return Emitter(builder, plan).emit(name); }

} // namespace quant::nvvm
