//===- MoePrograms.cpp - what gate, dispatch and combine compute ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/deepseek/DeepSeek.h"
#include "dialects/rows/RowBuilder.h"

#include <limits>

using namespace mlir;
using namespace quant;
using namespace quant::deepseek;
using namespace quant::rows;

static constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

namespace {

/// The selection of one token's experts, by lists of scores. A number that is taken becomes -inf.
class GateProgram {
public:
  GateProgram(RowBuilder &b, MoeGateOp op)
      : b(b), op(op), logits(b.rows(op.getLogits())), experts(logits.columns), groups(op.getGroups()), scores(b.scratch(experts)),
        biased(b.scratch(experts)) {}

  void build() {
    if (op.getScoreFunc() == ScoreFunc::Sigmoid)
      setScores([&](Column column) { return 1.0 / (1.0 + exp(-b.load(logits, column))); });
    else
      softmax();
    if (op.getLimitedGroups() < static_cast<uint64_t>(groups))
      closeGroups();
    takeExperts();
  }

private:
  RowBuilder &b;
  MoeGateOp op;
  Rows logits;
  int64_t experts, groups;
  Rows scores, biased;

  /// The scores, and what experts are chosen by.
  void setScores(function_ref<Num(Column)> score) {
    std::optional<Rows> bias;
    if (op.getBias())
      bias = b.rows(op.getBias());
    b.forColumns(experts, [&](Column column) {
      Num value = score(column);
      b.store(scores, column, value);
      b.store(biased, column, bias ? value + b.load(*bias, column) : value);
    });
  }

  void softmax() {
    Num largest =
        b.max(experts, b.constant(kMinusInfinity), [&](Column column, Num sum) { return max(b.load(logits, column), sum); });
    Num total = b.sum(experts, [&](Column column, Num sum) {
      Num value = exp(b.load(logits, column) - largest);
      b.store(scores, column, value);
      return sum + value;
    });
    setScores([&](Column column) { return b.load(scores, column) / total; });
  }

  /// -inf instead of the biased scores of all groups but the best.
  void closeGroups() {
    int64_t size = experts / groups;
    Rows groupScores = b.scratch(groups), isOpen = b.scratch(groups);
    b.forEach(groups, [&](Num group) {
      b.put(groupScores, group, scoreOfGroup(group * size, size));
      b.put(isOpen, group, b.constant(0.0));
    });
    b.loop(op.getLimitedGroups(), [&](Num) {
      Num best = b.argmax(groupScores);
      b.once([&] {
        b.put(groupScores, best, b.constant(kMinusInfinity));
        b.put(isOpen, best, b.constant(1.0));
      });
    });
    b.forEach(experts, [&](Num expert) {
      b.put(biased, expert, select(b.at(isOpen, expert / size) > 0.0, b.at(biased, expert), kMinusInfinity));
    });
  }

  /// The largest biased score of a group, or the sum of its two largest.
  Num scoreOfGroup(const Num &first, int64_t size) {
    Num lowest = b.constant(kMinusInfinity);
    SmallVector<Num> top = b.loop(first, first + size, {lowest, lowest}, [&](Num expert, ArrayRef<Num> best) {
      Num value = b.at(biased, expert), isLargest = value > best[0];
      Num second = select(isLargest, best[0], max(value, best[1]));
      return SmallVector<Num>{select(isLargest, value, best[0]), second};
    });
    return op.getGroupScore() == GroupScore::Top2Sum ? top[0] + top[1] : top[0];
  }

  void takeExperts() {
    int64_t topK = op.getTopK();
    Rows ids = b.rows(op.getIds()), weights = b.rows(op.getWeights()), chosen = b.scratch(topK);
    Num sum = b.loop(b.size(0), b.size(topK), b.constant(0.0), [&](Num index, ArrayRef<Num> carried) {
      Num best = b.argmax(biased), score = b.at(scores, best);
      b.once([&] {
        b.put(ids, index, best);
        b.put(chosen, index, score);
        b.put(biased, best, b.constant(kMinusInfinity));
      });
      return SmallVector<Num>{carried[0] + score};
    })[0];
    Num scale = b.constant(op.getRouteScale().convertToDouble());
    // 1e-20 as in the models' own code: sigmoid scores can underflow together.
    if (op.getNormalize())
      scale = scale / (sum + 1e-20);
    b.forEach(topK, [&](Num index) { b.put(weights, index, b.at(chosen, index) * scale); });
  }
};

} // namespace

void MoeGateOp::buildRow(RowBuilder &b) { GateProgram(b, *this).build(); }

int64_t MoeDispatchOp::getFixedRows() { return getOffsets().getType().getDimSize(0); }

/// A row is an expert, and the last one where the list ends: it looks at all pairs for its own, so that no row waits for another.
void MoeDispatchOp::buildRow(RowBuilder &b) {
  Rows ids = b.rows(getIds()).asList(), offsets = b.rows(getOffsets()), rows = b.rows(getRows()).asList();
  Num expert = b.row(), pairs = b.tokens(getIds()) * ids.columns;
  auto countIf = [](const Num &condition, const Num &count) { return SmallVector<Num>{select(condition, count + 1, count)}; };
  b.once([&] {
    Num first = b.loop(b.size(0), pairs, b.size(0),
                       [&](Num pair, ArrayRef<Num> lower) { return countIf(b.at(ids, pair) < expert, lower[0]); })[0];
    b.put(offsets, expert, first);
    b.loop(b.size(0), pairs, first, [&](Num pair, ArrayRef<Num> place) {
      Num isOwn = equal(b.at(ids, pair), expert);
      b.ifThen(isOwn, [&] { b.put(rows, place[0], pair); });
      return countIf(isOwn, place[0]);
    });
  });
}

Value MoeCombineOp::getRowSource() { return getIds(); }

void MoeCombineOp::buildRow(RowBuilder &b) {
  Rows x = b.rows(getX()), ids = b.rows(getIds()), weights = b.rows(getWeights()), offsets = b.rows(getOffsets()),
       rows = b.rows(getRows()).asList(), y = b.rows(getResult());
  int64_t topK = ids.columns;
  Rows places = b.scratchIndices(topK);
  // Where the token's pairs stand among their experts' rows.
  b.loop(topK, [&](Num slot) {
    Num pair = b.row() * topK + slot, expert = b.at(ids, slot);
    b.forEach(b.at(offsets, expert), b.at(offsets, expert + 1),
              [&](Num place) { b.ifThen(equal(b.at(rows, place), pair), [&] { b.put(places, slot, place); }); });
  });
  SmallVector<std::pair<Rows, Num>> terms;
  for (int64_t slot = 0; slot < topK; ++slot)
    terms.emplace_back(x.ofRow(b.at(places, b.size(slot))), b.at(weights, b.size(slot)));
  b.forColumns(y.columns, [&](Column column) {
    Num sum = b.constant(0.0, column);
    for (const auto &[row, weight] : terms)
      sum = fma(b.load(row, column), weight, sum);
    b.store(y, column, sum);
  });
}
