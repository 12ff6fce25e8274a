//===- HopperBuilder.cpp - scalars, memory, vectors and control flow ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/HopperBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <numbers>

using namespace mlir;

namespace quant::nvvm {

static constexpr StringLiteral kDynamicShared = "dynamic_shared_memory";
static constexpr unsigned kShared = 3;

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value HopperBuilder::minUnsigned(Value a, Value b) { return arith::MinUIOp::create(*this, a, b); }
Value HopperBuilder::below(Value a, Value b) { return arith::CmpIOp::create(*this, arith::CmpIPredicate::ult, a, b); }
Value HopperBuilder::fma(Value a, Value b, Value c) { return LLVM::FMAOp::create(*this, a, b, c); }
Value HopperBuilder::sqrt(Value a) { return LLVM::SqrtOp::create(*this, a); }
Value HopperBuilder::roundEven(Value a) { return LLVM::RintOp::create(*this, a); }
Value HopperBuilder::abs(Value a) { return LLVM::FAbsOp::create(*this, a); }

Value HopperBuilder::intrinsic(Type result, StringRef name, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(*this, result, getStringAttr(name), operands).getResult(0);
}

Value HopperBuilder::exp(Value a) {
  // 2^(a log2 e), the product in two parts: ex2 takes the rounded one, the rest is a factor 1 + rest * ln 2.
  constexpr double kLog2E = std::numbers::log2e;
  const auto high = static_cast<float>(kLog2E);
  auto number = [&](double value) { return constant(a.getType(), value); };
  // Beyond these bounds the result is 0 or infinity; inside, no part is infinite. Minimum and maximum keep NaN.
  Value x = arith::MinimumFOp::create(*this, arith::MaximumFOp::create(*this, a, number(-104.0)), number(89.0));
  Value product = mul(x, number(high));
  Value rest = fma(x, number(high), neg(product));
  rest = fma(x, number(kLog2E - static_cast<double>(high)), rest);
  SmallVector<Value> powers;
  for (int64_t lane = 0; lane < laneCount(a.getType()); ++lane)
    powers.push_back(intrinsic(f32(), "llvm.nvvm.ex2.approx", extract(product, lane)));
  Value power = pack(powers);
  return fma(mul(power, rest), number(std::numbers::ln2), power);
}

Value HopperBuilder::quotient(Value value, Value divisor, Value inverse) {
  Value product = mul(value, inverse);
  return fma(fma(neg(product), divisor, value), inverse, product);
}

Value HopperBuilder::shuffleXor(Value value, int64_t mask) {
  bool isFloat = value.getType().isF32();
  return intrinsic(value.getType(), isFloat ? "llvm.nvvm.shfl.sync.bfly.f32" : "llvm.nvvm.shfl.sync.bfly.i32",
                   {int32(-1), value, int32(mask), int32(31)});
}

//===----------------------------------------------------------------------===//
// Kernels and memory
//===----------------------------------------------------------------------===//

LLVM::LLVMFuncOp createKernelFunction(HopperBuilder &b, StringRef name, ArrayRef<Type> arguments,
                                      ArrayRef<DictionaryAttr> attributes, int64_t threads, int64_t cluster) {
  auto along = [&](int64_t x) { return b.getDenseI32ArrayAttr({static_cast<int32_t>(x), 1, 1}); };
  // Without maxntid ptxas ignores setmaxnreg (C7508). Without minctasm it aims at 32 registers a thread, and spills to get there.
  SmallVector<NamedAttribute> kernel = {
      b.getNamedAttr("gpu.kernel", b.getUnitAttr()), b.getNamedAttr("nvvm.kernel", b.getUnitAttr()),
      b.getNamedAttr("nvvm.maxntid", along(threads)), b.getNamedAttr("nvvm.minctasm", b.getI32IntegerAttr(1))};
  if (cluster > 1)
    kernel.push_back(b.getNamedAttr("nvvm.cluster_dim", along(cluster)));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), arguments);
  return LLVM::LLVMFuncOp::create(b, name, type, LLVM::Linkage::External, /*dsoLocal=*/false, LLVM::CConv::C, SymbolRefAttr(),
                                  kernel, attributes);
}

