//===- inspect.cpp - what is in a checkpoint ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/inspect.h"

#include "models/config/read.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/support/text.h"
#include "tools/common/tensor_name.h"
#include "tools/quant-convert/schemes/config_json.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <tuple>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;
using tools::TensorSource;

uint64_t Inspection::errors() const { return uint64_t(std::ranges::count_if(problems, &Problem::error)); }

//===----------------------------------------------------------------------===//
// Configuration
//===----------------------------------------------------------------------===//

/// Whether the configuration claims to be one that we know: then what is wrong with it is an error.
static bool isOurs(const json &config) {
  auto type = config.find("model_type");
  bool deepSeek = type != config.end() && (*type == "deepseek_v3" || *type == "deepseek_v2" || *type == "kimi_k2");
  auto quantization = config.find("quantization_config");
  if (!deepSeek || quantization == config.end() || !quantization->is_object())
    return deepSeek;
  return quantization->value("quant_method", json("fp8")) == "fp8";
}

/// quant_method of the quantization_config, wherever that is; "" if there is none.
static std::string quantMethod(const json &config) {
  const json &part = quantizedPart(config);
  auto quantization = part.find("quantization_config");
  bool isObject = quantization != part.end() && quantization->is_object();
  json method = isObject ? quantization->value("quant_method", json()) : json();
  return method.is_string() ? method.get<std::string>() : "";
}

static void readConfig(const TensorSource &source, Inspection &inspection) {
  std::filesystem::path path = source.configPath();
  std::error_code ignored;
  if (std::filesystem::symlink_status(path, ignored).type() == std::filesystem::file_type::not_found) {
    inspection.configNote = "no config.json";
    return;
  }
  auto raw = checkpoint::readJsonFile(path, 16u << 20);
  if (!raw || !raw->is_object()) {
    inspection.configNote = "config.json cannot be read";
    inspection.report(true, "config", "", raw ? printable(path.native()) + ": is no JSON object" : raw.error().message);
    return;
  }
  inspection.configured = schemesOf(*raw); // what is wrong with it is said below
  inspection.quantMethod = quantMethod(*raw);
  std::vector<std::string> notes;
  auto config = models::loadConfig(source.isSingleFile() ? path : path.parent_path(), &notes);
  for (const std::string &note : notes)
    inspection.report(false, "config", "", note);
  if (config && source.isSingleFile()) {
    inspection.configNote = "one file of a checkpoint, not checked against its config.json";
  } else if (config) {
    inspection.config = *config;
    inspection.totals = models::totals(*config);
  } else {
    inspection.configNote = "config.json is not one that is known here";
    inspection.report(isOurs(*raw), "config", "", config.error().message + "; tensors are not checked against it");
  }
}

/// Of a model that is known here each tensor is checked. Loaders of any other go by config.json all the same.
static void checkClaim(const TensorSource &source, Inspection &inspection) {
  bool isFp8Stored =
      std::ranges::any_of(inspection.dtypes, [](const auto &dtype) { return isFp8(dtype.first); }) || !inspection.schemes.empty();
  if (!inspection.config && !source.isSingleFile() && inspection.quantMethod == "fp8" && !isFp8Stored)
    inspection.report(
        true, "quantization", "",
        "config.json has a quantization_config of fp8 and no tensor is FP8: loaders would take the weights for FP8; "
        "remove it");
}

//===----------------------------------------------------------------------===//
// Counting
//===----------------------------------------------------------------------===//

static void countLayers(const TensorSource &source, Inspection &inspection) {
  struct Layer {
    bool mtp = false;
    int64_t experts = 0;
  };
  std::map<int64_t, Layer> layers;
  for (const auto &tensor : source.tensors()) {
    std::string_view name = tensor.info->name;
    int64_t number = tools::numberAfter(name, "layers");
    if (number < 0)
      continue;
    Layer &layer = layers[number];
    layer.experts = std::max(layer.experts, tools::numberAfter(name, "experts") + 1);
    layer.mtp |= name.find(".eh_proj.") != name.npos || (inspection.config && number >= inspection.config->nLayers);
  }
  for (const auto &[number, layer] : layers) {
    auto &list = layer.mtp ? inspection.layers.mtp : layer.experts ? inspection.layers.moe : inspection.layers.dense;
    list.push_back(number);
    inspection.layers.routedExperts = std::max(inspection.layers.routedExperts, layer.experts);
  }
}

/// Parameters, and bytes with all that goes with them.
static SchemeTotals sizeOf(const TensorSource &source, const Weight &weight) {
  const checkpoint::TensorInfo &info = *weight.tensor->info;
  SchemeTotals size{1, info.bytes() * 8 / uint64_t(bitWidth(info.dtype)), info.bytes()};
  if (!weight.linear)
    return size;
  size.elements = uint64_t(weight.linear->rows()) * uint64_t(weight.linear->columns());
  const LinearTensors &parts = weight.linear->tensors();
  for (const TensorSource::Tensor *part : {parts.scale, parts.zeroPoint, parts.globalScale, parts.groupIndex, parts.shape})
    size.bytes += part ? part->info->bytes() : 0;
  return size;
}

static void countTensors(const TensorSource &source, Inspection &inspection) {
  for (const auto &tensor : source.tensors()) {
    const checkpoint::TensorInfo &info = *tensor.info;
    DTypeTotals &dtype = inspection.dtypes[info.dtype];
    ++dtype.tensors;
    dtype.elements += info.bytes() * 8 / uint64_t(bitWidth(info.dtype));
    dtype.bytes += info.bytes();
    ++inspection.tensors;
    inspection.bytes += info.bytes();
  }
}

static void countWeights(const TensorSource &source, Inspection &inspection) {
  std::map<std::tuple<std::string, DType, std::vector<int64_t>, std::string>, TensorKind> kinds;
  for (const Weight &weight : inspection.weights->all()) {
    const checkpoint::TensorInfo &info = *weight.tensor->info;
    if (!weightOfScale(info.name, source).empty()) // an orphan
      continue;
    SchemeTotals size = sizeOf(source, weight);
    inspection.stored += size.elements;
    std::string name = tools::nameOfKind(info.name), scheme;
    if (weight.linear) {
      scheme = weight.linear->scheme().name;
      SchemeTotals &totals = inspection.schemes[scheme];
      totals = {totals.weights + 1, totals.elements + size.elements, totals.bytes + size.bytes};
    }
    TensorKind &kind = kinds[{name, info.dtype, info.shape, scheme}];
    if (kind.tensors++ == 0)
      kind = {name, info.dtype, info.shape, std::nullopt, scheme, 1, 0, 0};
    kind.elements += size.elements;
    kind.bytes += size.bytes;
    if (weight.linear)
      kind.scaleShape = weight.linear->tensors().scale->info->shape;
  }
  for (auto &[key, kind] : kinds)
    inspection.kinds.push_back(std::move(kind));
}

Inspection convert::inspectSource(const TensorSource &source, unsigned threads) {
  Inspection inspection;
  inspection.path = source.path();
  inspection.files = source.files();
  readConfig(source, inspection);
  inspection.weights = std::make_shared<const Weights>(Weights::of(source, inspection.configured, threads));
  countTensors(source, inspection);
  countWeights(source, inspection);
  checkClaim(source, inspection);
  countLayers(source, inspection);
  inspectScales(source, inspection, threads);
  inspectVectors(source, inspection, threads);
  if (inspection.config)
    checkInventory(source, inspection);
  return inspection;
}
