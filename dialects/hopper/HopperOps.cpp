//===- HopperOps.cpp - verifiers of kernels, roles and tiles --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Hopper.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/SmallSet.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace quant::hopper;

#include "dialects/hopper/HopperDialect.cpp.inc"

#define GET_OP_CLASSES
#include "dialects/hopper/HopperOps.cpp.inc"

void HopperDialect::initialize() {
  registerTypes();
  addOperations<
#define GET_OP_LIST
#include "dialects/hopper/HopperOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Kernel
//===----------------------------------------------------------------------===//

ParseResult KernelOp::parse(OpAsmParser &parser, OperationState &state) {
  StringAttr name;
  IntegerAttr cluster;
  SmallVector<OpAsmParser::Argument> arguments;
  return failure(
      parser.parseSymbolName(name, getSymNameAttrName(state.name), state.attributes) ||
      parser.parseArgumentList(arguments, OpAsmParser::Delimiter::Paren, /*allowType=*/true) || parser.parseKeyword("cluster") ||
      parser.parseAttribute(cluster, parser.getBuilder().getI64Type(), getClusterAttrName(state.name), state.attributes) ||
      parser.parseOptionalAttrDictWithKeyword(state.attributes) || parser.parseRegion(*state.addRegion(), arguments));
}

void KernelOp::print(OpAsmPrinter &printer) {
  printer << " ";
  printer.printSymbolName(getSymName());
  printer << "(";
  llvm::interleaveComma(getBody().getArguments(), printer,
                        [&](BlockArgument argument) { printer.printRegionArgument(argument); });
  printer << ") cluster " << getCluster();
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(), {getSymNameAttrName(), getClusterAttrName()});
  printer << " ";
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false);
}

WarpRolesOp KernelOp::getRoles() {
  Block &body = getBody().front();
  return body.empty() ? WarpRolesOp() : dyn_cast<WarpRolesOp>(body.back());
}

int64_t KernelOp::getThreads() {
  int64_t warpgroups = 0;
  for (int64_t count : getRoles().getWarpgroups())
    warpgroups += count;
  return warpgroups * kSm90a.warpgroupThreads();
}

/// Bytes and alignment of what an operation takes of shared memory.
static std::pair<int64_t, int64_t> sharedSize(Operation &op) {
  if (auto alloc = dyn_cast<AllocOp>(op))
    return {alloc.getType().getBytes(), alloc.getType().getAlignment()};
  if (auto groups = dyn_cast<ScanGroupsOp>(op))
    return {groups.getType().getBytes(), GroupsType::kEntryBytes};
  auto ring = dyn_cast<RingOp>(op);
  if (!ring)
    return {0, 1};
  int64_t alignment = kSm90a.mbarrierBytes;
  for (TileType tile : ring.getType().getTiles())
    alignment = std::max(alignment, tile.getAlignment());
  return {ring.getType().getBytes(), alignment};
}

int64_t KernelOp::getSharedOffset(Operation *allocation) {
  int64_t offset = 0;
  for (Operation &op : getBody().front()) {
    auto [bytes, alignment] = sharedSize(op);
    offset = llvm::alignTo(offset, alignment);
    if (&op == allocation)
      break;
    offset += bytes;
  }
  return offset;
}

int64_t KernelOp::getSharedBytes() {
  int64_t end = 0;
  for (Operation &op : getBody().front())
    if (auto [bytes, alignment] = sharedSize(op); bytes > 0)
      end = llvm::alignTo(end, alignment) + bytes;
  return end;
}

/// The role's region that an operation stands in; null outside of roles.
static Region *roleOf(Operation *op) {
  Region *region = op->getParentRegion();
  while (region && !isa<WarpRolesOp>(region->getParentOp()))
    region = region->getParentRegion();
  return region;
}

/// Warps of the roles that consume the ring.
static int64_t consumingWarps(RingOp ring) {
  llvm::SmallSet<Region *, 4> roles;
  for (Operation *user : ring->getUsers()) {
    if (!isa<ConsumeOp>(user))
      continue;
    if (Region *role = roleOf(user))
      roles.insert(role);
  }
  int64_t warps = 0;
  for (Region *role : roles)
    warps += kSm90a.warpgroupWarps * cast<WarpRolesOp>(role->getParentOp()).getWarpgroups()[role->getRegionNumber()];
  return warps;
}

