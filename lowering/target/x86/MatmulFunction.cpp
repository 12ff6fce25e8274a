//===- MatmulFunction.cpp - products that kernels share ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/MatmulFunction.h"

#include "lowering/target/x86/DotMatmul.h"
#include "lowering/target/x86/PackedMatmul.h"
#include "lowering/target/x86/PanelMatmul.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/Support/FormatVariadic.h"

#include <functional>

using namespace mlir;
using namespace quant::host;

//===----------------------------------------------------------------------===//
// The call
//===----------------------------------------------------------------------===//

/// The members of a range in the order of the function's arguments, addresses first.
static SmallVector<Value *> addressesOf(RowRange &range) {
  return {&range.weight.data,  &range.weight.scale, &range.weight.zero, &range.weight.global, &range.input.x,
          &range.input.gather, &range.input.scales, &range.output.data, &range.scratch};
}
static SmallVector<Value *> sizesOf(RowRange &range) {
  return {&range.weight.columns, &range.weight.scaleColumns, &range.begin,      &range.end,          &range.tokens,
          &range.pieceTokens,    &range.input.stride,        &range.input.topK, &range.output.stride};
}

static FunctionType functionType(HostBuilder &b) {
  RowRange range;
  SmallVector<Type> arguments(addressesOf(range).size(), b.ptr());
  arguments.append(sizesOf(range).size(), b.i64());
  return b.getFunctionType(arguments, {});
}

//===----------------------------------------------------------------------===//
// The function
//===----------------------------------------------------------------------===//

/// The same for the rows of x from `first` on.
static RowRange pieceOf(HostBuilder &b, RowRange range, Value first) {
  Value isGathered = b.greater(range.input.topK, b.size(0)), unmoved = b.size(0);
  range.tokens = b.min(range.pieceTokens, b.sub(range.tokens, first));
  range.input.x = b.at(range.input.x, b.select(isGathered, unmoved, b.mul(first, range.input.stride)), 1);
  range.input.scales = b.at(range.input.scales, b.select(isGathered, unmoved, first), 4);
  range.input.gather = b.at(range.input.gather, first, 4);
  range.output.data = b.at(range.output.data, b.mul(first, range.output.stride), 1);
  return range;
}

static void emitPiece(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range) {
  bool sumsIntegersInF32 =
      range.hasInt8Inputs && form.hasIntegerSums() && !DotMatmul::multipliesBytes(form, range.hasInt8Inputs, b.target);
  auto upTo = [&](int64_t tokens) {
    Value isUpTo = b.compare(arith::CmpIPredicate::sle, range.tokens, tokens);
    if (!sumsIntegersInF32)
      return isUpTo;
    return b.bitAnd(isUpTo, b.compare(arith::CmpIPredicate::sle, range.weight.columns, DotMatmul::kExactColumns));
  };
  std::function<void(int64_t)> choose = [&](int64_t tokens) {
    if (tokens > sizes.dotTokens) {
      bool isPacked = PackedMatmul::takes(sizes, form, range.hasInt8Inputs, b.target);
      return isPacked ? PackedMatmul(b, form, sizes, range).emit() : PanelMatmul(b, form, sizes, range).emit();
    }
    b.ifThen(upTo(tokens), [&] { DotMatmul(b, form, sizes, range).emit(tokens); }, [&] { choose(2 * tokens); });
  };
  choose(1);
}

static void emitBody(HostBuilder &b, const WeightForm &form, const MatmulSchedule &sizes, const RowRange &range) {
  // A block of rows may lie outside this part of the weight.
  Value smaller = b.min(range.tokens, b.sub(range.end, range.begin));
  b.ifThen(b.compare(arith::CmpIPredicate::sgt, smaller, 0), [&] {
    b.loop(b.size(0), range.tokens, range.pieceTokens, [&](Value first) { emitPiece(b, form, sizes, pieceOf(b, range, first)); });
  });
}

