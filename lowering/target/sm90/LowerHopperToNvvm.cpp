//===- LowerHopperToNvvm.cpp - kernels, roles and the tile scheduler ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/HopperLowering.h"
#include "lowering/target/sm90/NvvmSupport.h"
#include "lowering/target/sm90/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/SCF/Transforms/Patterns.h"
#include "mlir/Dialect/SCF/Utils/Utils.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace quant {
#define GEN_PASS_DEF_LOWERHOPPERTONVVM
#include "lowering/target/sm90/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::hopper;

namespace quant::nvvm {

static constexpr unsigned kGlobal = 1;
/// On an scf.for: how many iterations to write out in one. LLVM does not unroll loops with convergent operations.
static constexpr StringLiteral kUnrollAttr = "hopper.unroll";

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

HopperTypeConverter::HopperTypeConverter(MLIRContext *context) {
  auto pointer = [=](unsigned space) { return LLVM::LLVMPointerType::get(context, space); };
  auto floats = [=](int64_t count) { return VectorType::get(count, Float32Type::get(context)); };
  addConversion([](Type type) { return type; });
  addConversion([=](TensorMapType) -> Type { return pointer(0); });
  addConversion([=](GlobalType) -> Type { return pointer(kGlobal); });
  addConversion([=](TileType) -> Type { return IntegerType::get(context, 32); });
  addConversion([=](GroupsType) -> Type { return IntegerType::get(context, 32); });
  addConversion([=](RingType) -> Type { return IntegerType::get(context, 32); });
  addConversion([=](SlotType) -> Type { return VectorType::get(2, IntegerType::get(context, 32)); });
  addConversion([=](AccumulatorType type) -> Type {
    SmallVector<Type> registers(type.getColumns() / 2, type.getElementType());
    return LLVM::LLVMStructType::getLiteral(context, registers);
  });
  addConversion([=](OperandType type) -> Type { return VectorType::get(type.getRegisters(), IntegerType::get(context, 32)); });
  addConversion([=](RowKeysType) -> Type { return VectorType::get(2, IntegerType::get(context, 32)); });
  addConversion([=](NamedBarrierType) -> Type { return IntegerType::get(context, 32); });
  addConversion([=](FragmentType type) -> Type { return VectorType::get(type.getValues(), type.getElementType()); });
  addConversion([=](RowScalesType) -> Type { return floats(2); });
  addConversion([=](ColumnScalesType type) -> Type { return floats(type.getColumns() / 4); });
}

KernelContext &HopperLowering::contextOf(Operation *op) { return kernels[op->getParentOfType<LLVM::LLVMFuncOp>()]; }
bool HopperLowering::isInKernel(Operation *op) const { return kernels.contains(op->getParentOfType<LLVM::LLVMFuncOp>()); }

//===----------------------------------------------------------------------===//
// Kernel
//===----------------------------------------------------------------------===//

/// Argument attributes. gpu.func would reject nvvm.grid_constant and drop llvm.byval, hence an llvm.func.
static DictionaryAttr argumentAttributes(Builder &builder, BlockArgument argument) {
  Type type = argument.getType();
  if (isa<TensorMapType>(type)) {
    // By value in parameter memory and never written: TMA reads the tensor map right there.
    auto mapType = TypeAttr::get(LLVM::LLVMArrayType::get(builder.getI8Type(), 128));
    return builder.getDictionaryAttr({builder.getNamedAttr("llvm.byval", mapType),
                                      builder.getNamedAttr("llvm.align", builder.getI64IntegerAttr(64)),
                                      builder.getNamedAttr("nvvm.grid_constant", builder.getUnitAttr())});
  }
  // What other blocks write while the kernel runs, or a kernel before until this one has waited for it, may change behind this
  // block's back: with noalias LLVM would read it through the cache that is not coherent.
  bool isShared = llvm::any_of(argument.getUsers(), [](Operation *user) {
    return isa<CombinePartsOp, ScanGroupsOp, ForQueriesOp, LoadRowKeysOp, LoadIndexOp, LoadScalesOp, RopeRowsOp>(user);
  });
  if (isa<GlobalType>(type) && !isShared)
    return builder.getDictionaryAttr(builder.getNamedAttr("llvm.noalias", builder.getUnitAttr()));
  return builder.getDictionaryAttr({});
}

static LLVM::LLVMFuncOp createFunction(KernelOp op, HopperBuilder &b, const TypeConverter &types) {
  SmallVector<Type> arguments;
  SmallVector<DictionaryAttr> argumentAttrs;
  for (BlockArgument argument : op.getBody().getArguments()) {
    arguments.push_back(types.convertType(argument.getType()));
    argumentAttrs.push_back(argumentAttributes(b, argument));
  }
  return createKernelFunction(b, op.getSymName(), arguments, argumentAttrs, op.getThreads(), op.getCluster());
}

static bool drainsAllRings(KernelOp op) {
  auto rings = op.getBody().front().getOps<RingOp>();
  return !rings.empty() && llvm::all_of(rings, [](RingOp ring) {
    return llvm::any_of(ring->getUsers(), [](Operation *user) { return isa<DrainOp>(user); });
  });
}

namespace {
struct LowerKernel : HopperPattern<KernelOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(KernelOp op, Adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    declareDynamicShared(b, op->getParentOp());
    KernelContext kernel;
    kernel.threads = op.getThreads();
    kernel.cluster = op.getCluster();
    kernel.drained = drainsAllRings(op);
    SmallVector<bool> isMap;
    for (Type type : op.getBody().getArgumentTypes())
      isMap.push_back(isa<TensorMapType>(type));
    auto function = createFunction(op, b, *getTypeConverter());
    rewriter.inlineRegionBefore(op.getBody(), function.getBody(), function.end());
    if (failed(rewriter.convertRegionTypes(&function.getBody(), *getTypeConverter())))
      return rewriter.notifyMatchFailure(op, "an argument has no type on the GPU");
    Block &entry = function.getBody().front();
    for (auto [map, argument] : llvm::zip_equal(isMap, entry.getArguments()))
      if (map)
        kernel.maps.push_back({argument});
    b.setInsertionPointToStart(&entry);
    kernel.shared = b.sharedAddress(b.dynamicShared());
    kernel.thread = b.threadIndex();
    kernel.lane = b.bitAnd(kernel.thread, 31);
    kernel.warp = b.broadcastFromLane0(b.shiftRight(kernel.thread, 5));
    kernel.warpgroup = b.shiftRight(kernel.warp, 2);
    b.setInsertionPointToEnd(&entry);
    LLVM::ReturnOp::create(b, ValueRange());
    lowering.kernels[function] = kernel;
    rewriter.eraseOp(op);
    return success();
  }
};

//===----------------------------------------------------------------------===//
// Roles
//===----------------------------------------------------------------------===//

struct LowerWarpRoles : HopperPattern<WarpRolesOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(WarpRolesOp op, Adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    const KernelContext &kernel = lowering.contextOf(op);
    int64_t lastWarpgroup = kernel.threads / kSm90a.warpgroupThreads() - 1;
    Value isSetupWarp = b.equal(kernel.warp, b.int32(lastWarpgroup * kSm90a.warpgroupWarps));
    b.ifThen(isSetupWarp, [&] { b.ifThen(b.electOneLane(), [&] { emitBarrierSetup(kernel, b); }); });
    // The table of groups is ordinary shared memory, which a relaxed arrival does not order.
    kernel.cluster > 1 ? b.syncCluster(/*relaxed=*/!kernel.scansGroups) : b.syncBlock();
    emitRole(op, 0, 0, kernel, b, rewriter);
    // Else a block could end while others still arrive at its barriers.
    if (kernel.cluster > 1 && !kernel.drained)
      b.syncCluster(/*relaxed=*/false);
    rewriter.eraseOp(op);
    return success();
  }

private:
  /// A branch on the warp-uniform number of the warpgroup, the form in which ptxas accepts setmaxnreg, for every role but the
  /// last.
  static void emitRole(WarpRolesOp op, size_t index, int64_t first, const KernelContext &kernel, HopperBuilder &b,
                       ConversionPatternRewriter &rewriter) {
    if (index + 1 == op.getWarpgroups().size())
      return emitBody(op, index, first, kernel, b, rewriter);
    int64_t end = first + op.getWarpgroups()[index];
    b.ifThen(
        b.below(kernel.warpgroup, b.int32(end)), [&] { emitBody(op, index, first, kernel, b, rewriter); },
        [&] { emitRole(op, index + 1, end, kernel, b, rewriter); });
  }

