//===- HopperBuilderNvvm.cpp - the NVVM half of HopperBuilder ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The only file that includes NVVMDialect.h (it takes most of a minute to compile).
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/Gpu.h"
#include "lowering/target/sm90/HopperBuilder.h"
#include "lowering/target/sm90/NvvmSupport.h"

#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

#include <fmt/core.h>

using namespace mlir;

namespace quant::nvvm {

static constexpr int64_t kSharedCluster = 7;

//===----------------------------------------------------------------------===//
// Threads and registers
//===----------------------------------------------------------------------===//

Value HopperBuilder::threadIndex() { return NVVM::ThreadIdXOp::create(*this, getI32Type()); }
Value HopperBuilder::blockIndex() { return NVVM::BlockIdXOp::create(*this, getI32Type()); }
Value HopperBuilder::gridSize() { return NVVM::GridDimXOp::create(*this, getI32Type()); }

Value HopperBuilder::broadcastFromLane0(Value value) {
  return NVVM::ShflOp::create(*this, getI32Type(), int32(-1), value, int32(0), int32(31), NVVM::ShflKind::idx, UnitAttr());
}

Value HopperBuilder::shuffleUp(Value value, int64_t lanes) {
  return NVVM::ShflOp::create(*this, getI32Type(), int32(-1), value, int32(lanes), int32(0), NVVM::ShflKind::up, UnitAttr());
}

Value HopperBuilder::electOneLane() { return NVVM::ElectSyncOp::create(*this, getI1Type(), Value()); }

void HopperBuilder::decreaseRegisters(int64_t registers) {
  NVVM::SetMaxRegisterOp::create(*this, static_cast<uint32_t>(registers), NVVM::SetMaxRegisterAction::decrease);
}

void HopperBuilder::increaseRegisters(int64_t registers) {
  NVVM::SetMaxRegisterOp::create(*this, static_cast<uint32_t>(registers), NVVM::SetMaxRegisterAction::increase);
}

void HopperBuilder::syncBlock() { NVVM::BarrierOp::create(*this); }

void HopperBuilder::syncThreads(Value id, int64_t threads) {
  NVVM::BarrierOp::create(*this, Type(), id, int32(threads), NVVM::BarrierReductionAttr(), Value());
}

void HopperBuilder::arriveThreads(Value id, int64_t threads) { NVVM::BarrierArriveOp::create(*this, id, int32(threads)); }

void HopperBuilder::launchDependents() { NVVM::GriddepcontrolOp::create(*this, NVVM::GridDepActionKind::launch_dependents); }
// Not nvvm.griddepcontrol: to LLVM that touches no memory, and so orders none.
void HopperBuilder::waitPrerequisites() { inlineAsm(Type(), "griddepcontrol.wait;", "~{memory}", {}); }

Value HopperBuilder::clusterRank() { return NVVM::BlockInClusterIdXOp::create(*this, getI32Type()); }

void HopperBuilder::syncCluster(bool relaxed) {
  // Not the aligned forms: the roles' warps come here one by one.
  if (relaxed)
    NVVM::ClusterArriveRelaxedOp::create(*this, UnitAttr());
  else
    NVVM::ClusterArriveOp::create(*this, UnitAttr());
  NVVM::ClusterWaitOp::create(*this, UnitAttr());
}

Value HopperBuilder::countUp(Value counter) {
  return inlineAsm(getI32Type(), "atom.acq_rel.gpu.global.add.u32 $0, [$1], 1;", "=r,l,~{memory}", counter);
}

//===----------------------------------------------------------------------===//
// mbarriers
//===----------------------------------------------------------------------===//

void HopperBuilder::initBarrier(Value barrier, int64_t arrivals) {
  NVVM::MBarrierInitOp::create(*this, barrier, int32(arrivals), Value());
}

void HopperBuilder::fenceBarrierInit() { NVVM::FenceMbarrierInitOp::create(*this); }

void HopperBuilder::waitBarrier(Value barrier, Value parity) {
  constexpr int64_t kSuspendHintNs = 10'000'000;
  NVVM::MBarrierTryWaitParityOp::create(*this, barrier, parity, int32(kSuspendHintNs));
}

void HopperBuilder::arriveAndExpect(Value barrier, int64_t bytes) {
  NVVM::MBarrierArriveExpectTxOp::create(*this, Type(), barrier, int32(bytes), NVVM::MemScopeKind::CTA, /*relaxed=*/false,
                                         Value());
}

void HopperBuilder::arriveIf(Value predicate, Value barrier) {
  // Predicated, not branched: a branch around nvvm.mbarrier.arrive costs a convergence barrier in every K block.
  inlineAsm(Type(), "@$1 mbarrier.arrive.shared::cta.b64 _, [$0];", "r,b", {sharedAddress(barrier), predicate});
}

Value HopperBuilder::mapToBlock(Value address, Value block) {
  return inlineAsm(getI32Type(), "mapa.shared::cluster.u32 $0, $1, $2;", "=r,r,r", {address, block}, /*hasSideEffects=*/false);
}

void HopperBuilder::arriveRemoteIf(Value predicate, Value address, int64_t offset) {
  // As CUTLASS has it, not .release.cluster: that is a MEMBAR.GPU for each warp in each K block. What is released are reads that
  // are over, no writes that others must see.
  std::string text = fmt::format("@$1 mbarrier.arrive.shared::cluster.b64 _, [$0+{}];", offset);
  inlineAsm(Type(), text, "r,b", {address, predicate});
}

//===----------------------------------------------------------------------===//
// TMA
//===----------------------------------------------------------------------===//

void HopperBuilder::prefetchTensorMap(TensorMapArg map) {
  // Not nvvm.prefetch tensormap: on a grid_constant argument it also emits prefetch.param on a register.
  inlineAsm(Type(), "prefetch.tensormap [$0];", "l", map.pointer);
}

void HopperBuilder::tmaLoadMulticast(Value shared, TensorMapArg map, Value barrier, ValueRange at, int64_t blocks) {
  // A block's own shared memory lies inside the shared::cluster window, so the cluster form is right without a cluster. The
  // shared::cta form would need PTX 8.6, that is a driver of CUDA 12.8; this one loads on every CUDA 12 driver.
  Value destination = LLVM::AddrSpaceCastOp::create(*this, LLVM::LLVMPointerType::get(getContext(), kSharedCluster), shared);
  Value mask = blocks ? LLVM::ConstantOp::create(*this, getI16IntegerAttr(static_cast<int16_t>(blocks))).getResult() : Value();
  NVVM::CpAsyncBulkTensorGlobalToSharedClusterOp::create(
      *this, destination, map.pointer, at, barrier, /*im2colOffsets=*/ValueRange(), mask,
      /*l2CacheHint=*/Value(), NVVM::TMALoadMode::TILE, /*isCTAOnly=*/false, NVVM::CTAGroupKindAttr(), /*predicate=*/Value());
}

void HopperBuilder::tmaStore(TensorMapArg map, Value shared, ValueRange at) {
  NVVM::CpAsyncBulkTensorSharedCTAToGlobalOp::create(*this, map.pointer, shared, at,
                                                     /*l2CacheHint=*/Value(), NVVM::TMAStoreMode::TILE, /*predicate=*/Value());
}

void HopperBuilder::tmaStoreAdd(TensorMapArg map, Value shared, ValueRange at) {
  NVVM::CpAsyncBulkTensorReduceOp::create(*this, map.pointer, shared, NVVM::TMAReduxKind::ADD, NVVM::TMAStoreMode::TILE, at,
                                          /*l2CacheHint=*/Value());
}

void HopperBuilder::commitStores() { NVVM::CpAsyncBulkCommitGroupOp::create(*this); }

void HopperBuilder::waitStoresRead() { NVVM::CpAsyncBulkWaitGroupOp::create(*this, getI32IntegerAttr(0), getUnitAttr()); }

void HopperBuilder::fenceSharedForAsync() {
  NVVM::FenceProxyOp::create(*this, NVVM::ProxyKind::async_shared,
                             NVVM::SharedSpaceAttr::get(getContext(), NVVM::SharedSpace::shared_cta));
}

//===----------------------------------------------------------------------===//
// Matrix instructions
//===----------------------------------------------------------------------===//

/// One f32 or i32 per accumulator register: a 64 x n tile over 128 threads.
static LLVM::LLVMStructType accumulatorType(Type element, int64_t n) {
  return LLVM::LLVMStructType::getLiteral(element.getContext(), SmallVector<Type>(n / 2, element));
}
static LLVM::LLVMStructType accumulatorType(const HopperBuilder::WgmmaForm &form) {
  MLIRContext *context = form.element.getContext();
  Type sum = form.element.isInteger() ? Type(IntegerType::get(context, 32)) : Float32Type::get(context);
  return accumulatorType(sum, form.n);
}

void HopperBuilder::wgmmaFence() { NVVM::WgmmaFenceAlignedOp::create(*this); }

Value HopperBuilder::accumulatorsOf(Value fragment) {
  int64_t count = laneCount(fragment.getType());
  Value acc = LLVM::UndefOp::create(*this, accumulatorType(cast<VectorType>(fragment.getType()).getElementType(), 2 * count));
  for (int64_t i = 0; i < count; ++i)
    acc = LLVM::InsertValueOp::create(*this, acc, extract(fragment, i), i);
  return acc;
}

Value HopperBuilder::wgmma(const WgmmaForm &form, Value descriptorA, Value descriptorB, Value acc, Value over) {
  auto type = accumulatorType(form);
  // Starting from zero is the instruction's scale-d flag on undefined registers; real zeros would cost a move each and spill.
  auto scaleOut = acc ? NVVM::WGMMAScaleOut::one : NVVM::WGMMAScaleOut::zero;
  if (!acc)
    acc = over ? accumulatorsOf(over) : LLVM::UndefOp::create(*this, type).getResult();
  bool isBf16 = form.element.isBF16(), isInteger = form.element.isInteger();
  auto element = isBf16 ? NVVM::WGMMATypes::bf16 : isInteger ? NVVM::WGMMATypes::s8 : NVVM::WGMMATypes::e4m3;
  auto shape = NVVM::MMAShapeAttr::get(getContext(), 64, form.n, isBf16 ? 16 : 32);
  return NVVM::WgmmaMmaAsyncOp::create(*this, TypeRange(type), acc, descriptorA, descriptorB, shape, element, element,
                                       isInteger ? NVVM::WGMMATypes::s32 : NVVM::WGMMATypes::f32, scaleOut,
                                       NVVM::WGMMAScaleIn::one, NVVM::WGMMAScaleIn::one, NVVM::MMALayout::row,
                                       form.transposedB ? NVVM::MMALayout::row : NVVM::MMALayout::col, NVVM::MMAIntOverflowAttr())
      .getResult();
}

/// `count` operands of inline assembly from `first` on: "$4, $5".
static std::string placeholders(int64_t first, int64_t count) {
  std::string list;
  for (int64_t i = first; i < first + count; ++i)
    list += fmt::format("{}${}", list.empty() ? "" : ", ", i);
  return list;
}

/// Registers that inline assembly reads and writes: the constraints of the results, and those that tie operands to them.
static std::pair<std::string, std::string> tiedRegisters(LLVM::LLVMStructType type) {
  std::string results, ties;
  for (auto [i, element] : llvm::enumerate(type.getBody())) {
    results += fmt::format("{}={}", i ? "," : "", element.isF32() ? "f" : "r");
    ties += fmt::format(",{}", i);
  }
  return {results, ties};
}

Value HopperBuilder::wgmmaFromRegisters(const WgmmaForm &form, ArrayRef<Value> a, Value descriptorB, Value acc) {
  // nvvm.wgmma.mma_async takes descriptors alone.
  int64_t count = form.n / 2, next = 2 * count;
  auto type = accumulatorType(form);
  bool fromZero = !acc;
  if (fromZero)
    acc = LLVM::UndefOp::create(*this, type);
  auto [results, ties] = tiedRegisters(type);
  SmallVector<Value> operands;
  for (int64_t i = 0; i < count; ++i)
    operands.push_back(LLVM::ExtractValueOp::create(*this, acc, i));
  operands.append(a.begin(), a.end());
  operands.push_back(descriptorB);
  std::string text = fmt::format(
      "{{\n.reg .pred p;\nsetp.ne.b32 p, {}, 0;\nwgmma.mma_async.sync.aligned.m64n{}k16.f32.bf16.bf16 {{{}}}, {{{}}}, ${}, "
      "p, 1, 1, {};\n}}",
      fromZero ? 0 : 1, form.n, placeholders(0, count), placeholders(next, 4), next + 4, form.transposedB ? 1 : 0);
  return inlineAsm(type, text, results + ties + ",r,r,r,r,l", operands);
}

void HopperBuilder::wgmmaCommit() { NVVM::WgmmaGroupSyncAlignedOp::create(*this); }

SmallVector<Value> HopperBuilder::wgmmaWait(Value acc, int64_t pending) {
  // nvvm.wgmma.wait.group has no data dependence on the accumulators, so LLVM may read them before it. Tying every register
  // through the wait makes that impossible and costs nothing.
  auto type = cast<LLVM::LLVMStructType>(acc.getType());
  auto registersOf = [&](Value sums) {
    SmallVector<Value> registers;
    for (size_t i = 0; i < type.getBody().size(); ++i)
      registers.push_back(LLVM::ExtractValueOp::create(*this, sums, static_cast<int64_t>(i)));
    return registers;
  };
  auto [results, ties] = tiedRegisters(type);
  return registersOf(
      inlineAsm(type, fmt::format("wgmma.wait_group.sync.aligned {};", pending), results + ties, registersOf(acc)));
}

void HopperBuilder::storeMatrices(Value shared, ArrayRef<Value> fragments, bool transposed) {
  auto shape = NVVM::LdStMatrixShapeAttr::get(getContext(), 8, 8);
  NVVM::StMatrixOp::create(*this, shared, fragments, transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row, shape,
                           NVVM::LdStMatrixEltType::B16);
}

//===----------------------------------------------------------------------===//
// Registration that needs the dialect's header
//===----------------------------------------------------------------------===//

void insertNvvmDialect(DialectRegistry &registry) {
  registry.insert<NVVM::NVVMDialect>();
  registerConvertNVVMToLLVMInterface(registry);
}

gpu::GPUModuleOp getOrCreateGpuModule(ModuleOp module) {
  StringRef name = machine::kSm90a.name;
  if (auto known = module.lookupSymbol<gpu::GPUModuleOp>(name))
    return known;
  OpBuilder builder(module.getContext());
  builder.setInsertionPointToEnd(module.getBody());
  return gpu::GPUModuleOp::create(builder, module.getLoc(), name);
}

} // namespace quant::nvvm
