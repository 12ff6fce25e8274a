//===- compare.cpp - how far two checkpoints are apart --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/compare.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/text.h"
#include "tools/common/parallel.h"
#include "tools/common/progress.h"
#include "tools/common/tensor_name.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <regex>
#include <tuple>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

//===----------------------------------------------------------------------===//
// Pairing
//===----------------------------------------------------------------------===//

namespace {

/// Both sides of a tensor.
struct Pair {
  TensorValues a, b;
  std::optional<Blocks> blocks;
};

/// A part of a pair that one thread takes at a time.
struct Slab {
  size_t pair;
  uint64_t begin, end;
  Metrics metrics;
};

/// std::regex recurses over the text; no tensor's name is that long but for mischief.
constexpr size_t kLongestMatched = 4096;

/// Values of a slab.
constexpr uint64_t kSlab = 4 << 20;

} // namespace

/// Whether the pattern names a weight; all are named without one.
static bool isNamed(const std::string &name, const std::optional<std::regex> &pattern) {
  return !pattern || (name.size() <= kLongestMatched && std::regex_search(name, *pattern));
}

static std::string schemeOf(const Weight &weight) { return weight.linear ? std::string(weight.linear->scheme().name) : ""; }

/// Blocks that share a scale, of B or else of A; nothing where there is one scale only.
static std::optional<Blocks> blocksOf(const Weight &a, const Weight &b) {
  const auto &linear = b.linear ? b.linear : a.linear;
  if (!linear || linear->rows() == 0 || linear->columns() == 0)
    return std::nullopt;
  const ScaleGrid &grid = linear->grid();
  if (grid.rows * grid.cols == 1)
    return std::nullopt;
  return linear->isRowMajor() ? Blocks{linear->columns(), grid.blockRows, grid.blockCols}
                              : Blocks{linear->columns(), 1, grid.blockRows};
}