  static void emitBody(WarpRolesOp op, size_t index, int64_t first, const KernelContext &kernel, HopperBuilder &b,
                       ConversionPatternRewriter &rewriter) {
    if (!op.getRegisters().empty()) {
      int64_t registers = op.getRegisters()[index];
      registers < kSm90a.registersPerSm / kernel.threads ? b.decreaseRegisters(registers) : b.increaseRegisters(registers);
    }
    Value inRole = b.sub(kernel.warpgroup, b.int32(first));
    rewriter.inlineBlockBefore(&op.getRoles()[index].front(), b.getInsertionBlock(), b.getInsertionPoint(), inRole);
  }
};

struct LowerOneThread : HopperPattern<OneThreadOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(OneThreadOp op, Adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    Value isFirstWarp = b.equal(lowering.contextOf(op).warpInGroup(b), b.int32(0));
    b.ifThen(isFirstWarp, [&] {
      b.ifThen(b.electOneLane(),
               [&] { rewriter.inlineBlockBefore(&op.getBody().front(), b.getInsertionBlock(), b.getInsertionPoint()); });
    });
    rewriter.eraseOp(op);
    return success();
  }
};

/// An operation that is one instruction.
template <typename Op, void (HopperBuilder::*emit)()>
void lowerInstruction(HopperLowering &, Op, typename Op::Adaptor, HopperBuilder &b) {
  (b.*emit)();
}

