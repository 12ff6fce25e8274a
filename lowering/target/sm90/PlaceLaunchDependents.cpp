//===- PlaceLaunchDependents.cpp - when the next kernel may start ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Hopper.h"
#include "lowering/target/sm90/Passes.h"

#include "mlir/IR/Builders.h"

namespace quant {
#define GEN_PASS_DEF_PLACELAUNCHDEPENDENTS
#include "lowering/target/sm90/Passes.h.inc"
} // namespace quant

using namespace mlir;
using namespace quant;
using namespace quant::hopper;

namespace {

struct PlaceLaunchDependents : quant::impl::PlaceLaunchDependentsBase<PlaceLaunchDependents> {
  using PlaceLaunchDependentsBase::PlaceLaunchDependentsBase;

  void runOnOperation() override {
    if (at != "start" && at != "loaded" && at != "never") {
      getOperation()->emitError("launch-dependents is start, loaded or never, not ") << at;
      return signalPassFailure();
    }
    WalkResult result = getOperation()->walk([&](KernelOp kernel) {
      return at == "start" || succeeded(place(kernel)) ? WalkResult::advance() : WalkResult::interrupt();
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }

private:
  LogicalResult place(KernelOp kernel) {
    SmallVector<LaunchDependentsOp> starts(kernel.getBody().getOps<LaunchDependentsOp>());
    SmallVector<OneThreadOp> producers;
    kernel.walk([&](OneThreadOp producer) { producers.push_back(producer); });
    if (at == "loaded" && !starts.empty()) {
      if (producers.size() != 1)
        return kernel.emitError("has ") << producers.size() << " threads that load: which loads last is not known";
      addBehindLoads(producers.front(), starts.front().getLoc());
    }
    for (LaunchDependentsOp start : starts)
      start.erase();
    return success();
  }

  /// Behind all loads, in front of the wait for the cluster's other blocks.
  static void addBehindLoads(OneThreadOp producer, Location loc) {
    Block &body = producer.getBody().front();
    OpBuilder builder = OpBuilder::atBlockEnd(&body);
    if (!body.empty() && isa<DrainOp>(body.back()))
      builder.setInsertionPoint(&body.back());
    LaunchDependentsOp::create(builder, loc);
  }
};

} // namespace