void declareDynamicShared(HopperBuilder &builder, Operation *gpuModule) {
  if (SymbolTable::lookupSymbolIn(gpuModule, kDynamicShared))
    return;
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(&gpuModule->getRegion(0).front());
  // An external array of size 0 in address space 3 is dynamic shared memory. gpu.dynamic_shared_memory would become a static
  // variable aligned to 16 bytes; the 128-byte swizzle repeats every 1024 bytes and counts from the address, not from the tile.
  constexpr uint64_t kSwizzleRepeatBytes = 1024;
  auto type = LLVM::LLVMArrayType::get(builder.getI8Type(), 0);
  LLVM::GlobalOp::create(builder, type, /*isConstant=*/false, LLVM::Linkage::External, kDynamicShared, Attribute(),
                         kSwizzleRepeatBytes, kShared);
}

Value HopperBuilder::dynamicShared() { return LLVM::AddressOfOp::create(*this, ptr(kShared), kDynamicShared); }

Value HopperBuilder::loadConstant(Type type, Value pointer, unsigned alignment) {
  return LLVM::LoadOp::create(*this, type, pointer, alignment, /*isVolatile=*/false, /*isNonTemporal=*/false,
                              /*isInvariant=*/true);
}

Value HopperBuilder::sharedAddress(Value pointer) { return LLVM::PtrToIntOp::create(*this, getI32Type(), pointer); }

Value HopperBuilder::sharedPointer(Value address) { return LLVM::IntToPtrOp::create(*this, ptr(kShared), address); }

void HopperBuilder::inBlock(Region &region, TypeRange arguments, function_ref<void(Block &)> body) {
  OpBuilder::InsertionGuard guard(*this);
  Block *block = createBlock(&region, {}, arguments, SmallVector<Location>(arguments.size(), getLoc()));
  body(*block);
}

Value HopperBuilder::inlineAsm(Type result, StringRef text, StringRef constraints, ValueRange operands, bool hasSideEffects) {
  // Side effects, and no memory attribute: LLVM then moves no load or store across it.
  auto dialect = LLVM::AsmDialectAttr::get(getContext(), LLVM::AsmDialect::AD_ATT);
  auto op =
      LLVM::InlineAsmOp::create(*this, result ? TypeRange(result) : TypeRange(), operands, text, constraints, hasSideEffects,
                                /*is_align_stack=*/false, LLVM::tailcallkind::TailCallKind::None, dialect, ArrayAttr());
  return result ? op.getResult(0) : Value();
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

Value HopperBuilder::packBf16(Value low, Value high) {
  Value pair = LLVM::FPTruncOp::create(*this, VectorType::get(2, getBF16Type()), pack({low, high}));
  return LLVM::BitcastOp::create(*this, getI32Type(), pair);
}

Value HopperBuilder::encodePairE4M3(Value low, Value high) {
  return intrinsic(getI16Type(), "llvm.nvvm.ff.to.e4m3x2.rn", {high, low});
}

Value HopperBuilder::swizzled128Descriptor(Value address, int64_t panelBytes) {
  // Bits 0-13 address >> 4, 16-29 leading offset (of a transposed operand: from one panel to the next; otherwise unused), 32-45
  // stride between 8-row groups >> 4, 62-63 swizzle mode 1 = 128 bytes. The address never carries, since 227 KiB >> 4 fits in 14
  // bits (in a cluster its rank must be gone).
  int64_t others = (int64_t(1) << 62) | (int64_t(1024 >> 4) << 32) | (panelBytes >> 4 << 16);
  Value low = arith::ExtUIOp::create(*this, getI64Type(), address);
  return arith::OrIOp::create(*this, low, arith::ConstantOp::create(*this, getI64IntegerAttr(others)));
}

} // namespace quant::nvvm
