//===- RangeMatmul.cpp - x times a range of a weight's rows ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/RangeMatmul.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace quant::host;

Value RangeMatmul::inputRow(Value m) {
  const RangeInput &input = range.input;
  auto row = scf::IfOp::create(b, TypeRange(b.i64()), b.greater(input.topK, b.size(0)), /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(row.thenBlock());
  scf::YieldOp::create(b, b.div(b.loadNumber(b.i32(), b.at(input.gather, m, 4)), input.topK));
  b.setInsertionPointToStart(row.elseBlock());
  scf::YieldOp::create(b, m);
  b.setInsertionPointAfter(row);
  return b.at(input.x, b.mul(row.getResult(0), input.stride), 1);
}

Value RangeMatmul::widen(Value vector) {
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  if (lanes == kLanes)
    return vector;
  SmallVector<int64_t> mask;
  for (int64_t lane = 0; lane < kLanes; ++lane)
    mask.push_back(std::min(lane, lanes));
  return vector::ShuffleOp::create(b, vector, b.splatF32(lanes, 0.0f), mask);
}
