//===- lint_config_checks.cpp - rules of config.json, names and scales ----===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"
#include "tools/quant-convert/check/lint_checks.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

bool convert::isCompressed(const LintModel &model) { return model.method == "compressed-tensors"; }

bool convert::isFp8Blocks(const Scheme &scheme) { return isFp8(scheme.element) && scheme.block[0] > 1; }

bool convert::isMoeProjection(const LintModule &module) { return module.isRouted && module.scheme; }

std::string convert::schemeText(const LintModule &module) {
  if (!module.scheme)
    return "not quantized";
  const Block &block = module.scheme->block;
  return block[1] > 0 ? fmt::format("{} in {}x{}", module.scheme->name, block[0], block[1]) : std::string(module.scheme->name);
}

//===----------------------------------------------------------------------===//
// The configuration
//===----------------------------------------------------------------------===//

static void checkMethod(const LintModel &model, std::initializer_list<std::string_view> methods, const Report &report) {
  if (!model.method.empty() && std::ranges::find(methods, model.method) == methods.end())
    report("", fmt::format("quant_method is {}", quote(model.method)));
}

void convert::checkMethodOfVllm(const LintModel &model, const Report &report) {
  checkMethod(model, {"fp8", "compressed-tensors", "gptq", "awq"}, report);
}
void convert::checkMethodOfSglang(const LintModel &model, const Report &report) {
  checkMethod(model, {"fp8", "compressed-tensors", "gptq", "awq", "blockwise_int8", "w8a8_int8"}, report);
}
void convert::checkMethodOfTransformers(const LintModel &model, const Report &report) {
  checkMethod(model, {"fp8", "compressed-tensors", "gptq", "awq"}, report);
}

void convert::checkStatus(const LintModel &model, const Report &report) {
  json status = model.quantization.is_object() ? model.quantization.value("quantization_status", json()) : json();
  if (isCompressed(model) && status != "compressed")
    report("",
           fmt::format("quantization_status is {}, not \"compressed\": packed weights are taken for unexpected tensors, and the "
                       "weights are random numbers",
                       status.dump()));
}

/// pydantic forbids what it does not know.
void convert::checkArguments(const LintModel &model, const Report &report) {
  static const std::set<std::string> inGroup = {"targets", "weights", "input_activations", "output_activations", "format"};
  static const std::set<std::string> inArguments = {"num_bits",        "type",    "symmetric", "group_size", "strategy",
                                                    "block_structure", "dynamic", "actorder",  "observer",   "observer_kwargs",
                                                    "scale_dtype",     "zp_dtype"};
  auto check = [&](const json &object, const std::set<std::string> &known, const std::string &where) {
    if (object.is_object())
      for (const auto &[key, value] : object.items())
        if (!known.contains(key))
          report("", fmt::format("config_groups.{}: {} is no key that compressed-tensors knows", where, quote(key)));
  };
  for (const LintGroup &group : model.groups) {
    check(group.all, inGroup, printable(group.name));
    check(group.weights, inArguments, printable(group.name) + ".weights");
    check(group.inputs, inArguments, printable(group.name) + ".input_activations");
    json order = group.weights.is_object() ? group.weights.value("actorder", json()) : json();
    if (order == "group" || order == true)
      report("", fmt::format("config_groups.{}.weights: actorder {} is refused since 0.20", printable(group.name), order.dump()));
  }
}

void convert::checkIgnored(const LintModel &model, const Report &report) {
  for (const std::string &entry : model.ignored)
    if (!model.ignoredHits.contains(entry))
      report("", fmt::format("{} names no weight of this checkpoint", quote(entry)));
}

/// vLLM's fp8 compares whole names.
void convert::checkIgnoredLayers(const LintModel &model, const Report &report) {
  if (model.method != "fp8")
    return;
  json exact = model.quantization.value("ignored_layers", json::array());
  for (const LintModule &module : model.modules)
    if (!module.scheme && module.last.ends_with("_proj") && module.last != "eh_proj" &&
        std::ranges::find(exact, json(module.name)) == exact.end())
      report(module.tensor(), "is not quantized, and ignored_layers does not have its whole name");
}

