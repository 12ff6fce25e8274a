//===- DispatchKernel.cpp - (token, expert) pairs by expert ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/simt/SimtKernels.h"

using namespace mlir;

namespace quant::nvvm {

Result<void> emitMoeDispatch(SimtContext &context, deepseek::MoeDispatchOp op) {
  SimtBuilder &b = context.b;
  QUANT_TRY_ASSIGN(Value ids, context.operands.address(op.getIds()));
  Type i32 = b.getI32Type();
  int64_t topK = cast<RankedTensorType>(op.getIds().getType()).getDimSize(1);
  int64_t experts = cast<RankedTensorType>(op.getOffsets().getType()).getDimSize(0) - 1;
  Value offsets = context.operands.resultRows(0).base, rows = context.operands.resultRows(1).base;
  Value counts = b.allocateShared(experts * 4), pairs = b.mul(context.operands.tokens(), topK), zero = b.int32(0);
  auto forOwn = [&](SimtBuilder::Body body) { b.loop(b.thread, b.int32(experts), b.threads, body); };
  // A thread takes an expert and goes over all pairs: the order is that of the tokens, and nobody waits for anybody.
  auto forPairs = [&](Value expert, Value init, function_ref<void(Value pair, Value place)> body) {
    return b.loop(zero, pairs, 1, init, [&](Value pair, ValueRange place) {
      Value isOwn = b.equal(b.loadNumber(i32, b.at(ids, i32, pair)), expert);
      if (body)
        b.ifThen(isOwn, [&] { body(pair, place[0]); });
      return SmallVector<Value>{b.add(place[0], b.zeroExtend(b.i32(), isOwn))};
    })[0];
  };
  forOwn([&](Value expert) { b.store(forPairs(expert, zero, nullptr), b.at(counts, i32, expert)); });
  b.syncBlock();
  forOwn([&](Value expert) {
    Value first = b.loop(zero, expert, 1, zero, [&](Value other, ValueRange sum) {
      return SmallVector<Value>{b.add(sum[0], b.loadNumber(i32, b.at(counts, i32, other)))};
    })[0];
    b.store(first, b.at(offsets, i32, expert));
    Value end = forPairs(expert, first, [&](Value pair, Value place) { b.store(pair, b.at(rows, i32, place)); });
    b.ifThen(b.equal(expert, b.int32(experts - 1)), [&] { b.store(end, b.at(offsets, i32, experts)); });
  });
  return {};
}

} // namespace quant::nvvm
