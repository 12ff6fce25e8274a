//===- RowKernels.cpp - kernels that go row by row ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/Decode.h"
#include "lowering/target/x86/Kernels.h"

using namespace mlir;
using namespace quant;
using namespace quant::host;

/// Runs `body` for each row that belongs to one token.
static void forRowsOfToken(HostBuilder &b, const Rows &rows, Value token, function_ref<void(Value row)> body) {
  if (rows.perToken == 1)
    return body(token);
  Value first = b.mul(token, rows.perToken);
  b.loop(first, b.add(first, rows.perToken), 1, body);
}

LogicalResult quant::host::emitEmbed(KernelContext &context, deepseek::EmbedOp op, Value token) {
  HostBuilder &b = context.b;
  FailureOr<Rows> table = context.operands.rows(op.getTable());
  if (failed(table))
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  Value source = table->row(b, b.loadIndex(b.at(context.operands.address(op.getIds()), token, 4)));
  Value target = out.row(b, token);
  b.chunks(out.columns, [&](Value column, int64_t lanes) {
    b.store(table->load(b, source, column, lanes), b.at(target, column, 4));
  });
  return success();
}

void quant::host::emitNormRow(HostBuilder &b, const Rows &source, Value sourceRow, const Rows &gamma, int64_t columns, double eps,
                              Value target) {
  Value sum = b.reduceChunks(
      columns, b.cstF32(0.0f),
      [&](Value column, int64_t lanes, Value acc) {
        Value x = source.load(b, sourceRow, column, lanes);
        return b.fma(x, x, acc);
      },
      [&](Value vector) { return b.sumLanes(vector); }, [&](Value left, Value right) { return b.addF(left, right); });
  Value mean = b.divF(sum, b.cstF32(static_cast<float>(columns)));
  Value scale = b.divF(b.cstF32(1.0f), b.sqrt(b.addF(mean, b.cstF32(static_cast<float>(eps)))));
  Value gammaRow = gamma.row(b, b.cst(0));
  b.chunks(columns, [&](Value column, int64_t lanes) {
    Value normalized = b.mulF(source.load(b, sourceRow, column, lanes), b.splat(scale, lanes));
    b.store(b.mulF(normalized, gamma.load(b, gammaRow, column, lanes)), b.at(target, column, 4));
  });
}

LogicalResult quant::host::emitRmsNorm(KernelContext &context, deepseek::RmsNormOp op, Value token) {
  HostBuilder &b = context.b;
  FailureOr<Rows> x = context.operands.rows(op.getX()), gamma = context.operands.rows(op.getGamma());
  if (failed(x) || failed(gamma))
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  emitNormRow(b, *x, x->row(b, token), *gamma, out.columns, op.getEps().convertToDouble(), out.row(b, token));
  return success();
}

/// An elementwise op of two operands.
static LogicalResult emitElementwise(KernelContext &context, Operation *op, Value token,
                                     function_ref<Value(Value left, Value right, int64_t lanes)> combine) {
  HostBuilder &b = context.b;
  FailureOr<Rows> left = context.operands.rows(op->getOperand(0)), right = context.operands.rows(op->getOperand(1));
  if (failed(left) || failed(right))
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  forRowsOfToken(b, out, token, [&](Value row) {
    Value leftRow = left->row(b, row), rightRow = right->row(b, row), target = out.row(b, row);
    b.chunks(out.columns, [&](Value column, int64_t lanes) {
      Value x = left->load(b, leftRow, column, lanes), y = right->load(b, rightRow, column, lanes);
      b.store(combine(x, y, lanes), b.at(target, column, 4));
    });
  });
  return success();
}

LogicalResult quant::host::emitSwiglu(KernelContext &context, deepseek::SwigluOp op, Value token) {
  HostBuilder &b = context.b;
  return emitElementwise(context, op, token, [&](Value gate, Value up, int64_t lanes) {
    Value denominator = b.addF(b.splatF32(lanes, 1.0f), b.exp(b.subF(b.splatF32(lanes, 0.0f), gate)));
    return b.mulF(b.divF(gate, denominator), up);
  });
}

LogicalResult quant::host::emitAdd(KernelContext &context, arith::AddFOp op, Value token) {
  HostBuilder &b = context.b;
  return emitElementwise(context, op, token, [&](Value left, Value right, int64_t) { return b.addF(left, right); });
}

LogicalResult quant::host::emitLastTokens(KernelContext &context, deepseek::LastTokensOp op, Value output) {
  HostBuilder &b = context.b;
  FailureOr<Rows> x = context.operands.rows(op.getX());
  if (failed(x))
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  Value first = b.sub(context.operands.tokens(), context.operands.outputs());
  Value source = x->row(b, b.add(first, output)), target = out.row(b, output);
  b.chunks(out.columns, [&](Value column, int64_t lanes) {
    b.store(x->load(b, source, column, lanes), b.at(target, column, 4));
  });
  return success();
}

//===----------------------------------------------------------------------===//
// Quantized activations
//===----------------------------------------------------------------------===//

/// Rounds a positive scale up to a power of two: 2^ceil(log2 s).
static Value roundUpToPowerOfTwo(HostBuilder &b, Value scale) {
  Value bits = arith::BitcastOp::create(b.builder, b.loc, b.i32(), scale);
  Value raised = b.add(bits, b.cst32(0x7FFFFF));
  Value exponent = arith::AndIOp::create(b.builder, b.loc, raised, b.cst32(0x7F800000));
  return arith::BitcastOp::create(b.builder, b.loc, b.f32(), exponent);
}

