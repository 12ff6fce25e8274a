//===- inspect_report.cpp - an inspection as text and as JSON -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/inspect_report.h"
#include "models/config/names.h"
#include "runtime/support/text.h"
#include "tools/common/table.h"
#include "tools/common/units.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;
using tools::humanBytes;
using tools::humanCount;
using tools::Table;

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

static json schemesJson(const QuantizationConfig &quantization) {
  json schemes = json::array();
  for (const SchemeGroup &group : quantization.groups)
    schemes.push_back({{"scheme", group.scheme.name}, {"targets", group.targets}, {"block", group.scheme.block}});
  return schemes;
}

static json configJson(const Inspection &inspection) {
  if (!inspection.config)
    return nullptr;
  const models::ModelConfig &config = *inspection.config;
  return {{"model_type", config.modelType},
          {"dtype", models::storageName(config)},
          {"scheme", config.isQuantized() ? json(config.quantization.mainScheme().name) : json()},
          {"schemes", schemesJson(config.quantization)},
          {"scale_fmt", name(config.quantization.mainScheme().scaleFmt)},
          {"weight_block_size", config.quantization.mainScheme().block}};
}

static json parametersJson(const Inspection &inspection) {
  json parameters = {{"stored", inspection.stored}, {"total", nullptr}, {"mtp", nullptr}, {"active", nullptr}};
  if (inspection.totals) {
    parameters["total"] = inspection.totals->parameters;
    parameters["mtp"] = inspection.totals->mtpParameters;
    parameters["active"] = inspection.totals->activeParameters;
  }
  return parameters;
}

static json scalesJson(const ScaleTotals &scales) {
  return {{"tensors", scales.tensors},
          {"blocks", scales.blocks},
          {"min", scales.min ? json(*scales.min) : json()},
          {"max", scales.max ? json(*scales.max) : json()},
          {"nan", scales.nan},
          {"inf", scales.inf},
          {"zero", scales.zero},
          {"negative", scales.negative}};
}

static json valuesJson(const std::optional<ValueTotals> &values) {
  if (!values)
    return nullptr;
  return {{"bytes", values->bytes}, {"fp8_nan", values->fp8NaN}, {"zero_blocks", values->zeroBlocks},
          {"nan", values->nan},     {"inf", values->inf},        {"seconds", values->seconds}};
}

static json tensorJson(const TensorSource &source, const TensorSource::Tensor &tensor) {
  const auto *scale = findScale(source, tensor);
  return {{"name", tensor.info->name},
          {"dtype", safetensorsName(tensor.info->dtype)},
          {"shape", tensor.info->shape},
          {"bytes", tensor.info->bytes()},
          {"file", tensor.file->path().filename().native()},
          {"scale", scale ? json(scale->info->name) : json()}};
}

static json schemesJson(const Inspection &inspection) {
  json schemes = json::array();
  for (const auto &[name, totals] : inspection.schemes)
    schemes.push_back({{"scheme", name},
                       {"weights", totals.weights},
                       {"elements", totals.elements},
                       {"bytes", totals.bytes},
                       {"bits_per_weight", totals.bitsPerWeight()}});
  return schemes;
}

