//===- lint_layer_checks.cpp - rules of fused layers, experts and sizes ---===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"
#include "tools/quant-convert/check/lint_checks.h"

#include <fmt/core.h>

#include <array>
#include <cmath>

using namespace quant;
using namespace quant::convert;

static bool isPackedInt(const Scheme &scheme) { return scheme.packing == Packing::WordsInRow; }
static bool isWords(const Scheme &scheme) { return scheme.packing >= Packing::WordsInRow; }
static bool isInt4Words(const Scheme &scheme) { return isWords(scheme) && bitWidth(scheme.element) == 4; }

static bool haveSameScheme(const LintModule &a, const LintModule &b) {
  return a.scheme && b.scheme ? *a.scheme == *b.scheme : a.scheme == b.scheme;
}

/// The module whose last part is another.
static const LintModule *sibling(const LintModel &model, const LintModule &module, const std::string &last) {
  return model.find(module.name.substr(0, module.name.size() - module.last.size()) + last);
}

/// Ranks that split its outputs, and its inputs.
static std::array<int64_t, 2> ranksOf(const LintModel &model, const LintModule &module) {
  int64_t ranks = module.isRouted ? model.expertRanks() : model.options.tp;
  bool byRows = module.isOneOf({"q_proj", "q_b_proj", "kv_b_proj", "gate_proj", "up_proj"});
  bool byColumns = module.isOneOf({"o_proj", "down_proj"});
  return {byRows ? ranks : 1, byColumns ? ranks : 1};
}

//===----------------------------------------------------------------------===//
// Fused projections and experts
//===----------------------------------------------------------------------===//

void convert::checkFused(const LintModel &model, const Report &report) {
  constexpr std::array<std::pair<std::string_view, const char *>, 2> pairs = {
      {{"q_a_proj", "kv_a_proj_with_mqa"}, {"gate_proj", "up_proj"}}};
  for (const LintModule &module : model.modules)
    for (const auto &[first, second] : pairs)
      if (const LintModule *other = module.last == first ? sibling(model, module, second) : nullptr)
        if (!haveSameScheme(module, *other))
          report(module.tensor(),
                 fmt::format("is {} and {} is {}: both are one matrix there", schemeText(module), second, schemeText(*other)));
}

void convert::checkExperts(const LintModel &model, const Report &report) {
  std::map<std::string, const LintModule *> firsts;
  for (const LintModule &module : model.modules) {
    if (!module.isRouted || !module.isOneOf({"gate_proj", "up_proj", "down_proj"}))
      continue;
    const LintModule *first = firsts.try_emplace(module.block, &module).first->second;
    if (!haveSameScheme(*first, module))
      report(module.tensor(), fmt::format("is {} and {} is {}: the routed experts of a layer are one kernel", schemeText(module),
                                          quote(first->name), schemeText(*first)));
  }
}

void convert::checkMoeScheme(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    if (!isMoeProjection(module) || !isCompressed(model))
      continue;
    const Scheme &scheme = *module.scheme;
    bool isW8A8 = scheme.element == DType::I8 && scheme.packing == Packing::Elements;
    if (scheme.zeroPoints != ZeroPoints::None)
      report(module.tensor(), "has zero points: experts are symmetric there");
    else if (isW8A8 && scheme.block != Block{1, 0})
      report(module.tensor(), "is INT8 in groups: experts in INT8 have a scale for each row there");
  }
}

void convert::checkMoeInt8Inputs(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (isMoeProjection(module) && isInt4Words(*module.scheme) && module.scheme->input == DType::I8)
      report(module.tensor(), "is INT4 with INT8 inputs, in an expert");
}

void convert::checkMoeFp8Inputs(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    if (!isMoeProjection(module) || !isInt4Words(*module.scheme) || module.scheme->input != DType::F8E4M3FN)
      continue;
    if (model.options.gpu != Gpu::Sm90)
      report(module.tensor(), "is INT4 with FP8 inputs, in an expert: the kernel is Hopper's");
    else if (module.rows % 256 != 0 || module.columns % 256 != 0)
      report(module.tensor(),
             fmt::format("is {}x{}: hidden and intermediate size must be multiples of 256", module.rows, module.columns));
  }
}

void convert::checkExpertCount(const LintModel &model, const Report &report) {
  int64_t experts = model.integer("n_routed_experts");
  if (experts > 0 && experts % model.options.ep != 0)
    report("", fmt::format("n_routed_experts is {}, which --ep={} does not divide", experts, model.options.ep));
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

/// Groups that end short.
void convert::checkGroups(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.scheme && module.scheme->block[0] == 1 && module.scheme->block[1] > 0 &&
        module.columns % module.scheme->block[1] != 0)
      report(module.tensor(),
             fmt::format("has {} columns, which groups of {} do not divide", module.columns, module.scheme->block[1]));
}