static LogicalResult verifyRing(RingOp ring, int64_t cluster) {
  int64_t blocks = ring.getType().getBlocks(), warps = consumingWarps(ring);
  if (blocks != 1 && blocks != cluster)
    return ring.emitOpError("is shared by ") << blocks << " blocks in a cluster of " << cluster;
  if (warps * blocks != static_cast<int64_t>(ring.getArrivals()))
    return ring.emitOpError("waits for ") << ring.getArrivals() << " arrivals, but " << warps << " warps of " << blocks
                                          << " blocks consume it: " << warps * blocks;
  return success();
}

/// Threads of the roles that come to a barrier.
static LogicalResult verifyNamedBarrier(NamedBarrierOp barrier) {
  llvm::SmallSet<Region *, 4> roles;
  for (Operation *user : barrier->getUsers())
    if (Region *role = roleOf(user))
      roles.insert(role);
  int64_t threads = 0;
  for (Region *role : roles)
    threads += kSm90a.warpgroupThreads() * cast<WarpRolesOp>(role->getParentOp()).getWarpgroups()[role->getRegionNumber()];
  if (threads != barrier.getType().getThreads())
    return barrier.emitOpError("is for ") << barrier.getType().getThreads() << " threads, but the roles that come to it have "
                                          << threads;
  return success();
}

/// Named barriers, whose numbers begin behind those of the block and of its warpgroups.
static LogicalResult verifyNamedBarriers(KernelOp kernel) {
  int64_t used = 1 + kernel.getThreads() / kSm90a.warpgroupThreads();
  for (NamedBarrierOp barrier : kernel.getBody().getOps<NamedBarrierOp>()) {
    if (++used > kSm90a.namedBarriers)
      return barrier.emitOpError("is one too many: a block has ")
             << kSm90a.namedBarriers << ", of which it and its warpgroups take "
             << 1 + kernel.getThreads() / kSm90a.warpgroupThreads();
    if (failed(verifyNamedBarrier(barrier)))
      return failure();
  }
  return success();
}

LogicalResult KernelOp::verifyRegions() {
  if (getCluster() < 1 || getCluster() > static_cast<uint64_t>(kSm90a.blocksPerCluster))
    return emitOpError("has a cluster of ") << getCluster() << " blocks; 1 to " << kSm90a.blocksPerCluster
                                            << " run on every device";
  if (!getRoles())
    return emitOpError("must end in hopper.warp_roles");
  for (BlockArgument argument : getBody().getArguments())
    if (!isa<TensorMapType, GlobalType>(argument.getType()) && !argument.getType().isInteger(32))
      return emitOpError("argument ") << argument.getArgNumber() << " is " << argument.getType()
                                      << ": not a tensor map, an address or an i32";
  if (int64_t bytes = getSharedBytes(); bytes > kSm90a.sharedBytesPerBlock)
    return emitOpError("needs ") << bytes << " bytes of shared memory, a block has " << kSm90a.sharedBytesPerBlock;
  for (RingOp ring : getBody().getOps<RingOp>())
    if (failed(verifyRing(ring, getCluster())))
      return failure();
  return verifyNamedBarriers(*this);
}

//===----------------------------------------------------------------------===//
// Roles and tiles
//===----------------------------------------------------------------------===//

/// `role(2 warpgroups, 232 registers) (%w: i32) { ... }`
static ParseResult parseRole(OpAsmParser &parser, SmallVector<int64_t> &warpgroups, SmallVector<int64_t> &registers,
                             Region *region) {
  OpAsmParser::Argument index;
  int64_t count;
  if (parser.parseLParen() || parser.parseInteger(count) || parser.parseKeyword("warpgroups"))
    return failure();
  warpgroups.push_back(count);
  if (succeeded(parser.parseOptionalComma())) {
    if (parser.parseInteger(count) || parser.parseKeyword("registers"))
      return failure();
    registers.push_back(count);
  }
  return failure(parser.parseRParen() || parser.parseLParen() || parser.parseArgument(index, /*allowType=*/true) ||
                 parser.parseRParen() || parser.parseRegion(*region, {index}));
}

