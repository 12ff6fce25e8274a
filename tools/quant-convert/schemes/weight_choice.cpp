//===- weight_choice.cpp - which weights are cast to FP8 ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/weight_choice.h"

#include "models/config/read.h"
#include "models/tensors.h"
#include "runtime/checkpoint/file.h"
#include "runtime/support/text.h"
#include "tools/quant-convert/schemes/cast_kernels.h"
#include "tools/quant-convert/schemes/dequantize.h"
#include "tools/quant-convert/schemes/scales.h"

#include <fmt/core.h>

#include <regex>
#include <sstream>

using namespace quant;
using namespace quant::convert;

static constexpr uint64_t kMaxListBytes = 256 << 20;
/// The matcher of the standard library recurses; names of real tensors are a tenth of this.
static constexpr size_t kMaxMatchedName = 1000;
static constexpr std::string_view kWeightSuffix = ".weight";

Result<WeightSet> convert::scaledWeights(const checkpoint::Checkpoint &reference) {
  WeightSet weights;
  for (const Tensor &tensor : reference.tensors())
    if (std::string weight = weightOfScale(tensor.info->name, reference); !weight.empty()) {
      if (!reference.find(weight))
        return fail(fmt::format("{}: is a scale, and its weight {} is in no shard", describe(tensor), quote(weight)));
      weights.insert(std::move(weight));
    }
  if (weights.empty())
    return fail(printable(reference.dir().native()) +
                ": holds no scale ('*.weight_scale_inv' or '*.weight_scale'); is it an FP8 checkpoint?");
  return weights;
}

Result<WeightSet> convert::readWeightsList(const std::filesystem::path &path) {
  QUANT_TRY_ASSIGN(auto text, checkpoint::readFile(path, kMaxListBytes));
  WeightSet weights;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' '))
      line.pop_back();
    if (!line.empty() && !line.starts_with('#'))
      weights.insert(line);
  }
  if (weights.empty())
    return fail(printable(path.native()) + ": names no weight; it holds one name a line, such as "
                                           "model.layers.0.mlp.up_proj.weight");
  return weights;
}

Result<WeightSet> convert::modelWeights(const checkpoint::Checkpoint &checkpoint) {
  auto config = models::loadConfig(checkpoint.dir());
  if (!config)
    return fail(config.error().message +
                "; without a DeepSeek config.json say which weights to cast: --input-fp8-hf-path or --weights-list");
  config->quantization.groups = everyLinear(deepSeekFp8());
  WeightSet weights;
  for (const models::TensorSpec &tensor : models::checkpointTensors(*config))
    if (tensor.dtype == DType::F8E4M3FN && checkpoint.find(tensor.name))
      weights.insert(tensor.name);
  if (weights.empty())
    return fail(printable(checkpoint.dir().native()) + ": holds none of the weights that its config.json promises; say which to "
                                                       "cast: --input-fp8-hf-path or --weights-list");
  return weights;
}

Result<void> convert::ignoreWeights(WeightSet &weights, const std::vector<std::string> &patterns) {
  for (const std::string &pattern : patterns) {
    try {
      std::regex expression(pattern, std::regex::ECMAScript | std::regex::optimize);
      for (const std::string &weight : weights)
        if (weight.size() > kMaxMatchedName)
          return fail("tensor " + quote(weight) + ": the name is too long for --ignore");
      std::erase_if(weights, [&](const std::string &weight) {
        return std::regex_search(weight, expression, std::regex_constants::match_continuous);
      });
    } catch (const std::regex_error &error) {
      return fail(fmt::format("--ignore {}: is no regular expression: {}", quote(pattern), error.what()));
    }
  }
  return {};
}

std::vector<std::string> convert::notConvertedModules(const checkpoint::Checkpoint &checkpoint, const WeightSet &weights) {
  std::vector<std::string> modules;
  for (const Tensor &tensor : checkpoint.tensors()) {
    std::string_view name = tensor.info->name;
    if (tensor.info->shape.size() < 2 || !isCastable(tensor.info->dtype) || weights.contains(name) ||
        !weightOfScale(name, checkpoint).empty())
      continue;
    if (name.ends_with(kWeightSuffix))
      name.remove_suffix(kWeightSuffix.size());
    modules.emplace_back(name);
  }
  return modules;
}