//===----------------------------------------------------------------------===//
// Scheduler
//===----------------------------------------------------------------------===//

struct LowerForTiles : HopperPattern<ForTilesOp> {
  using HopperPattern::HopperPattern;

  LogicalResult lower(ForTilesOp op, Adaptor adaptor, HopperBuilder &b, ConversionPatternRewriter &rewriter) const override {
    Shape shape = shapeOf(op, lowering.contextOf(op).cluster);
    // The blocks of a cluster walk together: what follows counts the tiles of clusters.
    Value cellsM = cellsOfRows(op, adaptor, shape, b);
    Value count = b.mul(cellsM, shape.cellsN * op.getParts());
    Value begin = divideBy(b, b.blockIndex(), shape.cluster()), step = divideBy(b, b.gridSize(), shape.cluster());
    Value end = count;
    if (op.getOnly() && *op.getOnly() == "first")
      end = b.minUnsigned(count, b.add(begin, 1));
    else if (op.getOnly())
      begin = b.add(begin, step);
    auto loop = scf::ForOp::create(b, begin, end, step, adaptor.getInit());
    if (adaptor.getInit().empty())
      rewriter.eraseOp(loop.getBody()->getTerminator());
    if (failed(rewriter.convertRegionTypes(&op.getBody(), *getTypeConverter())))
      return rewriter.notifyMatchFailure(op, "what is carried has no type on the GPU");
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(loop.getBody());
      SmallVector<Value> arguments = op.getGroups() ? tileOfGroups(op, adaptor.getGroups(), shape, loop.getInductionVar(), b)
                                                    : tileAt(op, shape, cellsM, loop.getInductionVar(), b);
      llvm::append_range(arguments, loop.getRegionIterArgs());
      rewriter.inlineBlockBefore(&op.getBody().front(), loop.getBody(), loop.getBody()->end(), arguments);
    }
    rewriter.replaceOp(op, loop.getResults());
    return success();
  }