ParseResult WarpRolesOp::parse(OpAsmParser &parser, OperationState &state) {
  SmallVector<int64_t> warpgroups, registers;
  if (parser.parseLBrace())
    return failure();
  while (succeeded(parser.parseOptionalKeyword("role")))
    if (parseRole(parser, warpgroups, registers, state.addRegion()))
      return failure();
  if (parser.parseRBrace() || parser.parseOptionalAttrDict(state.attributes))
    return failure();
  Builder &builder = parser.getBuilder();
  state.addAttribute(getWarpgroupsAttrName(state.name), builder.getDenseI64ArrayAttr(warpgroups));
  state.addAttribute(getRegistersAttrName(state.name), builder.getDenseI64ArrayAttr(registers));
  return success();
}

void WarpRolesOp::print(OpAsmPrinter &printer) {
  printer << " {";
  printer.increaseIndent();
  for (auto [index, role] : llvm::enumerate(getRoles())) {
    printer.printNewline();
    printer << "role(" << getWarpgroups()[index] << " warpgroups";
    if (!getRegisters().empty())
      printer << ", " << getRegisters()[index] << " registers";
    printer << ") (";
    printer.printRegionArgument(role.getArgument(0));
    printer << ") ";
    printer.printRegion(role, /*printEntryBlockArgs=*/false);
  }
  printer.decreaseIndent();
  printer.printNewline();
  printer << "}";
  printer.printOptionalAttrDict((*this)->getAttrs(), {getWarpgroupsAttrName(), getRegistersAttrName()});
}

LogicalResult WarpRolesOp::verify() {
  ArrayRef<int64_t> warpgroups = getWarpgroups(), registers = getRegisters();
  if (warpgroups.empty() || warpgroups.size() != getRoles().size() ||
      (!registers.empty() && registers.size() != warpgroups.size()))
    return emitOpError("needs warpgroups for every role, and registers for all roles or none");
  int64_t threads = 0, wanted = 0;
  for (auto [index, role] : llvm::enumerate(getRoles())) {
    if (role.getNumArguments() != 1 || !role.getArgument(0).getType().isInteger(32) || warpgroups[index] < 1)
      return emitOpError("role ") << index << " needs at least one warpgroup and an i32 that counts them";
    threads += warpgroups[index] * kSm90a.warpgroupThreads();
    if (registers.empty())
      continue;
    wanted += registers[index] * warpgroups[index] * kSm90a.warpgroupThreads();
    if (registers[index] < kSm90a.minThreadRegisters || registers[index] > kSm90a.maxThreadRegisters ||
        registers[index] % kSm90a.registerUnit)
      return emitOpError("role ") << index << " wants " << registers[index] << " registers; setmaxnreg takes multiples of "
                                  << kSm90a.registerUnit << " from " << kSm90a.minThreadRegisters << " to "
                                  << kSm90a.maxThreadRegisters;
  }
  if (threads > kSm90a.threadsPerBlock)
    return emitOpError("has ") << threads << " threads, a block has at most " << kSm90a.threadsPerBlock;
  int64_t given = kSm90a.registersAtLaunch(threads) * threads;
  if (wanted > given)
    return emitOpError("wants ") << wanted << " registers, but a launch of " << threads << " threads gets " << given / threads
                                 << " each: " << given;
  return success();
}

void WarpRolesOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  setName(region.getArgument(0), "warpgroup");
}

void ForTilesOp::getAsmBlockArgumentNames(Region &region, OpAsmSetValueNameFn setName) {
  SmallVector<StringRef> names = {"m0", "n0", "tile", "part"};
  if (getGroups())
    names.append({"g", "until"});
  names.push_back("slot");
  for (auto [argument, name] : llvm::zip(region.getArguments(), names))
    setName(argument, name);
}

/// What holds of a loop over the tiles of groups.
static LogicalResult verifyGroups(ForTilesOp op) {
  if (op.getParts() != 1 || op.getOnly())
    return op.emitOpError("of groups visits all tiles, in one part each");
  auto kernel = op->getParentOfType<KernelOp>();
  int64_t paired = kernel && op.getPairs() && *op.getPairs() == "rows" ? static_cast<int64_t>(kernel.getCluster()) : 1;
  if (int64_t rows = op.getTile()[0] * paired; rows != op.getGroups().getType().getRows())
    return op.emitOpError("takes ") << rows << " rows at a time, of " << op.getGroups().getType();
  return success();
}