json convert::inspectionJson(const Inspection &inspection, const TensorSource &source, bool list) {
  json dtypes = json::array(), kinds = json::array(), problems = json::array();
  for (const auto &[dtype, totals] : inspection.dtypes)
    dtypes.push_back(
        {{"dtype", safetensorsName(dtype)}, {"tensors", totals.tensors}, {"elements", totals.elements}, {"bytes", totals.bytes}});
  for (const TensorKind &kind : inspection.kinds)
    kinds.push_back({{"name", kind.name},
                     {"dtype", safetensorsName(kind.dtype)},
                     {"shape", kind.shape},
                     {"scale_shape", kind.scaleShape ? json(*kind.scaleShape) : json()},
                     {"scheme", kind.scheme.empty() ? json() : json(kind.scheme)},
                     {"tensors", kind.tensors},
                     {"elements", kind.elements},
                     {"bytes", kind.bytes}});
  for (const Problem &problem : inspection.problems)
    problems.push_back({{"severity", problem.error ? "error" : "warning"},
                        {"kind", problem.kind},
                        {"tensor", problem.tensor.empty() ? json() : json(problem.tensor)},
                        {"message", problem.message}});
  const LayerTotals &layers = inspection.layers;
  json result = {
      {"path", inspection.path.native()},
      {"ok", inspection.errors() == 0},
      {"files", inspection.files},
      {"tensors", inspection.tensors},
      {"bytes", inspection.bytes},
      {"config", configJson(inspection)},
      {"dtypes", dtypes},
      {"schemes", schemesJson(inspection)},
      {"kinds", kinds},
      {"parameters", parametersJson(inspection)},
      {"layers", {{"dense", layers.dense}, {"moe", layers.moe}, {"mtp", layers.mtp}, {"routed_experts", layers.routedExperts}}},
      {"scales", scalesJson(inspection.scales)},
      {"values", valuesJson(inspection.values)},
      {"problems", problems}};
  if (!list)
    return result;
  json tensors = json::array();
  for (const auto &tensor : source.tensors())
    tensors.push_back(tensorJson(source, tensor));
  result["tensor_list"] = std::move(tensors);
  return result;
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

static std::string plural(uint64_t count, const std::string &what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

/// "0-2, 5": runs of consecutive numbers.
static std::string ranges(const std::vector<int64_t> &numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1)
      ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", numbers[i]);
    if (end - i > 1)
      text += fmt::format("-{}", numbers[end - 1]);
    i = end;
  }
  return text;
}

static std::string layersText(const LayerTotals &layers) {
  size_t count = layers.dense.size() + layers.moe.size() + layers.mtp.size();
  if (count == 0)
    return "none by name";
  std::string text = fmt::format("{}:", count);
  auto part = [&](const std::vector<int64_t> &numbers, const std::string &what) {
    if (!numbers.empty())
      text += fmt::format("{}{} {}", text.back() == ':' ? " " : "; ", what, ranges(numbers));
  };
  part(layers.dense, "dense");
  part(layers.moe, "MoE");
  part(layers.mtp, "MTP");
  return text + (layers.routedExperts ? "; " + plural(uint64_t(layers.routedExperts), "routed expert") : "");
}

static std::string parametersText(const Inspection &inspection) {
  std::string text = fmt::format("{} stored ({})", humanCount(inspection.stored), inspection.stored);
  if (!inspection.totals)
    return text + "; how many are active per token, only config.json tells";
  text += fmt::format("; {} in the model, {} of them active per token", humanCount(uint64_t(inspection.totals->parameters)),
                      humanCount(uint64_t(inspection.totals->activeParameters)));
  if (inspection.totals->mtpParameters)
    text += "; " + humanCount(uint64_t(inspection.totals->mtpParameters)) + " in MTP layers";
  return text;
}

static std::string layersText(const SchemeGroup &group) {
  bool isEvery = group.targets == everyLinear(group.scheme)[0].targets;
  return isEvery ? "linear layers" : fmt::to_string(fmt::join(group.targets, " "));
}

static std::string modelText(const Inspection &inspection) {
  if (!inspection.config)
    return "unknown: " + inspection.configNote;
  const models::ModelConfig &config = *inspection.config;
  std::string text = config.modelType + ", linear layers " + std::string(models::storageName(config));
  Scheme scheme = config.quantization.mainScheme();
  if (config.isQuantized() && scheme.method != "fp8") {
    text = config.modelType;
    for (const SchemeGroup &group : config.quantization.groups)
      text += fmt::format(", {} {} ({})", layersText(group), group.scheme.name, group.scheme.describe);
  } else if (config.isQuantized()) {
    text += fmt::format(" in blocks of {}, scales {}", shapeText(scheme.block),
                        scheme.scaleFmt == ScaleFmt::UE8M0 ? "ue8m0 (powers of two)" : "f32");
  }
  return text;
}

static std::string scalesText(const ScaleTotals &scales) {
  if (scales.tensors == 0)
    return "none";
  std::string text = plural(scales.tensors, "tensor") + ", " + plural(scales.blocks, "block");
  if (scales.min)
    text += fmt::format(", from {:.3g} to {:.3g}", *scales.min, *scales.max);
  return fmt::format("{}; NaN {}, Inf {}, zero {}, negative {}", text, scales.nan, scales.inf, scales.zero, scales.negative);
}