static Result<Pair> makePair(const Weight &a, const Weight &b) {
  auto valuesA = TensorValues::create(a);
  if (!valuesA)
    return fail(valuesA.error().message + ", in A");
  auto valuesB = TensorValues::create(b);
  if (!valuesB)
    return fail(valuesB.error().message + ", in B");
  if (valuesA->shape() != valuesB->shape())
    return fail(fmt::format("has shape {} in A and {} in B", shapeText(valuesA->shape()), shapeText(valuesB->shape())));
  return Pair{*valuesA, *valuesB, blocksOf(a, b)};
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

/// Elements that one thread takes at a time: whole rows of blocks, where there are blocks.
static uint64_t slabOf(const Pair &pair) {
  if (!pair.a.isContiguous() || !pair.b.isContiguous())
    return std::max<uint64_t>(pair.a.elements(), 1);
  if (!pair.blocks)
    return kSlab;
  auto rowOfBlocks = uint64_t(pair.blocks->columns) * uint64_t(pair.blocks->blockRows);
  return std::max<uint64_t>(kSlab / rowOfBlocks, 1) * rowOfBlocks;
}

/// Measures all pairs. The slabs of a tensor are added in their order: the sums do not depend on who is done first.
static void measurePairs(const std::vector<Pair> &pairs, unsigned threads, Comparison &comparison) {
  std::vector<Slab> slabs;
  for (size_t i = 0; i < pairs.size(); ++i) {
    uint64_t elements = pairs[i].a.elements();
    comparison.bytes += pairs[i].a.bytes(0, elements).size() + pairs[i].b.bytes(0, elements).size();
    for (uint64_t begin = 0, slab = slabOf(pairs[i]); begin < elements; begin += slab)
      slabs.push_back({i, begin, std::min(begin + slab, elements), {}});
  }
  tools::Progress progress("comparing", comparison.bytes);
  tools::parallelFor(slabs.size(), threads, [&](size_t i) {
    Slab &slab = slabs[i];
    const Pair &pair = pairs[slab.pair];
    uint64_t n = slab.end - slab.begin;
    auto bytesA = pair.a.bytes(slab.begin, n), bytesB = pair.b.bytes(slab.begin, n);
    for (auto bytes : {bytesA, pair.a.scaleBytes(slab.begin, n), bytesB, pair.b.scaleBytes(slab.begin, n)})
      checkpoint::willRead(bytes);
    slab.metrics = measure(pair.a, pair.b, slab.begin, slab.end, pair.blocks);
    checkpoint::doneReading(bytesA);
    checkpoint::doneReading(bytesB);
    progress.add(bytesA.size() + bytesB.size());
  });
  for (const Slab &slab : slabs)
    append(comparison.tensors[slab.pair].metrics, slab.metrics);
  comparison.seconds = progress.seconds();
}

static TensorComparison describePair(const Weight &a, const Weight &b, const Pair &pair) {
  std::array<int64_t, 2> block = {};
  if (pair.blocks)
    block = {pair.blocks->blockRows, pair.blocks->blockColumns};
  return {a.name,
          tools::moduleKind(a.name),
          tools::numberAfter(a.name, "layers"),
          pair.a.shape(),
          a.tensor->info->dtype,
          b.tensor->info->dtype,
          schemeOf(a),
          schemeOf(b),
          block,
          {}};
}

Result<Comparison> convert::compareCheckpoints(const CompareOptions &options) {
  std::optional<std::regex> pattern;
  if (!options.tensorPattern.empty())
    pattern.emplace(options.tensorPattern);
  QUANT_TRY_ASSIGN(auto a, TensorSource::open(options.a));
  QUANT_TRY_ASSIGN(auto b, TensorSource::open(options.b));
  QUANT_TRY_ASSIGN(auto weightsA, readWeights(a, options.threads));
  QUANT_TRY_ASSIGN(auto weightsB, readWeights(b, options.threads));

  Comparison comparison{options.a, options.b, {}, {}, {}, {}, 0, 0};
  std::vector<Pair> pairs;
  for (const Weight &weight : weightsA.all()) {
    if (!isNamed(weight.name, pattern))
      continue;
    const Weight *other = weightsB.find(weight.name);
    if (!other)
      comparison.onlyInA.push_back(weight.name);
    else if (auto pair = makePair(weight, *other)) {
      comparison.tensors.push_back(describePair(weight, *other, *pair));
      pairs.push_back(*pair);
    } else
      comparison.notCompared.push_back({weight.name, pair.error().message});
  }
  for (const Weight &weight : weightsB.all())
    if (isNamed(weight.name, pattern) && !weightsA.find(weight.name))
      comparison.onlyInB.push_back(weight.name);
  measurePairs(pairs, options.threads, comparison);
  QUANT_TRY(a.verifyUnchanged());
  QUANT_TRY(b.verifyUnchanged());
  return comparison;
}

//===----------------------------------------------------------------------===//
// Figures
//===----------------------------------------------------------------------===//

static bool isWorse(const TensorComparison *a, const TensorComparison *b) {
  auto rank = [](const TensorComparison *tensor) { return std::tuple(tensor->metrics.mismatched == 0, tensor->metrics.sqnr()); };
  return rank(a) != rank(b) ? rank(a) < rank(b) : a->name < b->name;
}

std::vector<const TensorComparison *> Comparison::worstFirst() const {
  std::vector<const TensorComparison *> order;
  for (const TensorComparison &tensor : tensors)
    order.push_back(&tensor);
  std::ranges::sort(order, isWorse);
  return order;
}

uint64_t Comparison::values() const {
  uint64_t sum = 0;
  for (const TensorComparison &tensor : tensors)
    sum += tensor.metrics.elements;
  return sum;
}

double convert::medianSqnr(std::vector<const TensorComparison *> tensors) {
  std::vector<double> sqnr;
  for (const TensorComparison *tensor : tensors)
    if (!tensor->metrics.identical())
      sqnr.push_back(tensor->metrics.sqnr());
  if (sqnr.empty())
    return std::nan("");
  auto middle = sqnr.begin() + std::ptrdiff_t(sqnr.size() / 2);
  std::ranges::nth_element(sqnr, middle);
  return *middle;
}

Metrics convert::totals(const std::vector<const TensorComparison *> &tensors) {
  Metrics sum;
  for (const TensorComparison *tensor : tensors)
    append(sum, tensor->metrics);
  return sum;
}

std::vector<std::pair<std::string, std::vector<const TensorComparison *>>> convert::byKind(const Comparison &comparison) {
  std::map<std::string, std::vector<const TensorComparison *>> kinds;
  for (const TensorComparison *tensor : comparison.worstFirst())
    kinds[tensor->kind].push_back(tensor);
  return {kinds.begin(), kinds.end()};
}
