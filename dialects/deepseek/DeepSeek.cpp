//===- DeepSeek.cpp - the ops of DeepSeek-V2/V3: verifiers ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/LatentCache.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;

#include "dialects/deepseek/DeepSeekDialect.cpp.inc"
#include "dialects/deepseek/DeepSeekEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/deepseek/DeepSeekAttrs.cpp.inc"

#define GET_OP_CLASSES
#include "dialects/deepseek/DeepSeekOps.cpp.inc"

void DeepSeekDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/deepseek/DeepSeekAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/deepseek/DeepSeekOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// What becomes of the ops: kernels and their grids
//===----------------------------------------------------------------------===//

std::optional<StringRef> SelectTokensOp::getResultDim() { return StringRef("outputs"); }

bool LatentAppendOp::writesTo(unsigned index) { return index == getCacheMutable().getOperandNumber(); }

AffineExpr MlaAbsorbOp::getGrid(AffineExpr, int64_t) { return getAffineConstantExpr(getHeads(), getContext()); }
AffineExpr MlaExpandOp::getGrid(AffineExpr, int64_t) { return getAffineConstantExpr(getHeads(), getContext()); }
AffineExpr MlaCoreOp::getGrid(AffineExpr rows, int64_t) { return rows * getHeads(); }
AffineExpr MlaDecodeOp::getGrid(AffineExpr rows, int64_t) { return rows * getHeads(); }
AffineExpr MoeDispatchOp::getGrid(AffineExpr, int64_t) { return getAffineConstantExpr(getFixedRows(), getContext()); }

SmallVector<OpOperand *> MlaAttentionOp::getWeightOperands() { return {&getKvBMutable()}; }
SmallVector<OpOperand *> MlaAbsorbOp::getWeightOperands() { return {&getKvBMutable()}; }
SmallVector<OpOperand *> MlaExpandOp::getWeightOperands() { return {&getKvBMutable()}; }
SmallVector<OpOperand *> ExpertsOp::getWeightOperands() { return {&getGateMutable(), &getUpMutable(), &getDownMutable()}; }

//===----------------------------------------------------------------------===//
// Helpers of the verifiers
//===----------------------------------------------------------------------===//

/// The operand or result called `name` must have this shape; kDynamic fits any size.
static LogicalResult expectShape(Operation *op, StringRef name, Type type, ArrayRef<int64_t> expected) {
  ArrayRef<int64_t> shape = isa<MemRefType>(type) ? cast<MemRefType>(type).getShape() : qblock::getMatrixShape(type);
  bool fits = shape.size() == expected.size() && llvm::all_of(llvm::zip(shape, expected), [](auto pair) {
                return std::get<1>(pair) == ShapedType::kDynamic || std::get<0>(pair) == std::get<1>(pair);
              });
  if (fits)
    return success();
  auto error = op->emitOpError() << name << " must be ";
  llvm::interleave(expected, error, [&](int64_t size) { ShapedType::isDynamic(size) ? error << "?" : error << size; }, "x");
  return error << ", not " << type;
}

static constexpr int64_t kAny = ShapedType::kDynamic;

static int64_t lastDim(Type type) { return cast<ShapedType>(type).getShape().back(); }

/// A quantized second result has the shape of the first.
static LogicalResult expectQuantizedLike(Operation *op, Value quantized, Type result) {
  if (!quantized)
    return success();
  return expectShape(op, "the quantized result", quantized.getType(), cast<ShapedType>(result).getShape());
}

//===----------------------------------------------------------------------===//
// Embedding, norm, rope, activation
//===----------------------------------------------------------------------===//

LogicalResult EmbedOp::verify() { return expectShape(*this, "the result", getType(), {kAny, lastDim(getTable().getType())}); }

LogicalResult RmsNormOp::verify() {
  Type result = getResult().getType();
  if (failed(expectShape(*this, "gamma", getGamma().getType(), {lastDim(getX().getType())})) ||
      failed(expectShape(*this, "the result", result, {kAny, lastDim(getX().getType())})))
    return failure();
  if (getEps().isNegative())
    return emitOpError("eps must not be negative");
  return expectQuantizedLike(*this, getQuantized(), result);
}

LogicalResult RopeTableOp::verify() {
  if (getInvFreq().empty())
    return emitOpError("needs at least one inverse frequency");
  return expectShape(*this, "the result", getType(), {kAny, static_cast<int64_t>(2 * getInvFreq().size())});
}

LogicalResult SwigluOp::verify() {
  if (getGate().getType() != getUp().getType() || getResult().getType() != getGate().getType())
    return emitOpError("gate, up and the result must have one type");
  return expectQuantizedLike(*this, getQuantized(), getResult().getType());
}

