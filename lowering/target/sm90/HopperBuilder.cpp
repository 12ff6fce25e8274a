//===- HopperBuilder.cpp - scalars, memory, vectors and control flow ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/HopperBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace quant::nvvm {

static constexpr StringLiteral kDynamicShared = "dynamic_shared_memory";
static constexpr unsigned kShared = 3;

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value HopperBuilder::constI32(int64_t value) { return create<arith::ConstantOp>(getI32IntegerAttr(value)); }
Value HopperBuilder::add(Value a, Value b) { return create<arith::AddIOp>(a, b); }
Value HopperBuilder::sub(Value a, Value b) { return create<arith::SubIOp>(a, b); }
Value HopperBuilder::mul(Value a, Value b) { return create<arith::MulIOp>(a, b); }
Value HopperBuilder::mulF32(Value a, Value b) { return create<arith::MulFOp>(a, b); }
Value HopperBuilder::divUnsigned(Value a, Value b) { return create<arith::DivUIOp>(a, b); }
Value HopperBuilder::minUnsigned(Value a, Value b) { return create<arith::MinUIOp>(a, b); }
Value HopperBuilder::shiftRight(Value a, int64_t bits) { return create<arith::ShRUIOp>(a, constI32(bits)); }
Value HopperBuilder::bitAnd(Value a, int64_t mask) { return create<arith::AndIOp>(a, constI32(mask)); }
Value HopperBuilder::bitXor(Value a, Value b) { return create<arith::XOrIOp>(a, b); }
Value HopperBuilder::equal(Value a, Value b) { return create<arith::CmpIOp>(arith::CmpIPredicate::eq, a, b); }
Value HopperBuilder::below(Value a, Value b) { return create<arith::CmpIOp>(arith::CmpIPredicate::ult, a, b); }
Value HopperBuilder::select(Value condition, Value whenTrue, Value whenFalse) {
  return create<arith::SelectOp>(condition, whenTrue, whenFalse);
}
Value HopperBuilder::extendToI32(Value bit) { return create<arith::ExtUIOp>(getI32Type(), bit); }

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

void declareDynamicShared(HopperBuilder &builder, Operation *gpuModule) {
  if (SymbolTable::lookupSymbolIn(gpuModule, kDynamicShared))
    return;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(&gpuModule->getRegion(0).front());
  // An external array of size 0 in address space 3 is dynamic shared memory. gpu.dynamic_shared_memory would become a static
  // variable aligned to 16 bytes; the 128-byte swizzle repeats every 1024 bytes and counts from the address, not from the tile.
  constexpr uint64_t kSwizzleRepeatBytes = 1024;
  auto type = LLVM::LLVMArrayType::get(builder.getI8Type(), 0);
  builder.create<LLVM::GlobalOp>(type, /*isConstant=*/false, LLVM::Linkage::External, kDynamicShared, Attribute(),
                                 kSwizzleRepeatBytes, kShared);
}

Value HopperBuilder::dynamicShared() {
  return create<LLVM::AddressOfOp>(LLVM::LLVMPointerType::get(getContext(), kShared), kDynamicShared);
}

Value HopperBuilder::offset(Value pointer, int64_t bytes) {
  return create<LLVM::GEPOp>(pointer.getType(), getI8Type(), pointer, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(bytes)});
}

Value HopperBuilder::offset(Value pointer, Value bytes) {
  return create<LLVM::GEPOp>(pointer.getType(), getI8Type(), pointer, ArrayRef<LLVM::GEPArg>{bytes});
}

Value HopperBuilder::offsetF32(Value pointer, Value index) {
  return create<LLVM::GEPOp>(pointer.getType(), getF32Type(), pointer, ArrayRef<LLVM::GEPArg>{index});
}

Value HopperBuilder::loadF32(Value pointer) { return create<LLVM::LoadOp>(getF32Type(), pointer); }

Value HopperBuilder::offsetBy(Value pointer, Type type, Value index) {
  return create<LLVM::GEPOp>(pointer.getType(), type, pointer, ArrayRef<LLVM::GEPArg>{index});
}

Value HopperBuilder::load(Type type, Value pointer, unsigned alignment) { return create<LLVM::LoadOp>(type, pointer, alignment); }

