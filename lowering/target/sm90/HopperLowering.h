//===- HopperLowering.h - what the patterns of lower-hopper-to-nvvm share -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_HOPPERLOWERING_H
#define QUANT_LOWERING_TARGET_SM90_HOPPERLOWERING_H

#include "dialects/hopper/Hopper.h"
#include "lowering/target/sm90/HopperBuilder.h"

#include "mlir/Transforms/DialectConversion.h"

namespace quant::nvvm {

/// What a thread of a kernel knows of itself, computed once at the kernel's entry. Shared memory is addressed in i32 throughout:
/// LLVM's pointers have 64 bits, and ptxas keeps their upper halves alive.
struct KernelContext {
  using Value = mlir::Value;

  Value shared, thread, lane, warp, warpgroup;
  int64_t threads = 0, cluster = 1;
  /// The producer waits until no other block uses this one's barriers.
  bool drained = false;
  /// A warp fills a table of groups before the roles part.
  bool scansGroups = false;
  llvm::SmallVector<TensorMapArg> maps;
  /// The rings with their addresses, and how many arrivals empty a stage.
  llvm::SmallVector<std::tuple<hopper::RingType, Value, int64_t>> rings;

  Value warpInGroup(HopperBuilder &b) const { return b.bitAnd(warp, hopper::kSm90a.warpgroupWarps - 1); }
  /// True in one thread of the warpgroup, always the same: bulk store groups belong to a thread.
  Value isStoreThread(HopperBuilder &b) const {
    return b.equal(b.bitAnd(thread, hopper::kSm90a.warpgroupThreads() - 1), b.int32(0));
  }
  /// All threads of the warpgroup meet at its own named barrier; 0 is the block's.
  void syncWarpgroup(HopperBuilder &b) const { b.syncThreads(b.add(warpgroup, 1), hopper::kSm90a.warpgroupThreads()); }
  /// In wgmma's layout: the first of this thread's two rows (the other is 8 below), and the first of its two columns of each 8.
  Value fragmentRow(HopperBuilder &b) const { return b.add(b.mul(warpInGroup(b), 16), b.shiftRight(lane, 2)); }
  Value fragmentColumn(HopperBuilder &b) const { return b.mul(b.bitAnd(lane, 3), 2); }
};

/// The types of the hopper dialect as the NVPTX backend knows them.
class HopperTypeConverter : public mlir::TypeConverter {
public:
  explicit HopperTypeConverter(mlir::MLIRContext *context);
};

/// What the patterns of one run share.
struct HopperLowering {
  explicit HopperLowering(mlir::MLIRContext *context) : context(context), types(context) {}

  mlir::MLIRContext *context;
  HopperTypeConverter types;
  /// By the llvm.func that a kernel became.
  llvm::DenseMap<mlir::Operation *, KernelContext> kernels;
  /// Where an alloc, ring or table of groups begins in shared memory.
  llvm::DenseMap<mlir::Operation *, int64_t> sharedOffsets;
  llvm::DenseMap<mlir::Operation *, int64_t> barrierNumbers;
  /// Of each tma_load the produce around it, which may be gone before it, and of each produce the full barrier.
  llvm::DenseMap<mlir::Operation *, mlir::Operation *> producers;
  llvm::DenseMap<mlir::Operation *, mlir::Value> fullBarriers;
  llvm::DenseMap<mlir::Operation *, int64_t> multicastBlocks;

  /// The kernel around an operation, which is in one.
  KernelContext &contextOf(mlir::Operation *op);
  bool isInKernel(mlir::Operation *op) const;
};

/// A pattern of the lowering: `lower` writes the operation out at the builder's place and replaces it.
template <typename Op>
class HopperPattern : public mlir::OpConversionPattern<Op> {
public:
  using Value = mlir::Value;
  using Adaptor = typename Op::Adaptor;

  explicit HopperPattern(HopperLowering &lowering)
      : mlir::OpConversionPattern<Op>(lowering.types, lowering.context), lowering(lowering) {}