LogicalResult ConcatOp::verify() {
  return expectShape(*this, "the result", getType(), {kAny, lastDim(getA().getType()) + lastDim(getB().getType())});
}

LogicalResult SelectTokensOp::verify() { return expectShape(*this, "the result", getType(), {kAny, lastDim(getX().getType())}); }

//===----------------------------------------------------------------------===//
// Multi-head latent attention
//===----------------------------------------------------------------------===//

/// Every row of the cache and of kv_a is a latent followed by the rope key.
static FailureOr<int64_t> latentDim(Operation *op, Type cacheOrKvA, int64_t ropeDim) {
  int64_t latent = lastDim(cacheOrKvA) - ropeDim;
  if (latent > 0)
    return latent;
  return op->emitOpError("rows of ") << cacheOrKvA << " hold no latent beside the rope key of " << ropeDim;
}

template <typename OpT>
static LogicalResult expectQueries(OpT op, Type q) {
  int64_t ropeDim = op.getRopeDim();
  if (ropeDim % 2 != 0)
    return op.emitOpError("rope_dim must be even, not ") << ropeDim;
  return expectShape(op, "q", q, {kAny, static_cast<int64_t>(op.getHeads() * (op.getNopeDim() + ropeDim))});
}

/// Columns of kv_b.
static FailureOr<int64_t> latentDimOfKvB(Operation *op, Type kvB) {
  ArrayRef<int64_t> shape = qblock::getMatrixShape(kvB);
  if (shape.size() == 2 && !ShapedType::isDynamic(shape[1]))
    return shape[1];
  return op->emitOpError("kv_b must be a matrix with static columns, not ") << kvB;
}

template <typename OpT>
static LogicalResult expectKvB(OpT op, int64_t latent) {
  return expectShape(op, "kv_b", op.getKvB().getType(),
                     {static_cast<int64_t>(op.getHeads() * (op.getNopeDim() + op.getVDim())), latent});
}

/// The op's cache holds rows of so many numbers.
template <typename OpT>
static LogicalResult expectCache(OpT op, int64_t latent, int64_t rope) {
  MemRefType type = op.getCache().getType();
  std::optional<CacheFormat> format = op.getCacheFormat();
  if (!format && type.getElementType().isInteger())
    return op.emitOpError("a cache of bytes must have a cache_format");
  if (!format)
    return expectShape(op, "cache", type, {kAny, latent + rope});
  MemRefType expected = cacheType(op.getContext(), *format, latent, rope);
  if (!expected.getElementType().isInteger())
    return op.emitOpError("cache_format is of caches of bytes: fp8, int8 or int4, not ") << stringifyCacheFormat(*format);
  if (type == expected)
    return success();
  return op.emitOpError("a cache in ") << stringifyCacheFormat(*format) << " must be " << expected << ", not " << type;
}

LogicalResult MlaAttentionOp::verify() {
  FailureOr<int64_t> latent = latentDim(*this, getKvA().getType(), getRopeDim());
  if (failed(latent) || failed(expectQueries(*this, getQ().getType())) || failed(expectKvB(*this, *latent)) ||
      failed(expectShape(*this, "gamma", getGamma().getType(), {*latent})) ||
      failed(expectShape(*this, "rope", getRope().getType(), {kAny, static_cast<int64_t>(getRopeDim())})) ||
      failed(expectCache(*this, *latent, getRopeDim())))
    return failure();
  return expectShape(*this, "the result", getType(), {kAny, static_cast<int64_t>(getHeads() * getVDim())});
}

LogicalResult LatentAppendOp::verify() {
  int64_t ropeDim = lastDim(getRope().getType());
  FailureOr<int64_t> latent = latentDim(*this, getKvA().getType(), ropeDim);
  if (failed(latent) || failed(expectShape(*this, "gamma", getGamma().getType(), {*latent})))
    return failure();
  return expectCache(*this, *latent, ropeDim);
}

LogicalResult MlaAbsorbOp::verify() {
  FailureOr<int64_t> latent = latentDimOfKvB(*this, getKvB().getType());
  if (failed(latent) || failed(expectQueries(*this, getQ().getType())) || failed(expectKvB(*this, *latent)))
    return failure();
  int64_t rope = getRope() ? static_cast<int64_t>(getRopeDim()) : 0;
  if (getRope() && failed(expectShape(*this, "rope", getRope().getType(), {kAny, rope})))
    return failure();
  return expectShape(*this, "the result", getType(), {kAny, static_cast<int64_t>(getHeads()) * (*latent + rope)});
}

