//===- quantized_config.h - config.json of a quantized model ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_QUANTIZED_CONFIG_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_QUANTIZED_CONFIG_H

#include "tools/quant-convert/engine/plan.h"
#include "tools/quant-convert/quantize/scheme_choice.h"

#include <set>

namespace quant::convert {

using ModuleSet = std::set<std::string, std::less<>>;

/// The linear layers of a checkpoint that are written in one way.
struct TargetGroup {
  Target target;
  ModuleSet modules;
};

/// config.json and, of GPTQ, quantize_config.json: `config` with what says how the groups' layers are stored. `kept` are the
/// modules of all other matrices. Errors: several groups where the layout has room for one.
Result<std::vector<SideFile>> quantizedConfigFiles(const nlohmann::json &config, FileLayout layout,
                                                   const std::vector<TargetGroup> &groups, const ModuleSet &kept);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_QUANTIZED_CONFIG_H