  mlir::LogicalResult matchAndRewrite(Op op, Adaptor adaptor, mlir::ConversionPatternRewriter &rewriter) const final {
    if (!std::is_same_v<Op, hopper::KernelOp> && !lowering.isInKernel(op))
      return rewriter.notifyMatchFailure(op, "stands outside of a hopper.kernel");
    HopperBuilder builder(op.getLoc(), rewriter);
    return lower(op, adaptor, builder, rewriter);
  }

  virtual mlir::LogicalResult lower(Op op, Adaptor adaptor, HopperBuilder &b,
                                    mlir::ConversionPatternRewriter &rewriter) const = 0;

protected:
  HopperLowering &lowering;
};

template <auto emit>
class LowerBy;

/// The pattern of an operation that `emit` writes out. It gives what stands for the results; void where there are none.
template <typename Op, typename Results, Results (*emit)(HopperLowering &, Op, typename Op::Adaptor, HopperBuilder &)>
class LowerBy<emit> final : public HopperPattern<Op> {
public:
  using HopperPattern<Op>::HopperPattern;

  mlir::LogicalResult lower(Op op, typename Op::Adaptor adaptor, HopperBuilder &b,
                            mlir::ConversionPatternRewriter &rewriter) const override {
    if constexpr (std::is_void_v<Results>) {
      emit(this->lowering, op, adaptor, b);
      rewriter.eraseOp(op);
    } else {
      rewriter.replaceOp(op, emit(this->lowering, op, adaptor, b));
    }
    return mlir::success();
  }
};

/// A slot of a ring in registers.
struct SlotValue {
  mlir::Value stage, phase;
  static SlotValue unpack(HopperBuilder &b, mlir::Value slot) { return {b.extract(slot, 0), b.extract(slot, 1)}; }
  mlir::Value pack(HopperBuilder &b) const { return b.pack({stage, phase}); }
};

/// A group in the table of `!hopper.groups`, whose address is an i32.
struct GroupEntry {
  mlir::Value index, tilesBefore, tiles, first, until;
};
/// The group of a tile, counted over all groups; it must be one of the table's.
GroupEntry findGroup(HopperBuilder &b, hopper::GroupsType type, mlir::Value table, mlir::Value tile);
/// How many tiles all groups have.
mlir::Value tilesOfGroups(HopperBuilder &b, hopper::GroupsType type, mlir::Value table);

/// The coordinates of a ragged map's box (innermost first) that begins at a row, at a column.
llvm::SmallVector<mlir::Value> raggedCoordinates(HopperBuilder &b, hopper::TensorMapType map, mlir::Value row, mlir::Value column,
                                                 mlir::Value until);

/// Kernel, roles and the scheduler (LowerHopperToNvvm.cpp).
void populateKernelPatterns(mlir::RewritePatternSet &patterns, HopperLowering &lowering);
/// Tables of groups (HopperGroups.cpp).
void populateGroupPatterns(mlir::RewritePatternSet &patterns, HopperLowering &lowering);
/// Shared memory, rings and TMA loads (HopperRings.cpp).
void populateRingPatterns(mlir::RewritePatternSet &patterns, HopperLowering &lowering);
/// wgmma, scales and promotion (HopperMath.cpp).
void populateMathPatterns(mlir::RewritePatternSet &patterns, HopperLowering &lowering);
/// Softmax and what else attention needs (HopperAttention.cpp).
void populateAttentionPatterns(mlir::RewritePatternSet &patterns, HopperLowering &lowering);
/// Bias, split-K and stores (HopperEpilogue.cpp).
void populateEpiloguePatterns(mlir::RewritePatternSet &patterns, HopperLowering &lowering);

/// Makes one lane prefetch the tensor maps and initialise the barriers of all rings.
void emitBarrierSetup(const KernelContext &kernel, HopperBuilder &b);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_HOPPERLOWERING_H