LogicalResult MlaCoreOp::verify() {
  FailureOr<int64_t> latent = getCacheFormat() ? lastDim(getQLatent().getType()) / static_cast<int64_t>(getHeads())
                                               : latentDim(*this, getCache().getType(), getRopeDim());
  if (failed(latent) || failed(expectQueries(*this, getQ().getType())) || failed(expectCache(*this, *latent, getRopeDim())))
    return failure();
  int64_t width = static_cast<int64_t>(getHeads()) * *latent;
  if (failed(expectShape(*this, "q_latent", getQLatent().getType(), {kAny, width})))
    return failure();
  return expectShape(*this, "the result", getType(), {kAny, width});
}

LogicalResult MlaDecodeOp::verify() {
  FailureOr<int64_t> latent = latentDim(*this, getCache().getType(), getRopeDim());
  auto heads = static_cast<int64_t>(getHeads());
  if (failed(latent) ||
      failed(expectShape(*this, "queries", getQueries().getType(), {kAny, heads * lastDim(getCache().getType())})))
    return failure();
  if (getCache().getType().getElementType().isInteger())
    return emitOpError("reads a cache of numbers, not ") << getCache().getType();
  return expectShape(*this, "the result", getType(), {kAny, heads * *latent});
}

LogicalResult MlaExpandOp::verify() {
  FailureOr<int64_t> latent = latentDimOfKvB(*this, getKvB().getType());
  if (failed(latent) || failed(expectKvB(*this, *latent)) ||
      failed(expectShape(*this, "x", getX().getType(), {kAny, static_cast<int64_t>(getHeads()) * *latent})))
    return failure();
  return expectShape(*this, "the result", getType(), {kAny, static_cast<int64_t>(getHeads() * getVDim())});
}

//===----------------------------------------------------------------------===//
// Mixture of experts
//===----------------------------------------------------------------------===//

LogicalResult MoeGateOp::verify() {
  int64_t experts = lastDim(getLogits().getType()), groups = getGroups(), limited = getLimitedGroups(), topK = getTopK();
  if (experts % groups != 0)
    return emitOpError() << experts << " experts do not divide into " << groups << " groups";
  if (limited > groups)
    return emitOpError() << "limited_groups " << limited << " is more than the " << groups << " groups";
  if (topK > limited * (experts / groups))
    return emitOpError() << "top_k " << topK << " is more than the " << limited * (experts / groups)
                         << " experts of the groups taken";
  if (getGroupScore() == GroupScore::Top2Sum && experts / groups < 2)
    return emitOpError("top2_sum needs groups of at least two experts");
  if (getBias() && failed(expectShape(*this, "bias", getBias().getType(), {experts})))
    return failure();
  if (failed(expectShape(*this, "ids", getIds().getType(), {kAny, topK})))
    return failure();
  return expectShape(*this, "weights", getWeights().getType(), {kAny, topK});
}

LogicalResult ExpertsOp::verify() {
  ArrayRef<int64_t> gate = qblock::getMatrixShape(getGate().getType());
  if (gate.size() != 3 || ShapedType::isDynamicShape(gate))
    return emitOpError("gate must be experts x inner x dim, all static, not ") << getGate().getType();
  if (failed(expectShape(*this, "up", getUp().getType(), gate)) ||
      failed(expectShape(*this, "down", getDown().getType(), {gate[0], gate[2], gate[1]})) ||
      failed(expectShape(*this, "x", getX().getType(), {kAny, gate[2]})) ||
      failed(expectShape(*this, "weights", getWeights().getType(), cast<ShapedType>(getIds().getType()).getShape())))
    return failure();
  for (auto [name, order, columns] : {std::tuple<StringRef, Value, int64_t>("gate_order", getGateOrder(), gate[2]),
                                      {"up_order", getUpOrder(), gate[2]},
                                      {"down_order", getDownOrder(), gate[1]}})
    if (order && order.getType() != RankedTensorType::get({gate[0], 1, columns}, IntegerType::get(getContext(), 32)))
      return emitOpError() << name << " must be i32 of " << gate[0] << "x1x" << columns << ", not " << order.getType();
  return expectShape(*this, "the result", getType(), {kAny, gate[2]});
}

LogicalResult MoeDispatchOp::verify() {
  if (ShapedType::isDynamic(getFixedRows()))
    return emitOpError("offsets must have a static size, not ") << getOffsets().getType();
  return expectShape(*this, "rows", getRows().getType(), cast<ShapedType>(getIds().getType()).getShape());
}

LogicalResult MoeCombineOp::verify() {
  ArrayRef<int64_t> ids = cast<ShapedType>(getIds().getType()).getShape();
  if (failed(expectShape(*this, "x", getX().getType(), {kAny, ids[1], kAny})) ||
      failed(expectShape(*this, "weights", getWeights().getType(), ids)) ||
      failed(expectShape(*this, "rows", getRows().getType(), ids)))
    return failure();
  return expectShape(*this, "the result", getType(), {kAny, lastDim(getX().getType())});
}
