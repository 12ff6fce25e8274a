//===- MlaCombine.cpp - attention over parts of the keys, merged ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/MlaDecode.h"
#include "lowering/target/sm90/simt/SimtKernel.h"

#include <fmt/core.h>
#include <limits>

using namespace mlir;

namespace quant::nvvm {

using machine::MlaCombineConfig;

static constexpr int64_t kLatent = machine::MlaDecodeConfig::kLatent;
/// A thread takes four columns of a row.
static constexpr int64_t kThreads = kLatent / kQuad;
static constexpr unsigned kF32Bytes = 4;

namespace {
/// A row of a token and head, of each part.
struct RowOfParts {
  SimtBuilder &b;
  const MlaCombineConfig &config;
  Value values, logarithms, rows, row, largest = {};

  /// The part's row, counted over all parts.
  Value indexOf(Value part) { return b.add(b.mul(part, rows), row); }
  Value logarithmOf(Value part) { return b.load(b.f32(), b.at(logarithms, b.f32(), indexOf(part)), kF32Bytes); }

  template <typename Fold>
  SmallVector<Value> overParts(ValueRange init, Fold fold) {
    return b.loop(b.int32(0), b.int32(config.splits), 1, init, fold);
  }

  void findLargest() {
    Value least = b.number(-std::numeric_limits<float>::infinity());
    largest = overParts(
        least, [&](Value part, ValueRange carried) { return SmallVector<Value>{b.max(carried[0], logarithmOf(part))}; })[0];
  }

  /// The sum of weights, and of the thread's columns times them. A part without keys has the weight 0, also where none has any.
  SmallVector<Value> sums() {
    return overParts({b.number(0.0), b.number(0.0, kQuad)}, [&](Value part, ValueRange carried) {
      Value logarithm = logarithmOf(part), none = b.number(-std::numeric_limits<float>::infinity());
      Value weight = b.select(b.equal(logarithm, none), b.number(0.0), b.exp(b.sub(logarithm, largest)));
      Value line = b.at(values, b.f32(), b.mul(b.convert(b.getI64Type(), indexOf(part)), kLatent));
      Value quad = b.loadLanes(b.f32(), b.at(line, b.f32(), b.mul(b.thread, kQuad)), kQuad);
      return SmallVector<Value>{b.add(carried[0], weight), b.fma(b.spread(weight, kQuad), quad, carried[1])};
    });
  }
};
} // namespace

/// ln x.
static Value logarithm(SimtBuilder &b, Value x) { return b.mul(b.log2(x), b.number(0.693147180559945309)); }

static void emitCombine(SimtBuilder &b, const MlaCombineConfig &config, ArrayRef<Value> pointers, Value tokens) {
  RowOfParts parts = {b, config, pointers[0], pointers[1], b.mul(tokens, config.heads), b.block};
  parts.findLargest();
  SmallVector<Value> sums = parts.sums();
  Value isEmpty = b.equal(sums[0], b.number(0.0));
  Value inverse = b.select(isEmpty, b.number(0.0), b.div(b.number(1.0), sums[0]));
  Value line = b.at(pointers[2], b.getBF16Type(), b.mul(b.convert(b.getI64Type(), b.block), kLatent));
  b.storeLanes(b.getBF16Type(), b.at(line, b.getBF16Type(), b.mul(b.thread, kQuad)), b.mul(sums[1], b.spread(inverse, kQuad)));
  if (!config.lse)
    return;
  Value lse = b.select(isEmpty, parts.largest, b.add(parts.largest, logarithm(b, sums[0])));
  b.ifThen(b.equal(b.thread, 0), [&] { b.store(lse, b.at(pointers[3], b.f32(), b.block), kF32Bytes); });
}

Result<LaunchRecipe> buildMlaCombine(gpu::GPUModuleOp gpuModule, const MlaCombineConfig &config) {
  QUANT_TRY(checkMlaCombine(config));
  SizeExpr tokens = Dim::M;
  LaunchRecipe recipe;
  recipe.kernel = config.symbolName();
  recipe.block = {kThreads, 1, 1};
  recipe.grid = tokens * SizeExpr(config.heads);
  recipe.operands = {{"o_parts", "f32", false, {config.splits, tokens, config.heads, kLatent}},
                     {"lse_parts", "f32", false, {config.splits, tokens, config.heads}},
                     {"o", "bf16", true, {tokens, config.heads, kLatent}}};
  if (config.lse)
    recipe.operands.push_back({"lse", "f32", true, {tokens, config.heads}});
  recipe.config = {{"heads", config.heads}, {"splits", config.splits}, {"lse", config.lse}};
  // Rows of all parts are counted in i32.
  recipe.limits = {{Dim::M, ((int64_t(1) << 31) - 1) / (config.splits * config.heads)}};
  auto body = [&](SimtBuilder &b, ArrayRef<Value> pointers, ArrayRef<Value> sizes) -> Result<void> {
    emitCombine(b, config, pointers, sizes[0]);
    return {};
  };
  return buildSimtKernel(gpuModule, recipe, Dim::M, body);
}

} // namespace quant::nvvm
