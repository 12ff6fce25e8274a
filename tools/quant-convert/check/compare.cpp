//===- compare.cpp - how far two checkpoints are apart --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/compare.h"

#include "runtime/checkpoint/json_file.h"
#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/scheme_config.h"
#include "runtime/support/text.h"
#include "tools/common/parallel.h"
#include "tools/common/progress.h"
#include "tools/common/tensor_name.h"
#include "tools/quant-convert/schemes/config_json.h"

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

static Result<std::array<int64_t, 2>> readBlock(const TensorSource &source) {
  std::error_code ignored;
  if (std::filesystem::symlink_status(source.configPath(), ignored).type() == std::filesystem::file_type::not_found)
    return std::array<int64_t, 2>{128, 128};
  QUANT_TRY_ASSIGN(auto config, checkpoint::readJsonFile(source.configPath(), 16u << 20));
  return readScheme(quantizedPart(config)).value_or(deepSeekFp8()).block;
}

/// The tensors to compare: all but scales of weights that are there, and only those that the pattern names.
static std::vector<const TensorSource::Tensor *> selectTensors(const TensorSource &source,
                                                               const std::optional<std::regex> &pattern) {
  std::vector<const TensorSource::Tensor *> selected;
  for (const auto &tensor : source.tensors()) {
    const std::string &name = tensor.info->name;
    std::string weightName = weightOfScale(name, source);
    const auto *weight = weightName.empty() ? nullptr : source.find(weightName);
    bool used = weight && findScale(source, *weight) == &tensor;
    bool named = !pattern || (name.size() <= kLongestMatched && std::regex_search(name, *pattern));
    if (!used && named)
      selected.push_back(&tensor);
  }
  return selected;
}

static Result<Pair> makePair(const TensorSource &sourceA, const TensorSource::Tensor &a, std::array<int64_t, 2> blockA,
                             const TensorSource &sourceB, const TensorSource::Tensor &b, std::array<int64_t, 2> blockB) {
  if (a.info->shape != b.info->shape)
    return fail(fmt::format("has shape {} in A and {} in B", shapeText(a.info->shape), shapeText(b.info->shape)));
  auto valuesA = TensorValues::create(a, findScale(sourceA, a), blockA);
  if (!valuesA)
    return fail(valuesA.error().message + ", in A");
  auto valuesB = TensorValues::create(b, findScale(sourceB, b), blockB);
  if (!valuesB)
    return fail(valuesB.error().message + ", in B");
  return Pair{*valuesA, *valuesB};
}

//===----------------------------------------------------------------------===//
// Measuring
//===----------------------------------------------------------------------===//

/// Measures all pairs. The slabs of a tensor are added in their order: the sums do not depend on who is done first.
static void measurePairs(const std::vector<Pair> &pairs, unsigned threads, Comparison &comparison) {
  std::vector<Slab> slabs;
  for (size_t i = 0; i < pairs.size(); ++i) {
    uint64_t elements = pairs[i].a.elements();
    comparison.bytes += pairs[i].a.bytes(0, elements).size() + pairs[i].b.bytes(0, elements).size();
    for (uint64_t begin = 0; begin < elements; begin += kSlab)
      slabs.push_back({i, begin, std::min(begin + kSlab, elements), {}});
  }
  tools::Progress progress("comparing", comparison.bytes);
  tools::parallelFor(slabs.size(), threads, [&](size_t i) {
    Slab &slab = slabs[i];
    const Pair &pair = pairs[slab.pair];
    uint64_t n = slab.end - slab.begin;
    auto bytesA = pair.a.bytes(slab.begin, n), bytesB = pair.b.bytes(slab.begin, n);
    for (auto bytes : {bytesA, pair.a.scaleBytes(slab.begin, n), bytesB, pair.b.scaleBytes(slab.begin, n)})
      checkpoint::willRead(bytes);
    slab.metrics = measure(pair.a, pair.b, slab.begin, slab.end);
    checkpoint::doneReading(bytesA);
    checkpoint::doneReading(bytesB);
    progress.add(bytesA.size() + bytesB.size());
  });
  for (const Slab &slab : slabs)
    append(comparison.tensors[slab.pair].metrics, slab.metrics);
  comparison.seconds = progress.seconds();
}

Result<Comparison> convert::compareCheckpoints(const CompareOptions &options) {
  std::optional<std::regex> pattern;
  if (!options.tensorPattern.empty())
    pattern.emplace(options.tensorPattern);
  QUANT_TRY_ASSIGN(auto a, TensorSource::open(options.a));
  QUANT_TRY_ASSIGN(auto b, TensorSource::open(options.b));
  QUANT_TRY_ASSIGN(auto blockA, readBlock(a));
  QUANT_TRY_ASSIGN(auto blockB, readBlock(b));

  Comparison comparison{options.a, options.b, {}, {}, {}, {}, 0, 0};
  std::vector<Pair> pairs;
  auto tensorsA = selectTensors(a, pattern), tensorsB = selectTensors(b, pattern);
  for (const auto *tensor : tensorsA) {
    const checkpoint::TensorInfo &info = *tensor->info;
    const auto *other = b.find(info.name);
    if (!other) {
      comparison.onlyInA.push_back(info.name);
      continue;
    }
    if (auto pair = makePair(a, *tensor, blockA, b, *other, blockB)) {
      comparison.tensors.push_back({info.name,
                                    tools::moduleKind(info.name),
                                    tools::numberAfter(info.name, "layers"),
                                    info.shape,
                                    info.dtype,
                                    other->info->dtype,
                                    {}});
      pairs.push_back(*pair);
    } else {
      comparison.notCompared.push_back({info.name, pair.error().message});
    }
  }
  for (const auto *tensor : tensorsB)
    if (!a.find(tensor->info->name))
      comparison.onlyInB.push_back(tensor->info->name);
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

std::vector<std::pair<std::string, std::vector<const TensorComparison *>>> convert::byKind(const Comparison &comparison) {
  std::map<std::string, std::vector<const TensorComparison *>> kinds;
  for (const TensorComparison *tensor : comparison.worstFirst())
    kinds[tensor->kind].push_back(tensor);
  return {kinds.begin(), kinds.end()};
}