private:
  /// The tiles of a cluster make a cell: clusterM x clusterN tiles.
  struct Shape {
    int64_t clusterM, clusterN, cellsN;
    int64_t cluster() const { return clusterM * clusterN; }
  };

  static Shape shapeOf(ForTilesOp op, int64_t cluster) {
    Shape shape = {1, 1, op.getTilesN()};
    if (op.getPairs())
      (*op.getPairs() == "rows" ? shape.clusterM : shape.clusterN) = cluster;
    shape.cellsN = (op.getTilesN() + shape.clusterN - 1) / shape.clusterN;
    return shape;
  }

  static Value divideBy(HopperBuilder &b, Value a, int64_t by) { return by == 1 ? a : b.div(a, b.int32(by)); }
  static Value ceilDiv(HopperBuilder &b, Value a, int64_t by) { return divideBy(b, by == 1 ? a : b.add(a, by - 1), by); }

  static Value cellsOfRows(ForTilesOp op, Adaptor adaptor, const Shape &shape, HopperBuilder &b) {
    if (op.getGroups())
      return tilesOfGroups(b, op.getGroups().getType(), adaptor.getGroups());
    Value tilesM = b.div(b.add(adaptor.getM(), op.getTile()[0] - 1), b.int32(op.getTile()[0]));
    return ceilDiv(b, tilesM, shape.clusterM);
  }

  /// What tileAt gives of the matrix that a group's rows are, then the group and the row behind its last.
  static SmallVector<Value> tileOfGroups(ForTilesOp op, Value table, const Shape &shape, Value index, HopperBuilder &b) {
    GroupEntry group = findGroup(b, op.getGroups().getType(), table, divideBy(b, index, shape.cellsN));
    Value inGroup = b.sub(index, b.mul(group.tilesBefore, shape.cellsN));
    SmallVector<Value> tile = tileAt(op, shape, group.tiles, inGroup, b);
    tile[0] = b.add(tile[0], group.first);
    tile.append({group.index, group.until});
    return tile;
  }

  /// First row, first column, number and part of the tile that this block computes of cell `index`.
  static SmallVector<Value> tileAt(ForTilesOp op, const Shape &shape, Value cellsM, Value index, HopperBuilder &b) {
    // Parts of one tile run side by side.
    Value cell = divideBy(b, index, op.getParts()), part = b.sub(index, b.mul(cell, op.getParts()));
    int64_t cellsOfGroup = op.getGroup() * shape.cellsN;
    Value group = divideBy(b, cell, cellsOfGroup);
    Value inGroup = b.sub(cell, b.mul(group, cellsOfGroup));
    Value firstM = b.mul(group, op.getGroup());
    Value groupM = b.minUnsigned(b.sub(cellsM, firstM), b.int32(op.getGroup()));
    Value indexN = b.div(inGroup, groupM);
    Value indexM = b.add(firstM, b.sub(inGroup, b.mul(indexN, groupM)));
    if (shape.clusterM > 1)
      indexM = b.add(b.mul(indexM, shape.clusterM), b.clusterRank());
    if (shape.clusterN > 1)
      indexN = b.add(b.mul(indexN, shape.clusterN), b.clusterRank());
    Value number = b.add(b.mul(indexM, shape.cellsN * shape.clusterN), indexN);
    return {b.mul(indexM, op.getTile()[0]), b.mul(indexN, op.getTile()[1]), number, part};
  }
};