static std::string valuesText(const std::optional<ValueTotals> &values) {
  if (!values)
    return "not read; --check-values does";
  return fmt::format("FP8 NaN codes {}, all-zero blocks {}, NaN {}, Inf {}", values->fp8NaN, values->zeroBlocks, values->nan,
                     values->inf);
}

static std::string dtypesText(const Inspection &inspection) {
  Table table({"dtype", ">tensors", ">elements", ">bytes", ">share"});
  for (const auto &[dtype, totals] : inspection.dtypes)
    table.add({std::string(safetensorsName(dtype)), std::to_string(totals.tensors), humanCount(totals.elements),
               humanBytes(totals.bytes),
               fmt::format("{:.1f} %", inspection.bytes ? 100.0 * double(totals.bytes) / double(inspection.bytes) : 0.0)});
  return table.str();
}

/// Quantized weights with their scales and what else they need.
static std::string schemesText(const Inspection &inspection) {
  Table table({"scheme", ">weights", ">parameters", ">bytes", ">bits a parameter", "what it is"});
  for (const auto &[name, totals] : inspection.schemes)
    table.add({name, std::to_string(totals.weights), humanCount(totals.elements), humanBytes(totals.bytes),
               fmt::format("{:.3f}", totals.bitsPerWeight()), std::string(findScheme(name)->describe)});
  return table.empty() ? "" : "\n" + table.str();
}

static std::string kindsText(const Inspection &inspection) {
  Table table({"tensor", ">count", "dtype", ">shape", ">scale", "scheme", ">bytes"});
  for (const TensorKind &kind : inspection.kinds)
    table.add({printable(kind.name), std::to_string(kind.tensors), std::string(safetensorsName(kind.dtype)),
               shapeText(kind.shape), kind.scaleShape ? shapeText(*kind.scaleShape) : "", kind.scheme, humanBytes(kind.bytes)});
  return table.str();
}

static std::string tensorsText(const TensorSource &source) {
  Table table({"tensor", "dtype", ">shape", ">scale", ">bytes", "file"});
  for (const auto &tensor : source.tensors()) {
    const auto *scale = findScale(source, tensor);
    table.add({printable(tensor.info->name), std::string(safetensorsName(tensor.info->dtype)), shapeText(tensor.info->shape),
               scale ? shapeText(scale->info->shape) : "", humanBytes(tensor.info->bytes()),
               printable(tensor.file->path().filename().native())});
  }
  return table.str();
}

/// The first few of each kind: a checkpoint with the wrong config has a problem per tensor.
static std::string problemsText(const Inspection &inspection) {
  constexpr uint64_t shown = 5;
  if (inspection.problems.empty())
    return "problems    none\n";
  uint64_t errors = inspection.errors();
  std::string text =
      "problems    " + plural(errors, "error") + ", " + plural(inspection.problems.size() - errors, "warning") + "\n";
  std::map<std::pair<bool, std::string>, std::vector<const Problem *>> groups;
  for (const Problem &problem : inspection.problems)
    groups[{!problem.error, problem.kind}].push_back(&problem);
  for (const auto &[key, group] : groups) {
    const char *severity = key.first ? "warning" : "error";
    for (size_t i = 0; i < std::min<size_t>(group.size(), shown); ++i)
      text += fmt::format("  {}: {}{}\n", severity, group[i]->tensor.empty() ? "" : printable(group[i]->tensor) + " ",
                          group[i]->message);
    if (group.size() > shown)
      text += fmt::format("  {}: and {} more of this kind ({}); --json lists them\n", severity, group.size() - shown, key.second);
  }
  return text;
}

std::string convert::inspectionText(const Inspection &inspection, const TensorSource &source, bool list) {
  std::string text = printable(inspection.path.native()) + ": " + plural(inspection.tensors, "tensor") + ", " +
                     humanBytes(inspection.bytes) + ", in " + plural(inspection.files, "file") + "\n\n";
  text += "model       " + modelText(inspection) + "\n";
  text += "layers      " + layersText(inspection.layers) + "\n";
  text += "parameters  " + parametersText(inspection) + "\n";
  text += "scales      " + scalesText(inspection.scales) + "\n";
  text += "values      " + valuesText(inspection.values) + "\n";
  text += fmt::format("\n{}{}\n{}\n", dtypesText(inspection), schemesText(inspection), kindsText(inspection));
  if (list)
    text += tensorsText(source) + "\n";
  return text + problemsText(inspection);
}
