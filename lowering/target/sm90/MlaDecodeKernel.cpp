//===- MlaDecodeKernel.cpp - attention as a schedule of tiles ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/MlaDecodeKernel.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

#include <numbers>

using namespace mlir;
using namespace quant::hopper;
using namespace quant::machine;

namespace quant::nvvm {

static constexpr int64_t kRows = kSm90a.wgmmaRows, kBlock = MlaDecodeConfig::kBlock, kColumns = MlaDecodeConfig::kColumns;
static constexpr int64_t kMathWarpgroups = 2, kColumnsOfWarpgroup = MlaDecodeConfig::kLatent / kMathWarpgroups;
/// Blocks of keys in shared memory, beside the queries all that there is room for.
static constexpr int64_t kStages = 2;
static constexpr int64_t kSwizzle = 128, kPanel = 64;
/// 384 threads start with 65536 / 384 = 168 registers each; 256 x 240 and 128 x 24 are the same.
static constexpr int64_t kMathRegisters = 240, kProducerRegisters = 24;
/// Where maxima begin: below every score, but finite, so that their difference to minus infinity is no NaN.
static constexpr double kLeast = -1e30;

namespace {
class Emitter {
public:
  Emitter(HopperBuilder &builder, const MlaDecodeConfig &config) : b(builder), config(config) {}

  KernelOp emit(StringRef name);

private:
  TileType tileType(int64_t columns) { return TileType::get(b.getContext(), {kRows, columns}, b.getBF16Type(), kSwizzle); }
  FragmentType fragmentType(int64_t columns) { return FragmentType::get(b.getContext(), kRows, columns); }
  RingType ringType(int64_t stages) { return RingType::get(b.getContext(), stages, /*blocks=*/1, {tileType(kColumns)}); }
  Type rowsType() { return RowScalesType::get(b.getContext()); }
  Type slotType() { return SlotType::get(b.getContext()); }
  Value firstSlot() { return FirstSlotOp::create(b, slotType()); }

  void addArguments(Block &body);
  void emitRoles();

  /// A tile of queries.
  struct Tile {
    Value row, until, sequence, keys, part;
  };
  using TileBody = function_ref<SmallVector<Value>(const Tile &, ValueRange slots)>;
  /// Every tile of this block; carries the slots of both rings.
  void forEachTile(TileBody body);
  bool isSplit() const { return config.splits > 1; }
  /// Blocks of keys: the first of a tile's part, and the one behind its last.
  std::pair<Value, Value> blocksOf(const Tile &tile);

  void emitProducer();
  Value produce(Value ring, Value slot, Value map, Value row);

  /// What a warpgroup carries from block to block.
  struct State {
    Value slot, max, sum, result;
    SmallVector<Value> values() const { return {slot, max, sum, result}; }
    static State of(ValueRange values) { return {values[0], values[1], values[2], values[3]}; }
  };
  void emitMath(Value warpgroup);
  State attend(const Tile &tile, Value warpgroup, Value queries, Value slot);
  SmallVector<Value> foldBlock(const Tile &tile, Value warpgroup, Value queries, Value rowKeys, Value block, const State &state);
  SmallVector<Value> multiply(Value queries, Value keys, Value values, Value rowKeys, Value first, const State &state);
  void store(const Tile &tile, Value warpgroup, Value queries, const State &state);
  void storeResult(const Tile &tile, Value warpgroup, Value queries, Value result);
  Value half(Value tile, Value warpgroup) {
    return TileColumnsOp::create(b, tileType(kColumnsOfWarpgroup), tile, b.mul(warpgroup, kColumnsOfWarpgroup));
  }
  Value product(Value a, Value keys, bool transposed, Value into, int64_t columns);