Value HopperBuilder::loadConstant(Type type, Value pointer, unsigned alignment) {
  return create<LLVM::LoadOp>(type, pointer, alignment, /*isVolatile=*/false, /*isNonTemporal=*/false, /*isInvariant=*/true);
}

void HopperBuilder::store(Value value, Value pointer, unsigned alignment) { create<LLVM::StoreOp>(value, pointer, alignment); }

Value HopperBuilder::sharedAddress(Value pointer) { return create<LLVM::PtrToIntOp>(getI32Type(), pointer); }

Value HopperBuilder::sharedPointer(Value address) {
  return create<LLVM::IntToPtrOp>(LLVM::LLVMPointerType::get(getContext(), kShared), address);
}

Value HopperBuilder::inlineAsm(Type result, StringRef text, StringRef constraints, ValueRange operands, bool hasSideEffects) {
  // Side effects, and no memory attribute: LLVM then moves no load or store across it.
  auto dialect = LLVM::AsmDialectAttr::get(getContext(), LLVM::AsmDialect::AD_ATT);
  auto op = create<LLVM::InlineAsmOp>(result ? TypeRange(result) : TypeRange(), operands, text, constraints, hasSideEffects,
                                      /*is_align_stack=*/false, LLVM::tailcallkind::TailCallKind::None, dialect, ArrayAttr());
  return result ? op.getResult(0) : Value();
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

Value HopperBuilder::zeroVector(int64_t size) {
  return create<arith::ConstantOp>(DenseElementsAttr::get(VectorType::get(size, getF32Type()), 0.0f));
}

Value HopperBuilder::packVector(ArrayRef<Value> elements) {
  Value vector = create<LLVM::PoisonOp>(VectorType::get(elements.size(), elements.front().getType()));
  for (auto [index, element] : llvm::enumerate(elements))
    vector = create<LLVM::InsertElementOp>(vector, element, constI32(index));
  return vector;
}

Value HopperBuilder::extract(Value vector, int64_t index) { return create<LLVM::ExtractElementOp>(vector, constI32(index)); }

// llvm.intr.fma, not math.fma: the latter becomes a call into libdevice.
Value HopperBuilder::fma(Value a, Value b, Value c) { return create<LLVM::FMAOp>(a, b, c); }

Value HopperBuilder::packBf16(Value low, Value high) {
  Value pair = create<LLVM::FPTruncOp>(VectorType::get(2, getBF16Type()), packVector({low, high}));
  return create<LLVM::BitcastOp>(getI32Type(), pair);
}

Value HopperBuilder::swizzled128Descriptor(Value lowWord) {
  // Bits 0-13 address >> 4, 16-29 leading offset (unused with a swizzle), 32-45 stride between 8-row groups >> 4, 62-63 swizzle
  // mode 1 = 128 bytes. Only the low word varies; it never carries, since 227 KiB >> 4 fits in 14 bits
  // (in a cluster the address's rank must be gone).
  constexpr int64_t kHigh = (int64_t(1) << 62) | (int64_t(1024 >> 4) << 32);
  Value low = create<arith::ExtUIOp>(getI64Type(), lowWord);
  return create<arith::OrIOp>(low, create<arith::ConstantOp>(getI64IntegerAttr(kHigh)));
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

void HopperBuilder::ifThen(Value condition, function_ref<void()> body) {
  auto branch = create<scf::IfOp>(condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  body();
}

void HopperBuilder::ifThenElse(Value condition, function_ref<void()> then, function_ref<void()> otherwise) {
  auto branch = create<scf::IfOp>(condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(branch.thenBlock());
  then();
  setInsertionPointToStart(branch.elseBlock());
  otherwise();
}

SmallVector<Value> HopperBuilder::forLoop(Value begin, Value end, Value step, ValueRange init, LoopBody body) {
  auto loop = create<scf::ForOp>(begin, end, step, init);
  OpBuilder::InsertionGuard guard(*this);
  setInsertionPointToStart(loop.getBody());
  SmallVector<Value> next = body(loop.getInductionVar(), loop.getRegionIterArgs());
  if (!init.empty()) // A loop that carries nothing has its terminator.
    create<scf::YieldOp>(next);
  return SmallVector<Value>(loop.getResults());
}

} // namespace quant::nvvm
