//===- HopperBuilder.h - emits the operations of an sm_90a kernel --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The one place that knows how a Hopper instruction is spelled in MLIR. Kernel builders speak of barriers, TMA boxes and wgmma
// groups; the NVVM dialect, whose header takes a minute to compile, stays inside HopperBuilderNvvm.cpp.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_HOPPERBUILDER_H
#define QUANT_LOWERING_TARGET_SM90_HOPPERBUILDER_H

#include "lowering/common/PointerBuilder.h"

namespace mlir::LLVM {
class LLVMFuncOp;
}

namespace quant::nvvm {

/// A kernel argument that is a CUtensorMap passed by value; TMA reads it in parameter memory.
struct TensorMapArg {
  mlir::Value pointer;
};

/// Emits at the insertion point. Integers are i32, pointers to shared memory are !llvm.ptr<3>.
class HopperBuilder : public PointerBuilder {
public:
  using PointerBuilder::PointerBuilder;

  //===--- Scalars (HopperBuilder.cpp) ------------------------------------===//

  mlir::Type sizeType() override { return getI32Type(); }
  Value minUnsigned(Value a, Value b);
  /// a < b, unsigned.
  Value below(Value a, Value b);
  // LLVM's own: the math dialect's become calls into libdevice.
  Value fma(Value a, Value b, Value c) override;
  Value sqrt(Value a) override;
  Value roundEven(Value a) override;
  Value abs(Value a) override;
  /// 2^a and log2 a of one f32, as the hardware approximates them (within 2^-22); subnormal numbers count as 0.
  Value exp2(Value a) { return intrinsic(f32(), "llvm.nvvm.ex2.approx.ftz", a); }
  Value log2(Value a) { return intrinsic(f32(), "llvm.nvvm.lg2.approx.ftz.f", a); }
  /// e^a within 2^-21, 0 and infinity out of range, NaN of NaN.
  Value exp(Value a) override;
  /// value / divisor, correctly rounded, of `inverse` = 1 / divisor: a product and one step of Newton's method (P. Markstein, IBM
  /// J. Res. Dev. 34, 1990). For many values and one divisor.
  Value quotient(Value value, Value divisor, Value inverse);

  //===--- Memory (HopperBuilder.cpp) -------------------------------------===//

  /// Start of the dynamic shared memory; `gpuModule` must hold the symbol (see declareDynamicShared).
  Value dynamicShared();
  /// pointer + bytes, in any address space.
  Value offset(Value pointer, int64_t bytes) { return at(pointer, i8(), bytes); }
  Value offset(Value pointer, Value bytes) { return at(pointer, i8(), bytes); }
  /// A load that may be cached for the length of the kernel, since no one writes there.
  Value loadConstant(mlir::Type type, Value pointer, unsigned alignment);
  /// Low 32 bits of a shared memory address: what inline PTX and descriptors want.
  Value sharedAddress(Value pointer);
  /// The pointer to that address.
  Value sharedPointer(Value address);

  /// Inserts at the start of a new block of the region and comes back.
  void inBlock(mlir::Region &region, mlir::TypeRange arguments, llvm::function_ref<void(mlir::Block &)> body);

  //===--- Vectors of f32 (HopperBuilder.cpp) -----------------------------===//

  Value zeroVector(int64_t size) { return number(0.0, size); }
  /// Two f32 rounded to nearest even bf16; `low` lands in bits 0-15.
  Value packBf16(Value low, Value high);
  /// The same of f8E4M3FN in an i16, saturating at 448; NaN gives 0x7F.
  Value encodePairE4M3(Value low, Value high);

  //===--- Threads and registers (HopperBuilderNvvm.cpp) ------------------===//

  Value threadIndex();
  Value blockIndex();
  Value gridSize();
  /// Lane 0's value in every lane, so that the compiler knows it is the same in the whole warp.
  Value broadcastFromLane0(Value value);
  /// The value of the lane `lanes` below in each lane of a converged warp; the first lanes keep their own.
  Value shuffleUp(Value value, int64_t lanes);
  /// The value of lane ^ mask, of i32 or f32. All lanes must be there.
  Value shuffleXor(Value value, int64_t mask);
  /// True in exactly one lane of a converged warp.
  Value electOneLane();
  void decreaseRegisters(int64_t registers);
  void increaseRegisters(int64_t registers);
  /// bar.sync over all threads of the block.
  void syncBlock();
  /// bar.sync over `threads` threads that share the barrier `id` (1..15).
  void syncThreads(Value id, int64_t threads);
  /// bar.arrive: counts this thread in, without waiting.
  void arriveThreads(Value id, int64_t threads);

  /// griddepcontrol: lets the next kernel start; waits for those before this one.
  void launchDependents();
  void waitPrerequisites();

