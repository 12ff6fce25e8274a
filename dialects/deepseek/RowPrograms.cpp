//===- RowPrograms.cpp - what ops compute for one row ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/RowPrograms.h"
#include "dialects/deepseek/LatentCache.h"
#include "dialects/qblock/RowPrograms.h"

#include <numbers>

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;
using namespace quant::rows;

/// How the second result of an op is quantized, where it has one.
static std::optional<qblock::Quantization> quantizationOf(RowBuilder &b, QuantizingOpInterface op) {
  if (!op.getQuantized())
    return std::nullopt;
  auto type = cast<qblock::BlockTensorType>(op.getQuantized().getType());
  bool powerOfTwo = op.getPowerOfTwo() || isa<Float8E8M0FNUType>(type.getScaleType());
  return qblock::Quantization{b.quantized(op.getQuantized()), op.getAmaxFloor().convertToDouble(), powerOfTwo};
}

static void copyRow(RowBuilder &b, const Rows &source, const Rows &target) {
  b.forColumns(target.columns, [&](Column column) { b.store(target, column, b.load(source, column)); });
}

void EmbedOp::buildRow(RowBuilder &b) {
  copyRow(b, b.rows(getTable()).ofRow(b.at(b.rows(getIds()), b.row())), b.rows(getResult()));
}

void ConcatOp::buildRow(RowBuilder &b) {
  Rows left = b.rows(getA()), right = b.rows(getB()), target = b.rows(getResult());
  copyRow(b, left, target.slice(0, left.columns));
  copyRow(b, right, target.slice(left.columns, right.columns));
}

Value SelectTokensOp::getRowSource() { return getSelected(); }

void SelectTokensOp::buildRow(RowBuilder &b) {
  copyRow(b, b.rows(getX()).ofRow(b.at(b.rows(getSelected()), b.row())), b.rows(getResult()));
}

/// 1 / sqrt(mean of squares + eps).
static Num inverseRms(RowBuilder &b, const Rows &x, double eps) {
  Num squares = b.sum(x.columns, [&](Column column, Num sum) {
    Num value = b.load(x, column);
    return fma(value, value, sum);
  });
  return 1.0 / sqrt(squares / static_cast<double>(x.columns) + eps);
}

static void normRow(RowBuilder &b, const Rows &x, const Rows &gamma, double eps, const Rows &target,
                    const std::optional<qblock::Quantization> &quantization) {
  Num scale = inverseRms(b, x, eps);
  qblock::storeRow(b, target, quantization, [&](Column column) { return b.load(x, column) * scale * b.load(gamma, column); });
}

void RmsNormOp::buildRow(RowBuilder &b) {
  normRow(b, b.rows(getX()), b.rows(getGamma()), getEps().convertToDouble(), b.rows(getResult()), quantizationOf(b, *this));
}

int64_t SwigluOp::getIndependentColumns() {
  constexpr int64_t kGroup = 128;
  if (!getQuantized())
    return kGroup;
  // One scale for a whole row needs the whole row.
  auto type = cast<qblock::BlockTensorType>(getQuantized().getType());
  return type.getBlockExtent(type.getRank() - 1) > kGroup ? 0 : kGroup;
}

void SwigluOp::buildRow(RowBuilder &b) {
  Rows gate = b.rows(getGate()), up = b.rows(getUp());
  qblock::storeRow(b, b.rows(getResult()), quantizationOf(b, *this), [&](Column column) {
    Num x = b.load(gate, column);
    return x / (1.0 + exp(-x)) * b.load(up, column);
  });
}

//===----------------------------------------------------------------------===//
// Rope and the latent cache
//===----------------------------------------------------------------------===//

/// 1 / n! with alternating signs for n = first, first + 2, ...: the Taylor series of cos (0) and sin (1) in r^2, to 1e-12 at pi.
static SmallVector<double> alternatingFactorials(int first) {
  constexpr int kTerms = 13;
  SmallVector<double> result;
  double term = 1.0;
  for (int index = 0, n = first; index < kTerms; ++index, n += 2) {
    result.push_back(term);
    term /= -static_cast<double>(n + 1) * (n + 2);
  }
  return result;
}

/// sum of coefficients[i] * square^i.
static Num horner(const Num &square, ArrayRef<double> coefficients) {
  Num result = Operand(coefficients.back()).like(square);
  for (double coefficient : llvm::reverse(coefficients.drop_back()))
    result = fma(result, square, coefficient);
  return result;
}

void RopeTableOp::buildRow(RowBuilder &b) {
  int64_t count = getInvFreq().size();
  double factor = getFactor().convertToDouble();
  Rows cosines = b.rows(getResult()).slice(0, count), sines = b.rows(getResult()).slice(count, count);
  Num position = b.at(b.rows(getPositions()), b.row());
  // In f64: positions go to 163840, and an f32 angle of that size has lost the turn's third decimal.
  b.forConstants(getInvFreq(), [&](Column column, Num frequency) {
    Num angle = frequency * f64(position);
    // To [-pi, pi]: in f64 a position of 2^20 loses nothing that f32 could show.
    Num turns = roundEven(angle * (0.5 / std::numbers::pi));
    Num reduced = fma(turns, -2.0 * std::numbers::pi, angle), square = reduced * reduced;
    b.store(cosines, column, f32(horner(square, alternatingFactorials(0)) * factor));
    b.store(sines, column, f32(reduced * horner(square, alternatingFactorials(1)) * factor));
  });
}

void quant::deepseek::rotateRow(RowBuilder &b, const Rows &x, const Rows &table, bool interleaved, const Rows &target) {
  int64_t half = table.columns / 2;
  b.forEach(half, [&](Num pair) {
    Num first = interleaved ? pair * 2 : pair, second = first + (interleaved ? 1 : half);
    Num left = b.at(x, first), right = b.at(x, second);
    Num cosine = b.at(table, pair), sine = b.at(table, pair + half);
    b.put(target, first, left * cosine - right * sine);
    b.put(target, second, left * sine + right * cosine);
  });
}

Num quant::deepseek::cacheRow(RowBuilder &b, const Rows &pages, const Num &sequence, const Num &position) {
  return b.at(pages.ofRow(sequence), position / kPageRows) * kPageRows + position % kPageRows;
}

void LatentAppendOp::buildRow(RowBuilder &b) {
  Rows kv = b.rows(getKvA()), gamma = b.rows(getGamma()), table = b.rows(getRope());
  int64_t latent = gamma.columns, rope = table.columns;
  LatentCache cache(b.rows(getCache()), getCacheFormat(), latent, rope);
  Rows x = kv.slice(0, latent);
  Num scale = inverseRms(b, x, getEps().convertToDouble());
  Num sequence = b.at(b.rows(getSequences()), b.row()), position = b.at(b.rows(getPositions()), b.row());
  Num row = cacheRow(b, b.rows(getPages()), sequence, position);
  cache.store(b, row, [&](Column column) { return b.load(x, column) * scale * b.load(gamma, column); });
  rotateRow(b, kv.slice(latent, rope), table, getInterleaved(), cache.ropes.ofRow(row));
}