/// The inputs of a rank must be whole groups, its outputs whole words of zero points.
void convert::checkGroupSplit(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    if (!module.scheme || module.scheme->block[0] != 1)
      continue;
    auto [rowRanks, columnRanks] = ranksOf(model, module);
    int64_t group = module.scheme->block[1], columns = module.columns / columnRanks;
    if (module.columns % columnRanks != 0 || module.rows % rowRanks != 0)
      report(module.tensor(),
             fmt::format("is {}x{}, which {} ranks do not divide", module.rows, module.columns, std::max(rowRanks, columnRanks)));
    else if (group > 0 && columnRanks > 1 && columns % group != 0)
      report(module.tensor(), fmt::format("has {} columns, {} on each of {} ranks: groups of {} are cut", module.columns, columns,
                                          columnRanks, group));
    else if (module.scheme->zeroPoints != ZeroPoints::None && module.rows / rowRanks % 8 != 0)
      report(module.tensor(), fmt::format("has {} rows, {} on each of {} ranks: a word holds the zero points of eight",
                                          module.rows, module.rows / rowRanks, rowRanks));
  }
}

/// Blocks of FP8 that a rank would get a part of, or the second matrix of a fused pair would begin in.
void convert::checkBlockSplit(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    if (!module.scheme || !isFp8Blocks(*module.scheme))
      continue;
    const Block &block = module.scheme->block;
    auto [rowRanks, columnRanks] = ranksOf(model, module);
    bool isFirst = module.isOneOf({"gate_proj", "up_proj", "q_a_proj"});
    if (columnRanks > 1 && (module.columns % columnRanks != 0 || module.columns / columnRanks % block[1] != 0))
      report(module.tensor(),
             fmt::format("has {} columns, {:g} on each of {} ranks: blocks of {} are cut", module.columns,
                         static_cast<double>(module.columns) / static_cast<double>(columnRanks), columnRanks, block[1]));
    else if ((rowRanks > 1 || isFirst) && (module.rows % rowRanks != 0 || module.rows / rowRanks % block[0] != 0))
      report(module.tensor(), fmt::format("has {} rows, {:g} on each of {} ranks: blocks of {} are cut", module.rows,
                                          static_cast<double>(module.rows) / static_cast<double>(rowRanks), rowRanks, block[0]));
  }
}

/// Marlin's tiles.
void convert::checkMarlin(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    if (!module.scheme || !isWords(*module.scheme) || module.scheme->activations != ActivationScheme::None)
      continue;
    auto [rowRanks, columnRanks] = ranksOf(model, module);
    int64_t group = module.scheme->block[1], rows = module.rows / rowRanks, columns = module.columns / columnRanks;
    if (rows % 64 != 0 || columns % 128 != 0)
      report(module.tensor(), fmt::format("is {}x{} on a rank: rows must be a multiple of 64 and columns of 128", rows, columns));
    else if (group != 0 && group != 32 && group != 64 && group != 128)
      report(module.tensor(), fmt::format("has groups of {}; whole rows, 32, 64 and 128 are known", group));
  }
}

void convert::checkRaggedBlocks(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    if (!module.scheme || !isFp8Blocks(*module.scheme) || module.scheme->method != "fp8")
      continue;
    const Block &block = module.scheme->block;
    if (module.rows % block[0] != 0 || module.columns % block[1] != 0)
      report(module.tensor(), fmt::format("is {}x{}, no whole blocks of {}x{}: their size is taken for rows / scale rows",
                                          module.rows, module.columns, block[0], block[1]));
  }
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

void convert::checkKvB(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.last == "kv_b_proj" && module.scheme && (isPackedInt(*module.scheme) || module.scheme->method == "gptq"))
      report(module.tensor(), fmt::format("is {}: latent attention takes it apart and reads `weight`", schemeText(module)));
}

void convert::checkQkvA(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.isOneOf({"q_a_proj", "kv_a_proj_with_mqa"}) && module.scheme &&
        (isPackedInt(*module.scheme) || module.scheme->method == "gptq"))
      report(module.tensor(), fmt::format("is {}: its tensors are put together along the first dimension, weight_shape and "
                                          "qweight, too",
                                          schemeText(module)));
}

void convert::checkIndexer(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    const LintModule *other = module.name.ends_with("indexer.wk") ? sibling(model, module, "weights_proj") : nullptr;
    if (other && !haveSameScheme(module, *other))
      report(module.tensor(),
             fmt::format("is {} and weights_proj is {}: both are one matrix there", schemeText(module), schemeText(*other)));
  }
}