  /// This block's number in its cluster.
  Value clusterRank();
  /// All threads of the cluster meet. `relaxed`: without ordering memory, after fenceBarrierInit.
  void syncCluster(bool relaxed);
  /// Adds one to an i32 in global memory; gives what was there.
  Value countUp(Value counter);

  //===--- mbarriers (HopperBuilderNvvm.cpp) ------------------------------===//

  void initBarrier(Value barrier, int64_t arrivals);
  /// Makes initialised barriers visible to the async proxy.
  void fenceBarrierInit();
  /// Spins until the phase with this parity is complete. On a fresh barrier, parity 1 counts as complete.
  void waitBarrier(Value barrier, Value parity);
  void arriveAndExpect(Value barrier, int64_t bytes);
  void arriveIf(Value predicate, Value barrier);
  /// Where this block's shared memory at i32 `address` lies for block `block` of the cluster: an i32 in shared::cluster.
  /// Neighbours lie beside it.
  Value mapToBlock(Value address, Value block);
  /// Arrives at a barrier of another block, `offset` bytes beyond an address from mapToBlock.
  void arriveRemoteIf(Value predicate, Value address, int64_t offset);

  //===--- TMA (HopperBuilderNvvm.cpp) ------------------------------------===//

  void prefetchTensorMap(TensorMapArg map);
  // Element coordinates of a box come innermost first.
  /// Box into shared memory; completes `barrier` by the full box's bytes, also out of range.
  void tmaLoad(Value shared, TensorMapArg map, Value barrier, ValueRange at) {
    tmaLoadMulticast(shared, map, barrier, at, /*blocks=*/0);
  }
  /// The same into the same place of each block whose bit is set in `blocks`; completes the barrier of each.
  void tmaLoadMulticast(Value shared, TensorMapArg map, Value barrier, ValueRange at, int64_t blocks);
  /// Box from shared memory; elements outside the tensor are not written.
  void tmaStore(TensorMapArg map, Value shared, ValueRange at);
  /// The same, adding to what is there.
  void tmaStoreAdd(TensorMapArg map, Value shared, ValueRange at);
  void commitStores();
  /// Waits until this thread's committed stores have read their shared memory.
  void waitStoresRead();
  /// Orders this thread's ordinary writes to shared memory before later TMA (async proxy) reads.
  void fenceSharedForAsync();

  //===--- Matrix instructions (HopperBuilderNvvm.cpp) --------------------===//

  void wgmmaFence();
  /// acc (+)= A[64, k] x B[n, k]^T of f8E4M3FN, i8 or bf16, k being 32 bytes, with f32 accumulators, of i8 i32; a null `acc`
  /// starts from zero. A transposed B is in shared memory as [k, n]. Returns the accumulators in flight.
  struct WgmmaForm {
    int64_t n;
    mlir::Type element;
    bool transposedB = false;
  };
  Value wgmma(const WgmmaForm &form, Value descriptorA, Value descriptorB, Value acc, Value over = {});
  /// The same with A in registers: four pairs of bf16.
  Value wgmmaFromRegisters(const WgmmaForm &form, mlir::ArrayRef<Value> a, Value descriptorB, Value acc);
  /// A fragment's values as accumulators that a wgmma may go on with.
  Value accumulatorsOf(Value fragment);
  void wgmmaCommit();
  /// Waits until at most `pending` groups are left and returns the finished accumulators of this thread.
  llvm::SmallVector<Value> wgmmaWait(Value acc, int64_t pending = 0);
  /// Stores two or four 8x8 matrices of 16-bit elements; lane l gives the address of row l%8 of matrix l/8. `transposed` swaps
  /// their rows and columns.
  void storeMatrices(Value shared, mlir::ArrayRef<Value> fragments, bool transposed);
  /// 64-bit matrix descriptor of an operand with 128-byte swizzle, from its address >> 4. `panelBytes`: from panel to panel of
  /// one that is transposed.
  Value swizzled128Descriptor(Value address, int64_t panelBytes = 0);

protected:
  Value intrinsic(mlir::Type result, mlir::StringRef name, mlir::ValueRange operands);

private:
  Value inlineAsm(mlir::Type result, mlir::StringRef text, mlir::StringRef constraints, mlir::ValueRange operands,
                  bool hasSideEffects = true);
};

/// An llvm.func that is a kernel of `threads` threads a block and `cluster` blocks a cluster.
mlir::LLVM::LLVMFuncOp createKernelFunction(HopperBuilder &b, mlir::StringRef name, mlir::ArrayRef<mlir::Type> arguments,
                                            mlir::ArrayRef<mlir::DictionaryAttr> attributes, int64_t threads,
                                            int64_t cluster = 1);

/// Adds the external symbol of the dynamic shared memory (aligned to 1024 bytes) to the module, once.
void declareDynamicShared(HopperBuilder &builder, mlir::Operation *gpuModule);

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_HOPPERBUILDER_H