static void storeScale(HostBuilder &b, Type type, Value scale, Value address) {
  if (!isa<Float8E8M0FNUType>(type))
    return b.store(scale, address);
  Value bits = arith::BitcastOp::create(b.builder, b.loc, b.i32(), scale);
  Value exponent = arith::ShRUIOp::create(b.builder, b.loc, bits, b.cst32(23));
  b.store(arith::TruncIOp::create(b.builder, b.loc, b.i8(), exponent), address);
}

LogicalResult quant::host::emitQuantize(KernelContext &context, qblock::QuantizeOp op, Value token) {
  HostBuilder &b = context.b;
  qblock::BlockTensorType type = op.getType();
  FailureOr<Rows> x = context.operands.rows(op.getSource());
  if (failed(x))
    return unsupportedOperand(op);
  bool scaleFits = isa<Float32Type, Float8E8M0FNUType>(type.getScaleType());
  if (!isa<Float8E4M3FNType>(type.getStorageType()) || !scaleFits || type.getBlockExtent(type.getRank() - 2) != 1)
    return op.emitError("the host quantizes rows to f8E4M3FN with f32 or f8E8M0FNU scales, not to ") << type;
  Rows codes = context.operands.resultRows(0), scales = context.operands.resultRows(1);
  int64_t group = type.getBlockExtent(type.getRank() - 1);
  auto quantizeGroup = [&](Value source, Value target, Value scaleAddress, int64_t columns) {
    Value amax = b.reduceChunks(
        columns, b.cstF32(static_cast<float>(op.getAmaxFloor().convertToDouble())),
        [&](Value column, int64_t lanes, Value acc) {
          Value value = x->load(b, source, column, lanes);
          return b.maxF(b.maxF(value, b.subF(b.splatF32(lanes, 0.0f), value)), acc);
        },
        [&](Value vector) { return b.maxLanes(vector); }, [&](Value left, Value right) { return b.maxF(left, right); });
    Value scale = b.divF(amax, b.cstF32(448.0f));
    if (op.getPowerOfTwo() || isa<Float8E8M0FNUType>(type.getScaleType()))
      scale = roundUpToPowerOfTwo(b, scale);
    storeScale(b, type.getScaleType(), scale, scaleAddress);
    b.chunks(columns, [&](Value column, int64_t lanes) {
      Value scaled = b.divF(x->load(b, source, column, lanes), b.splat(scale, lanes));
      b.store(encodeE4M3(b, scaled), b.at(target, column, 1));
    });
  };
  forRowsOfToken(b, codes, token, [&](Value row) {
    Value source = x->row(b, row), target = codes.row(b, row), scaleRow = scales.row(b, row);
    int64_t scaleBytes = bytesOf(scales.element), whole = codes.columns / group;
    b.loop(b.cst(0), b.cst(whole), 1, [&](Value index) {
      Value column = b.mul(index, group);
      quantizeGroup(b.at(source, column, bytesOf(x->element)), b.at(target, column, 1), b.at(scaleRow, index, scaleBytes), group);
    });
    if (int64_t rest = codes.columns % group)
      quantizeGroup(b.at(source, whole * group, bytesOf(x->element)), b.at(target, whole * group, 1),
                    b.at(scaleRow, whole, scaleBytes), rest);
  });
  return success();
}

LogicalResult quant::host::emitDequantize(KernelContext &context, qblock::DequantizeOp op, Value token) {
  HostBuilder &b = context.b;
  auto assemble = op.getSource().getDefiningOp<qblock::AssembleOp>();
  qblock::BlockTensorType type = op.getSource().getType();
  bool ours = assemble && isa<Float8E4M3FNType>(type.getStorageType()) && type.getBlockExtent(type.getRank() - 2) == 1;
  if (!ours || !cast<RankedTensorType>(op.getType()).getElementType().isF32())
    return op.emitError("the host dequantizes rows of f8E4M3FN to f32, not ") << type << " to " << op.getType();
  FailureOr<Rows> codes = context.operands.rows(assemble.getData()), scales = context.operands.rows(assemble.getScale());
  if (failed(codes) || failed(scales))
    return unsupportedOperand(op);
  Rows out = context.operands.resultRows(0);
  int64_t group = type.getBlockExtent(type.getRank() - 1);
  forRowsOfToken(b, out, token, [&](Value row) {
    Value source = codes->row(b, row), target = out.row(b, row), scaleRow = scales->row(b, row);
    auto dequantizeGroup = [&](Value index, int64_t columns) {
      Value scale = b.loadScalarAsF32(scales->element, b.at(scaleRow, index, bytesOf(scales->element)));
      Value first = b.mul(index, group);
      b.chunks(columns, [&](Value offset, int64_t lanes) {
        Value column = b.add(first, offset);
        Value value = decode(b, codes->element, b.at(source, column, 1), lanes);
        b.store(b.mulF(value, b.splat(scale, lanes)), b.at(target, column, 4));
      });
    };
    int64_t whole = out.columns / group;
    b.loop(b.cst(0), b.cst(whole), 1, [&](Value index) { dequantizeGroup(index, group); });
    if (int64_t rest = out.columns % group)
      dequantizeGroup(b.cst(whole), rest);
  });
  return success();
}