  HopperBuilder &b;
  const MlaDecodeConfig &config;
  Value mapQ, mapCache, mapO, positions, sequences, pages, parts, lse, tokens;
  Value queryRing, keyRing, meeting;
};
} // namespace

KernelOp Emitter::emit(StringRef name) {
  auto kernel = KernelOp::create(b, name, /*cluster=*/1);
  b.inBlock(kernel.getBody(), {}, [&](Block &body) {
    addArguments(body);
    LaunchDependentsOp::create(b);
    int64_t warps = kMathWarpgroups * kSm90a.warpgroupWarps;
    queryRing = RingOp::create(b, ringType(1), warps);
    keyRing = RingOp::create(b, ringType(kStages), warps);
    meeting = NamedBarrierOp::create(b, NamedBarrierType::get(b.getContext(), kMathWarpgroups * kSm90a.warpgroupThreads()));
    emitRoles();
  });
  return kernel;
}

void Emitter::addArguments(Block &body) {
  auto add = [&](Type type) -> Value { return body.addArgument(type, b.getLoc()); };
  auto map = [&](bool ragged) { return TensorMapType::get(b.getContext(), {kRows, kPanel}, b.getBF16Type(), kSwizzle, ragged); };
  auto global = [&](Type element) { return GlobalType::get(b.getContext(), element); };
  mapQ = add(map(false));
  mapCache = add(map(false));
  if (!isSplit())
    mapO = add(map(true));
  positions = add(global(b.i32()));
  sequences = add(global(b.i32()));
  pages = add(global(b.i32()));
  if (isSplit())
    parts = add(global(b.f32()));
  if (isSplit() || config.lse)
    lse = add(global(b.f32()));
  tokens = add(b.i32());
}

void Emitter::emitRoles() {
  auto roles =
      WarpRolesOp::create(b, ArrayRef<int64_t>{kMathWarpgroups, 1}, ArrayRef<int64_t>{kMathRegisters, kProducerRegisters},
                          /*rolesCount=*/2);
  b.inBlock(roles.getRoles()[0], b.i32(), [&](Block &body) { emitMath(body.getArgument(0)); });
  b.inBlock(roles.getRoles()[1], b.i32(), [&](Block &) { emitProducer(); });
}

void Emitter::forEachTile(TileBody body) {
  SmallVector<Value> init = {firstSlot(), firstSlot()};
  SmallVector<Type> types = {slotType(), slotType()};
  auto loop = ForQueriesOp::create(b, types, positions, sequences, tokens, config.heads, config.splits, init);
  SmallVector<Type> arguments(ForQueriesOp::kTileArguments, b.i32());
  arguments.append(types);
  b.inBlock(loop.getBody(), arguments, [&](Block &block) {
    Tile tile = {block.getArgument(0), block.getArgument(1), block.getArgument(2), block.getArgument(3), block.getArgument(4)};
    YieldOp::create(b, body(tile, block.getArguments().take_back(2)));
  });
}

std::pair<Value, Value> Emitter::blocksOf(const Tile &tile) {
  Value blocks = b.div(b.add(tile.keys, kBlock - 1), kBlock);
  if (!isSplit())
    return {b.int32(0), blocks};
  Value ofPart = b.div(b.add(blocks, config.splits - 1), config.splits), begin = b.mul(tile.part, ofPart);
  return {begin, b.minUnsigned(blocks, b.add(begin, ofPart))};
}

//===----------------------------------------------------------------------===//
// Producer
//===----------------------------------------------------------------------===//

void Emitter::emitProducer() {
  auto one = OneThreadOp::create(b);
  b.inBlock(one.getBody(), {}, [&](Block &) {
    WaitPrerequisitesOp::create(b);
    forEachTile([&](const Tile &tile, ValueRange slots) -> SmallVector<Value> {
      Value nextQuery = produce(queryRing, slots[0], mapQ, tile.row);
      Value table = b.mul(tile.sequence, config.pages);
      auto [begin, end] = blocksOf(tile);
      SmallVector<Value> next = b.loop(begin, end, b.int32(1), slots.drop_front(), [&](Value block, ValueRange carried) {
        // Before the wait for a free stage, so that it is there when the stage is.
        Value page = LoadIndexOp::create(b, b.i32(), pages, b.add(table, block));
        return SmallVector<Value>{produce(keyRing, carried[0], mapCache, b.mul(page, kBlock))};
      });
      return {nextQuery, next[0]};
    });
  });
}

/// Fills a stage with the matrix's rows from one on; gives the next slot.
Value Emitter::produce(Value ring, Value slot, Value map, Value row) {
  auto produce = ProduceOp::create(b, slotType(), ring, slot, /*begin=*/false, /*finish=*/false);
  b.inBlock(produce.getBody(), {tileType(kColumns)}, [&](Block &stage) {
    TmaLoadOp::create(b, map, {row, b.int32(0)}, /*until=*/Value(), stage.getArgument(0), /*multicast=*/Value());
  });
  return produce.getNext();
}

//===----------------------------------------------------------------------===//
// Math
//===----------------------------------------------------------------------===//

void Emitter::emitMath(Value warpgroup) {
  // Before o is written, which a kernel before may still read.
  WaitPrerequisitesOp::create(b);
  forEachTile([&](const Tile &tile, ValueRange slots) -> SmallVector<Value> {
    auto consume = ConsumeOp::create(b, TypeRange{slotType(), slotType()}, queryRing, slots[0]);
    b.inBlock(consume.getBody(), {tileType(kColumns)}, [&](Block &stage) {
      State state = attend(tile, warpgroup, stage.getArgument(0), slots[1]);
      store(tile, warpgroup, stage.getArgument(0), state);
      YieldOp::create(b, state.slot);
    });
    return {consume.getNext(), consume.getValues()[0]};
  });
}

Emitter::State Emitter::attend(const Tile &tile, Value warpgroup, Value queries, Value slot) {
  Value rowKeys = LoadRowKeysOp::create(b, RowKeysType::get(b.getContext()), positions, tile.row, tile.until, config.heads);
  State state = {slot, SplatRowsOp::create(b, rowsType(), b.number(kLeast)), SplatRowsOp::create(b, rowsType(), b.number(0.0)),
                 ZeroOp::create(b, fragmentType(kColumnsOfWarpgroup))};
  auto [begin, end] = blocksOf(tile);
  return State::of(b.loop(begin, end, b.int32(1), state.values(), [&](Value block, ValueRange carried) {
    return foldBlock(tile, warpgroup, queries, rowKeys, block, State::of(carried));
  }));
}

/// A block of keys; gives the next state's values.
SmallVector<Value> Emitter::foldBlock(const Tile &tile, Value warpgroup, Value queries, Value rowKeys, Value block,
                                      const State &state) {
  SmallVector<Type> types = {slotType(), rowsType(), rowsType(), fragmentType(kColumnsOfWarpgroup)};
  auto consume = ConsumeOp::create(b, types, keyRing, state.slot);
  b.inBlock(consume.getBody(), {tileType(kColumns)}, [&](Block &stage) {
    Value keys = stage.getArgument(0), values = half(keys, warpgroup), first = b.mul(block, kBlock);
    Value left = b.sub(tile.keys, first);
    b.ifThen(b.less(left, kBlock), [&] {
      // Both read the whole tile as keys: no one before both have cleared their half.
      ClearRowsOp::create(b, values, left);
      SyncOp::create(b, meeting);
    });
    YieldOp::create(b, multiply(queries, keys, values, rowKeys, first, state));
  });
  return SmallVector<Value>(consume.getResults());
}

/// The new maximum, sum and result.
SmallVector<Value> Emitter::multiply(Value queries, Value keys, Value values, Value rowKeys, Value first, const State &state) {
  Value scores = product(queries, keys, /*transposed=*/false, /*into=*/Value(), kBlock);
  auto softmax = SoftmaxOp::create(b, fragmentType(kBlock), rowsType(), rowsType(), rowsType(), scores, state.max, state.sum,
                                   rowKeys, first, b.getF64FloatAttr(config.softmaxScale * std::numbers::log2e));
  Value weights = OperandOfOp::create(b, OperandType::get(b.getContext(), kRows, kBlock), softmax.getWeights());
  Value rescaled = ScaleRowsOp::create(b, fragmentType(kColumnsOfWarpgroup), state.result, softmax.getFactor());
  Value result = product(weights, values, /*transposed=*/true, rescaled, kColumnsOfWarpgroup);
  return {softmax.getNewMax(), softmax.getNewSum(), result};
}

Value Emitter::product(Value a, Value keys, bool transposed, Value into, int64_t columns) {
  auto type = AccumulatorType::get(b.getContext(), kRows, columns);
  return WgmmaWaitOp::create(b, fragmentType(columns), WgmmaOp::create(b, type, a, keys, transposed, into, /*over=*/Value()));
}

void Emitter::store(const Tile &tile, Value warpgroup, Value queries, const State &state) {
  auto end = SoftmaxEndOp::create(b, rowsType(), rowsType(), state.max, state.sum);
  Value normalized = ScaleRowsOp::create(b, fragmentType(kColumnsOfWarpgroup), state.result, end.getInverse());
  Value row = tile.row;
  if (isSplit()) {
    // Part after part, each of all rows.
    row = b.add(row, b.mul(tile.part, b.mul(tokens, config.heads)));
    StoreRowsOp::create(b, normalized, parts, row, b.mul(warpgroup, kColumnsOfWarpgroup), MlaDecodeConfig::kLatent, tile.row,
                        tile.until);
  } else {
    storeResult(tile, warpgroup, queries, normalized);
  }
  if (lse)
    b.ifThen(b.equal(warpgroup, 0), [&] { StoreRowScalesOp::create(b, end.getLse(), lse, row, tile.row, tile.until); });
  // Then the next queries may come.
  if (!isSplit())
    WaitStoresOp::create(b);
}

/// By way of the queries' tile, of which each warpgroup takes its half.
void Emitter::storeResult(const Tile &tile, Value warpgroup, Value queries, Value result) {
  // Both have multiplied by it.
  SyncOp::create(b, meeting);
  StoreTileOp::create(b, result, half(queries, warpgroup), mapO, tile.row, b.mul(warpgroup, kColumnsOfWarpgroup), tile.until,
                      /*transposed=*/false, /*add=*/false, /*follows=*/true);
}

KernelOp emitMlaDecode(HopperBuilder &builder, const MlaDecodeConfig &config, StringRef name) {
  return Emitter(builder, config).emit(name);
}

} // namespace quant::nvvm