static func::FuncOp createFunction(HostBuilder &caller, StringRef name, const WeightForm &form, const MatmulSchedule &sizes,
                                   const RowRange &call) {
  OpBuilder builder(caller.getContext());
  Operation *around = caller.getInsertionBlock()->getParentOp();
  builder.setInsertionPointAfter(isa<func::FuncOp>(around) ? around : around->getParentOfType<func::FuncOp>());
  auto function = func::FuncOp::create(builder, caller.getLoc(), name, functionType(caller));
  function.setPrivate();
  Block *entry = function.addEntryBlock();
  builder.setInsertionPointToStart(entry);
  HostBuilder b(builder, caller.getLoc(), caller.target);
  RowRange range;
  range.oneScaleRow = call.oneScaleRow;
  range.hasInt8Inputs = call.hasInt8Inputs;
  SmallVector<Value *> members = addressesOf(range);
  llvm::append_range(members, sizesOf(range));
  for (auto [member, argument] : llvm::zip_equal(members, entry->getArguments()))
    *member = argument;
  emitBody(b, form, sizes, range);
  func::ReturnOp::create(b);
  return function;
}

/// What the schedule adds to a function's name: nothing where it is the unit's own, otherwise all of it.
static std::string suffixOf(const MatmulSchedule &sizes, const quant::machine::X86Unit &unit) {
  if (sizes == MatmulSchedule(unit))
    return {};
  return llvm::formatv("_rows{0}_dots{1}x{2}_panel{3}_tile{4}x{5}_parts{6}x{7}x{8}", sizes.rows, sizes.dotTokens, sizes.dotSums,
                       sizes.panelColumns, sizes.tileTokens, sizes.tileVectors, sizes.inputParts, sizes.callRows,
                       sizes.packedColumns);
}

Value quant::host::isSharedCall(KernelContext &context) {
  HostBuilder &b = context.b;
  Value shortTokens = b.mul(context.operands.sequences(), abi::kShortStep);
  return b.compare(arith::CmpIPredicate::sle, context.operands.tokens(), shortTokens);
}

void quant::host::callMatmul(KernelContext &context, const Weight &weight, const MatmulSchedule &sizes, RowRange range) {
  HostBuilder &b = context.b;
  WeightForm form(weight);
  range.oneScaleRow = range.oneScaleRow && form.scaleType;
  // Where several sequences may share the call, the order of a row's sums does not depend on the number of rows. Decoding a
  // weight a few times in registers takes less time than a panel of it.
  Value dots = b.size(sizes.dotTokens), isShared = isSharedCall(context);
  Value isFew = b.compare(arith::CmpIPredicate::sle, range.tokens, sizes.dotTokens * b.target.dotPieces);
  range.pieceTokens = b.select(b.bitOr(isShared, isFew), b.min(range.tokens, dots), range.tokens);
  std::string name = "multiply_rows_" + form.name() + (range.hasInt8Inputs ? "_x8" : "") + (range.oneScaleRow ? "_aligned" : "") +
                     suffixOf(sizes, b.target);
  auto module = b.getInsertionBlock()->getParentOp()->getParentOfType<ModuleOp>();
  auto function = module.lookupSymbol<func::FuncOp>(name);
  if (!function)
    function = createFunction(b, name, form, sizes, range);
  range.scratch =
      context.allocate(std::max({PanelMatmul::scratchBytes(sizes, form), PackedMatmul::scratchBytes(sizes, form, b.target),
                                 DotMatmul::scratchBytes(sizes, weight.columns)}));
  Value null;
  SmallVector<Value> arguments;
  for (Value *address : addressesOf(range)) {
    if (!*address && !null)
      null = LLVM::ZeroOp::create(b, b.ptr());
    arguments.push_back(*address ? *address : null);
  }
  for (Value *size : sizesOf(range))
    arguments.push_back(*size);
  func::CallOp::create(b, function, arguments);
}
