//===- HostBuilder.cpp - writing a kernel's loops in few words ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/HostBuilder.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

//===----------------------------------------------------------------------===//
// Types and vectors
//===----------------------------------------------------------------------===//

Value HostBuilder::splat(Value scalar, int64_t lanes) {
  return vector::BroadcastOp::create(*this, vec(lanes, scalar.getType()), scalar);
}
Value HostBuilder::firstLanes(Value count, int64_t lanes) {
  Value numbers = arith::IndexCastOp::create(*this, vec(lanes, i64()), vector::StepOp::create(*this, vec(lanes, getIndexType())));
  return compare(arith::CmpIPredicate::slt, numbers, splat(count, lanes));
}
Value HostBuilder::sumLanes(Value vector) {
  return vector::ReductionOp::create(*this, vector::CombiningKind::ADD, vector, arith::FastMathFlags::reassoc);
}
Value HostBuilder::maxLanes(Value vector) {
  return vector::ReductionOp::create(*this, vector::CombiningKind::MAXNUMF, vector, arith::FastMathFlags::nnan);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value HostBuilder::at(Value base, Value index, int64_t bytes) {
  return LLVM::GEPOp::create(*this, ptr(), i8(), base, ArrayRef<LLVM::GEPArg>{mul(index, bytes)});
}

void HostBuilder::prefetch(Value address, int32_t locality) {
  auto imm = [&](int32_t value) { return getI32IntegerAttr(value); };
  LLVM::Prefetch::create(*this, address, imm(/*read*/ 0), imm(locality), imm(/*data*/ 1));
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void HostBuilder::chunks(int64_t count, function_ref<void(Value, int64_t)> body) {
  int64_t whole = count / kLanes * kLanes;
  if (whole == kLanes)
    body(size(0), kLanes);
  else if (whole > 0)
    loop(size(0), size(whole), kLanes, [&](Value offset) { body(offset, kLanes); });
  if (count > whole)
    body(size(whole), count - whole);
}