LogicalResult ForTilesOp::verifyRegions() {
  if (getN() < 1 || getTile().size() != 2 || getTile()[0] < 1 || getTile()[1] < 1 || getGroup() < 1 || getParts() < 1)
    return emitOpError("needs a matrix, tiles of rows x columns, a group and parts of at least 1");
  if (getPairs() && *getPairs() != "rows" && *getPairs() != "columns")
    return emitOpError("pairs are of \"rows\" or \"columns\", not \"") << *getPairs() << "\"";
  if (getOnly() && *getOnly() != "first" && *getOnly() != "rest")
    return emitOpError("visits only the \"first\" tile or the \"rest\", not \"") << *getOnly() << "\"";
  Block &body = getBody().front();
  if (!getM() == !getGroups())
    return emitOpError("walks a matrix of m rows, or groups of them");
  SmallVector<Type> expected(getTileArguments(), IntegerType::get(getContext(), 32));
  llvm::append_range(expected, getInit().getTypes());
  if (body.getArgumentTypes() != TypeRange(expected))
    return emitOpError("body takes the tile's first row and column, its number and the part")
           << (getGroups() ? ", the group and the row behind its last" : "") << " (i32), then what is carried";
  if (body.getTerminator()->getOperandTypes() != getResultTypes() || getInit().getTypes() != getResultTypes())
    return emitOpError("carries ") << getInit().getTypes() << " but yields " << body.getTerminator()->getOperandTypes();
  auto kernel = (*this)->getParentOfType<KernelOp>();
  if (getPairs() && (!kernel || kernel.getCluster() == 1))
    return emitOpError("pairs tiles of a cluster, which the kernel has not");
  return getGroups() ? verifyGroups(*this) : success();
}

LogicalResult ScanGroupsOp::verify() {
  if (!getCounts().getType().getElementType().isInteger(32))
    return emitOpError("reads i32, not ") << getCounts().getType().getElementType();
  if (getMasked() && getAligned() != 1)
    return emitOpError("of masked groups, each in a place of its own, is not aligned");
  return success();
}

LogicalResult TileAtOp::verify() {
  TileType tile = getTile().getType();
  auto one = TileType::get(getContext(), tile.getShape().take_back(2), tile.getElementType(), tile.getSwizzle());
  if (tile.getShape().size() != 3 || getType() != one)
    return emitOpError("of ") << tile << " is " << one << ", not " << getType();
  return success();
}

