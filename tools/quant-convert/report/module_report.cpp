//===- module_report.cpp - what a compiled model is -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/module_report.h"

#include "runtime/support/text.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>

using namespace quant;
using namespace quant::convert;
using namespace quant::runtime;
using nlohmann::json;

static std::vector<std::string> isasOf(const Target &target) {
  std::vector<std::string> isas;
  for (const CodeObject &object : target.objects)
    isas.push_back(printable(object.isa));
  return isas;
}

/// Tensors that the program reads, a group counted once for each expert.
static int64_t countTensors(const Program &program) {
  int64_t count = 0;
  for (const Value &value : program.values)
    count += value.kind == ValueKind::Weight ? 1 : value.kind == ValueKind::WeightGroup ? value.count : 0;
  return count;
}

static json targetJson(const Target &target) {
  json result = {{"name", target.name}, {"isas", isasOf(target)}};
  if (target.isForeign)
    return result;
  const Program &program = target.program;
  result.update({{"kernels", target.kernels.size()},
                 {"tensors", countTensors(program)},
                 {"dispatches", program.dispatches.size()},
                 {"max_tokens", program.limits.tokens},
                 {"max_context", program.limits.context},
                 {"vocab", program.limits.vocab}});
  return result;
}

json convert::moduleJson(const Module &module) {
  json targets = json::array();
  for (const Target &target : module.targets)
    targets.push_back(targetJson(target));
  return {{"path", module.path},
          {"ok", true},
          {"producer", module.producer},
          {"hash", fmt::format("{:016x}", module.hash)},
          {"model", json::parse(module.modelConfig)},
          {"targets", targets}};
}

/// "deepseek_v3, fp8, weight_block_size [128,128], n_layers 61": what the manifest says of these keys, which nothing has checked.
static std::string modelText(const json &model) {
  std::string text;
  for (const char *key : {"model_type", "dtype", "scheme", "weight_block_size", "n_layers", "dim"}) {
    auto found = model.find(key); // of what is no object: the end
    if (found == model.end())
      continue;
    std::string value = found->is_string() ? found->get<std::string>() : found->dump();
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", found->is_string() ? "" : fmt::format("{} ", key), printable(value));
  }
  return text.empty() ? "unknown" : text;
}

static std::string targetText(const Target &target) {
  std::string isas = fmt::format("{}", fmt::join(isasOf(target), ", "));
  if (target.isForeign)
    return fmt::format("{} ({}), made for another version of the runtime", printable(target.name), isas);
  const Program &program = target.program;
  return fmt::format("{} ({}): {} kernels, {} dispatches, {} tensors; at most {} tokens a call, context {}",
                     printable(target.name), isas, target.kernels.size(), program.dispatches.size(), countTensors(program),
                     program.limits.tokens, program.limits.context);
}

std::string convert::moduleText(const Module &module) {
  std::string text = fmt::format("{}: a compiled model; the hash of every section is right\n\n", printable(module.path));
  text += "model       " + modelText(json::parse(module.modelConfig)) + "\n";
  text += "producer    " + printable(module.producer) + "\n";
  text += fmt::format("hash        {:016x} (FNV-1a: tells damage, not forgery)\n", module.hash);
  for (const Target &target : module.targets)
    text += "target      " + targetText(target) + "\n";
  return text;
}
