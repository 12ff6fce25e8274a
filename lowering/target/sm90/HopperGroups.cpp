//===- HopperGroups.cpp - groups of rows that the device counts ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A table in shared memory instead of a walk over the groups: one warp makes it once, each lane for neighbouring groups, by a
// scan over the lanes; then a tile's group is found by bisection, in any thread and without others.
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/HopperLowering.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace quant;
using namespace quant::hopper;

namespace quant::nvvm {

static constexpr unsigned kI32Bytes = 4;
static constexpr unsigned kEntryBytes = GroupsType::kEntryBytes;

//===----------------------------------------------------------------------===//
// Looking up
//===----------------------------------------------------------------------===//

static Value entryAt(HopperBuilder &b, Value table, Value index) {
  return b.sharedPointer(b.add(table, b.mul(index, kEntryBytes)));
}

Value tilesOfGroups(HopperBuilder &b, GroupsType type, Value table) {
  return b.load(b.i32(), entryAt(b, table, b.int32(type.getCount())), kI32Bytes);
}

GroupEntry findGroup(HopperBuilder &b, GroupsType type, Value table, Value tile) {
  // The last group before whose tiles there are no more than `tile`. The entry behind the last group has more before it.
  Value group = b.int32(0), count = b.int32(type.getCount());
  for (auto step = static_cast<int64_t>(llvm::PowerOf2Ceil(type.getCount()) / 2); step > 0; step /= 2) {
    Value later = b.minUnsigned(b.add(group, step), count);
    Value before = b.load(b.i32(), entryAt(b, table, later), kI32Bytes);
    group = b.select(b.below(tile, before), group, later);
  }
  Value entry = b.load(VectorType::get(4, b.i32()), entryAt(b, table, group), kEntryBytes);
  return {group, b.extract(entry, 0), b.extract(entry, 1), b.extract(entry, 2), b.extract(entry, 3)};
}

//===----------------------------------------------------------------------===//
// Making the table
//===----------------------------------------------------------------------===//

namespace {
/// Makes the entries of a lane's groups.
class GroupScan {
public:
  GroupScan(HopperBuilder &b, ScanGroupsOp op, ScanGroupsOp::Adaptor adaptor, const KernelContext &kernel, Value table)
      : b(b), op(op), counts(adaptor.getCounts()), rows(adaptor.getRows()), lane(kernel.lane), table(table),
        count(op.getType().getCount()), each(llvm::divideCeil(count, kSm90a.warpThreads)) {}

  void emit() {
    Value firstGroup = b.mul(lane, each), end = op.getMasked() ? Value() : endBefore(firstGroup);
    SmallVector<Group> groups;
    Value ofLane = b.int32(0);
    for (int64_t i = 0; i < each; ++i) {
      Group group = groupAt(b.add(firstGroup, i), end);
      end = group.loadedEnd;
      group.tilesBefore = ofLane;
      ofLane = b.add(ofLane, group.tiles);
      groups.push_back(group);
    }
    Value upToLane = sumOverLanes(ofLane), before = b.sub(upToLane, ofLane);
    for (const Group &group : groups)
      b.ifThen(group.exists,
               [&] { store(group.index, {b.add(before, group.tilesBefore), group.tiles, group.first, group.until}); });
    Value zero = b.int32(0);
    b.ifThen(b.equal(lane, kSm90a.warpThreads - 1), [&] { store(b.int32(count), {upToLane, zero, zero, zero}); });
  }

private:
  struct Group {
    Value index, exists, tiles, first, until, loadedEnd, tilesBefore;
  };

  Value loadCount(Value index) {
    Value inside = b.minUnsigned(index, b.int32(count - 1));
    Value loaded = b.load(b.i32(), b.at(counts, b.i32(), inside), kI32Bytes);
    return b.max(b.min(loaded, rows), b.int32(0));
  }

  /// Where the group before ends.
  Value endBefore(Value index) {
    Value isFirst = b.equal(index, 0);
    return b.select(isFirst, b.int32(0), loadCount(b.select(isFirst, index, b.sub(index, 1))));
  }

  Group groupAt(Value index, Value endBefore) {
    Group group;
    group.index = index;
    group.exists = b.below(index, b.int32(count));
    group.loadedEnd = loadCount(index);
    if (op.getMasked()) {
      group.first = b.mul(index, rows);
      group.until = b.add(group.first, group.loadedEnd);
    } else {
      auto unit = static_cast<int64_t>(op.getAligned());
      group.first = b.mul(b.div(b.add(endBefore, unit - 1), unit), unit);
      // At least where it begins: then it has no row.
      group.until = b.max(group.loadedEnd, group.first);
    }
    int64_t rowsOfTile = op.getType().getRows();
    Value tiles = b.div(b.add(b.sub(group.until, group.first), rowsOfTile - 1), rowsOfTile);
    group.tiles = b.select(group.exists, tiles, b.int32(0));
    return group;
  }

  /// Of each lane what it and the lanes below have.
  Value sumOverLanes(Value value) {
    for (int64_t lanes = 1; lanes < kSm90a.warpThreads; lanes *= 2) {
      Value below = b.shuffleUp(value, lanes);
      value = b.add(value, b.select(b.below(lane, b.int32(lanes)), b.int32(0), below));
    }
    return value;
  }

  void store(Value index, ArrayRef<Value> entry) { b.store(b.pack(entry), entryAt(b, table, index), kEntryBytes); }

  HopperBuilder &b;
  ScanGroupsOp op;
  Value counts, rows, lane, table;
  int64_t count, each;
};
} // namespace

static Value lowerScanGroups(HopperLowering &lowering, ScanGroupsOp op, ScanGroupsOp::Adaptor adaptor, HopperBuilder &b) {
  KernelContext &kernel = lowering.contextOf(op);
  kernel.scansGroups = true;
  Value table = b.add(kernel.shared, lowering.sharedOffsets.lookup(op));
  // While another warp sets up the barriers.
  b.ifThen(b.equal(kernel.warp, b.int32(0)), [&] {
    b.waitPrerequisites();
    GroupScan(b, op, adaptor, kernel, table).emit();
  });
  return table;
}

void populateGroupPatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns.add<LowerBy<lowerScanGroups>>(lowering);
}

} // namespace quant::nvvm