void convert::checkCacheScheme(const LintModel &model, const Report &report) {
  bool isMla = model.integer("kv_lora_rank") > 0;
  if (isMla && isCompressed(model) && !model.quantization.value("kv_cache_scheme", json()).is_null())
    report("", "kv_cache_scheme is set for a model with latent attention: its scales have no place to go, and the cache runs "
               "with scale 1");
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

void convert::checkStoredPlain(const LintModel &model, const Report &report) {
  if (model.method == "gptq") // the tensors decide
    return;
  for (const LintModule &module : model.modules)
    if (module.isConfigured && !module.scheme && !module.name.ends_with("mlp.gate")) // no engine quantizes a router
      report(module.tensor(), "is not quantized, and config.json says that it is: its scale is looked for and not found");
}

void convert::checkStoredCoded(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.scheme && !module.isConfigured)
      report(module.tensor(), fmt::format("is {}, and config.json says that it is not quantized", schemeText(module)));
}

void convert::checkLayouts(const LintModel &model, const Report &report) {
  for (const Weight *weight : model.faulty)
    report(weight->fault->tensor->info->name, weight->fault->message);
}

void convert::checkRouter(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.scheme && module.name.ends_with("mlp.gate"))
      report(module.tensor(), "is quantized: the router is built without a quantization");
}

//===----------------------------------------------------------------------===//
// Scales
//===----------------------------------------------------------------------===//

void convert::checkBroken(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.scales.broken)
      report(module.weight->linear->tensors().scale->info->name,
             fmt::format("has {} of {} scales that are NaN, infinite or negative", module.scales.broken, module.scales.count));
}

void convert::checkZero(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.scales.zero)
      report(module.weight->linear->tensors().scale->info->name,
             fmt::format("has {} of {} scales that are zero: their weights are, too", module.scales.zero, module.scales.count));
}

void convert::checkRounded(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    const ScaleFacts &scales = module.scales;
    if (!isCompressed(model) || scales.rounded == 0 || module.weight->linear->tensors().scale->info->dtype != DType::F32)
      continue;
    report(module.weight->linear->tensors().scale->info->name,
           fmt::format("is F32, and {} of {} scales are no bf16: rounded, the weights are off by {:.1f} dB", scales.rounded,
                       scales.count, 10 * std::log10(scales.energy / scales.error)));
  }
}

/// The noise of e4m3 a second time: of weights with another scale every code is rounded again.
void convert::checkPowers(const LintModel &model, const Report &report) {
  if (model.options.gpu != Gpu::Sm100)
    return;
  for (const LintModule &module : model.modules) {
    const ScaleFacts &scales = module.scales;
    if (!module.scheme || !isFp8Blocks(*module.scheme) || scales.notPower == 0)
      continue;
    double part = static_cast<double>(scales.notPower) / static_cast<double>(scales.count);
    report(module.weight->linear->tensors().scale->info->name,
           fmt::format("has {} of {} scales that are no powers of two: the weights are quantized again at load, and lose about "
                       "{:.1f} dB (31.5 to {:.1f} against the unquantized)",
                       scales.notPower, scales.count, 10 * std::log10(1 + part), 31.5 - 10 * std::log10(1 + part)));
  }
}

//===----------------------------------------------------------------------===//
// Single methods
//===----------------------------------------------------------------------===//

void convert::checkGptq(const LintModel &model, const Report &report) {
  if (model.method != "gptq")
    return;
  const json &config = model.quantization;
  json bits = config.value("bits", json(4)), group = config.value("group_size", json(128));
  if (config.value("sym", json(true)) == false)
    report("", "sym is false; only symmetric GPTQ is taken");
  if (bits != 4 && bits != 8)
    report("", fmt::format("bits is {}; 4 and 8 are taken", bits.dump()));
  if (config.value("desc_act", json(false)) == true && group != -1)
    report("", "desc_act is true with groups, which is no longer supported");
}

void convert::checkMoeOfTransformers(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules) {
    if (!isMoeProjection(module) || !isCompressed(model))
      continue;
    const Scheme &scheme = *module.scheme;
    bool isInt8 = scheme.element == DType::I8 && scheme.packing == Packing::Elements;
    if (isFp8Blocks(scheme))
      report(module.tensor(), "is FP8 in blocks, in an expert: the loader multiplies without spreading them");
    else if (isInt8)
      report(module.tensor(), "is INT8 without words, in an expert: the loader knows packed ones and FP8");
  }
}

void convert::checkZerosOfTransformers(const LintModel &model, const Report &report) {
  for (const LintModule &module : model.modules)
    if (module.scheme && module.scheme->zeroPoints == ZeroPoints::PackedDown)
      report(module.tensor(), "has packed zero points, whose size does not match");
}
