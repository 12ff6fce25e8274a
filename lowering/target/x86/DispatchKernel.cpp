//===- DispatchKernel.cpp - (token, expert) pairs by expert ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/Kernels.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// A counting sort by one thread: a few thousand pairs at most.
LogicalResult quant::host::emitMoeDispatch(KernelContext &context, deepseek::MoeDispatchOp op, Value) {
  HostBuilder &b = context.b;
  int64_t topK = cast<RankedTensorType>(op.getIds().getType()).getDimSize(1);
  int64_t experts = cast<RankedTensorType>(op.getOffsets().getType()).getDimSize(0) - 1;
  Value ids = *context.operands.address(op.getIds()), offsets = context.operands.resultRows(0).base,
        rows = context.operands.resultRows(1).base, next = context.allocate(experts * 4);
  Value pairs = b.mul(context.operands.tokens(), topK);
  auto at = [&](Value list, Value index) { return b.at(list, index, 4); };
  auto loadWord = [&](Value list, Value index) { return b.load(b.i32(), at(list, index)); };
  b.loop(b.size(0), b.size(experts), 1, [&](Value expert) { b.store(b.int32(0), at(next, expert)); });
  b.loop(b.size(0), pairs, 1, [&](Value pair) {
    Value expert = b.loadNumber(b.i32(), at(ids, pair));
    b.store(b.add(loadWord(next, expert), b.int32(1)), at(next, expert));
  });
  b.store(b.int32(0), offsets);
  b.loop(b.size(0), b.size(experts), 1, [&](Value expert) {
    Value first = loadWord(offsets, expert);
    b.store(b.add(first, loadWord(next, expert)), at(offsets, b.add(expert, 1)));
    b.store(first, at(next, expert));
  });
  b.loop(b.size(0), pairs, 1, [&](Value pair) {
    Value expert = b.loadNumber(b.i32(), at(ids, pair));
    Value place = loadWord(next, expert);
    b.store(arith::TruncIOp::create(b, b.i32(), pair), at(rows, arith::ExtSIOp::create(b, b.i64(), place)));
    b.store(b.add(place, b.int32(1)), at(next, expert));
  });
  return success();
}