struct LowerYield : HopperPattern<YieldOp> {
  using HopperPattern::HopperPattern;
  LogicalResult lower(YieldOp op, Adaptor adaptor, HopperBuilder &, ConversionPatternRewriter &rewriter) const override {
    if (!isa<scf::ForOp, scf::IfOp>(op->getParentOp()))
      return rewriter.notifyMatchFailure(op, "the operation around it is not lowered");
    rewriter.replaceOpWithNewOp<scf::YieldOp>(op, adaptor.getValues());
    return success();
  }
};
} // namespace

void populateKernelPatterns(RewritePatternSet &patterns, HopperLowering &lowering) {
  patterns.add<LowerKernel, LowerWarpRoles, LowerOneThread, LowerForTiles, LowerYield,
               LowerBy<lowerInstruction<LaunchDependentsOp, &HopperBuilder::launchDependents>>,
               LowerBy<lowerInstruction<WaitPrerequisitesOp, &HopperBuilder::waitPrerequisites>>>(lowering);
}

//===----------------------------------------------------------------------===//
// Pass
//===----------------------------------------------------------------------===//

/// Notes what later cannot be asked any more, since operations are lowered from the outside in.
static void collect(Operation *root, HopperLowering &lowering) {
  root->walk([&](Operation *op) {
    if (isa<AllocOp, RingOp, ScanGroupsOp>(op))
      lowering.sharedOffsets[op] = op->getParentOfType<KernelOp>().getSharedOffset(op);
    if (isa<NamedBarrierOp>(op)) {
      auto kernel = op->getParentOfType<KernelOp>();
      auto before = llvm::count_if(*op->getBlock(),
                                   [&](Operation &other) { return isa<NamedBarrierOp>(other) && other.isBeforeInBlock(op); });
      lowering.barrierNumbers[op] = 1 + kernel.getThreads() / kSm90a.warpgroupThreads() + before;
    }
    if (auto produce = dyn_cast<ProduceOp>(op))
      for (auto load : produce.getOps<TmaLoadOp>()) {
        lowering.producers[load] = produce;
        lowering.multicastBlocks[load] = produce.getRing().getType().getBlocks();
      }
  });
}

static LogicalResult unrollLoops(Operation *root) {
  SmallVector<scf::ForOp> loops;
  root->walk([&](scf::ForOp loop) {
    if (loop->hasAttr(kUnrollAttr))
      loops.push_back(loop);
  });
  for (scf::ForOp loop : loops) {
    auto factor = dyn_cast<IntegerAttr>(loop->removeAttr(kUnrollAttr));
    if (!factor || factor.getInt() < 1)
      return loop.emitError() << kUnrollAttr << " must be a positive number";
    if (factor.getInt() > 1 && failed(loopUnrollByFactor(loop, factor.getInt())))
      return loop.emitError() << "cannot be unrolled";
  }
  return success();
}

namespace {
struct LowerHopperToNvvm : quant::impl::LowerHopperToNvvmBase<LowerHopperToNvvm> {
  void getDependentDialects(DialectRegistry &registry) const override {
    LowerHopperToNvvmBase::getDependentDialects(registry);
    insertNvvmDialect(registry);
  }

  void runOnOperation() override {
    if (failed(unrollLoops(getOperation())))
      return signalPassFailure();
    HopperLowering lowering(&getContext());
    collect(getOperation(), lowering);
    RewritePatternSet patterns(&getContext());
    populateKernelPatterns(patterns, lowering);
    populateGroupPatterns(patterns, lowering);
    populateRingPatterns(patterns, lowering);
    populateMathPatterns(patterns, lowering);
    populateAttentionPatterns(patterns, lowering);
    populateEpiloguePatterns(patterns, lowering);
    ConversionTarget target(getContext());
    target.addIllegalDialect<HopperDialect>();
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    scf::populateSCFStructuralTypeConversionsAndLegality(lowering.types, patterns, target);
    if (failed(applyPartialConversion(getOperation(), target, std::move(patterns))))
      signalPassFailure();
  }
};
} // namespace

} // namespace quant::nvvm
