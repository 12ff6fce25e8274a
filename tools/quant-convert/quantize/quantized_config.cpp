//===- quantized_config.cpp - config.json of a quantized model ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/quantized_config.h"

#include "models/config/scheme_config.h"
#include "tools/quant-convert/quantize/policy.h"
#include "tools/quant-convert/schemes/config_json.h"
#include "tools/quant-convert/schemes/side_files.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

static ModuleSet allModules(const std::vector<TargetGroup> &groups, const ModuleSet &kept) {
  ModuleSet all = kept;
  for (const TargetGroup &group : groups)
    all.insert(group.modules.begin(), group.modules.end());
  return all;
}

/// One group is every linear layer that is not ignored; several have their layers' names.
static json compressedTensors(const std::vector<TargetGroup> &groups, const ModuleSet &kept) {
  ModuleSet all = allModules(groups, kept);
  bool isOne = groups.size() == 1;
  bool oneFormat = std::ranges::all_of(groups, [&](const TargetGroup &g) { return g.target.format == groups[0].target.format; });
  json list = json::object();
  for (size_t i = 0; i < groups.size(); ++i) {
    const Target &target = groups[i].target;
    json group = {{"targets", isOne ? std::vector<std::string>{std::string(kEveryLinear)} : namesFor(groups[i].modules, all)},
                  {"weights", target.weights},
                  {"input_activations", target.inputs},
                  {"output_activations", nullptr}};
    if (!oneFormat)
      group["format"] = target.format;
    list[fmt::format("group_{}", i)] = group;
  }
  return {{"quant_method", "compressed-tensors"}, {"format", oneFormat ? groups[0].target.format : "mixed-precision"},
          {"quantization_status", "compressed"},  {"config_groups", list},
          {"ignore", namesFor(kept, all)},        {"kv_cache_scheme", nullptr}};
}

/// A module's name as an expression.
static std::string escaped(const std::string &name) {
  std::string result;
  for (char c : name)
    result += c == '.' ? "\\." : std::string(1, c);
  return result + "$";
}

static json gptq(const TargetGroup &group, FileLayout layout, const ModuleSet &kept) {
  int64_t columns = group.target.scheme.block[1];
  json dynamic = json::object();
  for (const std::string &name : namesFor(kept, allModules({group}, kept)))
    dynamic["-:" + (name.starts_with(kExpression) ? name.substr(kExpression.size()) : escaped(name))] = json::object();
  return {{"quant_method", "gptq"},
          {"bits", 4},
          {"group_size", columns == 0 ? -1 : columns},
          {"desc_act", false},
          {"sym", !group.target.zeroPoints},
          {"lm_head", false},
          {"checkpoint_format", layout == FileLayout::GptqV2 ? "gptq_v2" : "gptq"},
          {"dynamic", dynamic}};
}

static SideFile jsonFile(const std::string &name, const json &value) {
  SideFile file = configFile(value);
  file.name = name;
  return file;
}

Result<std::vector<SideFile>> convert::quantizedConfigFiles(const json &config, FileLayout layout,
                                                            const std::vector<TargetGroup> &groups, const ModuleSet &kept) {
  json result = plainConfig(config);
  if (layout == FileLayout::CompressedTensors) {
    result["quantization_config"] = compressedTensors(groups, kept);
    return std::vector<SideFile>{configFile(result)};
  }
  if (groups.size() != 1)
    return fail(fmt::format("the layout holds one scheme, not {} and {}; take --format=compressed-tensors",
                            groups[0].target.describe(), groups[1].target.describe()));
  if (layout == FileLayout::DeepSeek) {
    result["quantization_config"] = toQuantizationConfig(groups[0].target.scheme, {kept.begin(), kept.end()});
    return std::vector<SideFile>{configFile(result)};
  }
  result["quantization_config"] = gptq(groups[0], layout, kept);
  return std::vector<SideFile>{configFile(result), jsonFile("quantize_config.json", result["quantization_config"])};
}