LogicalResult TileColumnsOp::verify() {
  TileType tile = getTile().getType(), part = getType();
  if (tile.getCopies() != 1 || part.getCopies() != 1 || !tile.getSwizzle() || part.getRows() != tile.getRows() ||
      part.getElementType() != tile.getElementType() || part.getSwizzle() != tile.getSwizzle() ||
      part.getColumns() > tile.getColumns())
    return emitOpError("of ") << tile << " cannot be " << part << ": it takes whole panels of a swizzled tile";
  return success();
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

static LogicalResult verifyStageArguments(Operation *op, RingType ring, Block &body) {
  SmallVector<Type> tiles(ring.getTiles().begin(), ring.getTiles().end());
  if (body.getArgumentTypes() != TypeRange(tiles))
    return op->emitOpError("body must take the tiles of a stage of ") << ring;
  return success();
}

LogicalResult ProduceOp::verifyRegions() {
  Block &body = getBody().front();
  if (failed(verifyStageArguments(*this, getRing().getType(), body)))
    return failure();
  if (getBegin() && getFinish())
    return emitOpError("cannot begin and finish: that is a produce without either");
  for (BlockArgument tile : body.getArguments()) {
    int64_t loads = 0;
    for (Operation *user : tile.getUsers())
      loads += isa<TmaLoadOp>(user);
    if (loads != 1 && !(loads == 0 && (getBegin() || getFinish())))
      return emitOpError("fills tile ") << tile.getArgNumber() << " of the stage " << loads << " times: its full barrier expects "
                                        << getRing().getType().getStageBytes() << " bytes, each tile's once";
  }
  return success();
}

LogicalResult ConsumeOp::verifyRegions() {
  Block &body = getBody().front();
  if (failed(verifyStageArguments(*this, getRing().getType(), body)))
    return failure();
  if (body.getTerminator()->getOperandTypes() != getValues().getTypes())
    return emitOpError("gives ") << getValues().getTypes() << " but yields " << body.getTerminator()->getOperandTypes();
  return success();
}

static LogicalResult verifyUntil(Operation *op, TensorMapType map, Value until) {
  if (map.getRagged() != static_cast<bool>(until))
    return op->emitOpError("says `until` which row a group goes where the map is ragged, and only there: ") << map;
  return success();
}

LogicalResult TmaLoadOp::verify() {
  TensorMapType map = getMap().getType();
  TileType tile = getTile().getType();
  if (map.getElementType() != tile.getElementType() || map.getSwizzle() != tile.getSwizzle())
    return emitOpError("element type and swizzle of ") << map << " and " << tile << " differ";
  if (getAt().size() != map.getRank())
    return emitOpError("gives ") << getAt().size() << " coordinates in " << map;
  if (failed(verifyUntil(*this, map, getUntil())))
    return failure();
  int64_t rows = tile.getCopies() * tile.getRows();
  int64_t blocks = getMulticast() ? cast<ProduceOp>((*this)->getParentOp()).getRing().getType().getBlocks() : 1;
  if (getMulticast() && blocks == 1)
    return emitOpError("multicasts into a ring of one block: a ring is `shared by` the blocks of a cluster");
  if (map.getRows() * blocks != rows)
    return emitOpError("brings ") << blocks << " x " << map.getRows() << " rows for a tile of " << rows;
  bool isWhole = map.getColumns() == tile.getColumns(), isCopy = tile.getCopies() == 1 && !getMulticast();
  if (map.getColumns() != tile.getPanelColumns() || (!isWhole && !isCopy))
    return emitOpError("box has ") << map.getColumns() << " columns, the tile " << tile.getColumns() << " in panels of "
                                   << tile.getPanelColumns();
  if (int64_t share = tile.getBytes() / blocks, unit = tile.getAlignment(); blocks > 1 && share % unit)
    return emitOpError("each block's share is ") << share << " bytes, which is no multiple of " << unit;
  return success();
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

LogicalResult StoreRowScalesOp::verify() {
  if (!getPointer().getType().getElementType().isF32())
    return emitOpError("stores f32, not ") << getPointer().getType().getElementType();
  return success();
}

LogicalResult RopeRowsOp::verify() {
  for (Type element : {getFrom().getType().getElementType(), getTo().getType().getElementType()})
    if (!element.isBF16() && !element.isF32())
      return emitOpError("turns rows of bf16 or f32, not ") << element;
  if (!getTable().getType().getElementType().isF32())
    return emitOpError("has a table of f32, not ") << getTable().getType().getElementType();
  if (getSize() % 2)
    return emitOpError("turns pairs: ") << getSize() << " numbers are none";
  return success();
}

LogicalResult StoreTileOp::verify() {
  FragmentType sum = getSum().getType();
  TileType staging = getStaging().getType();
  TensorMapType map = getMap().getType();
  int64_t rows = getTransposed() ? sum.getColumns() : sum.getRows(), columns = getTransposed() ? sum.getRows() : sum.getColumns();
  if (staging.getCopies() != 1 || staging.getRows() != rows || staging.getColumns() != columns)
    return emitOpError("stages ") << rows << " x " << columns << " in " << staging;
  bool isCodes = isa<Float8E4M3FNType>(staging.getElementType());
  if (!staging.getElementType().isBF16() && !staging.getElementType().isF32() && !isCodes)
    return emitOpError("stores bf16, f32 or f8E4M3FN, not ") << staging.getElementType();
  if (isCodes && (getTransposed() || getAdd()))
    return emitOpError("of f8E4M3FN neither transposes nor adds");
  if (!staging.getSwizzle())
    return emitOpError("staging tile needs a swizzle, which spreads it over the banks");
  if (map.getElementType() != staging.getElementType() || map.getSwizzle() != staging.getSwizzle() || map.getRows() != rows ||
      map.getColumns() != staging.getPanelColumns())
    return emitOpError("stores panels of ") << staging << ": " << rows << " x " << staging.getPanelColumns() << ", not " << map;
  if (map.getRank() != 2)
    return emitOpError("stores to one matrix, not to ") << map;
  return verifyUntil(*this, map, getUntil());
}
