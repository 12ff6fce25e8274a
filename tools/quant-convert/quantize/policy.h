//===- policy.h - which layers get which scheme -----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A policy is JSON: {"default": CHOICE, "rules": [{"match": PATTERNS, "layers": [..], ...CHOICE}]}. Of the rules that name a
// linear layer the first counts, then the default, which is to keep it. A CHOICE is "scheme" (a name of --scheme, or "keep"),
// "group_size", "zero_points". PATTERNS are one or several of: a run of the dotted parts of a layer's name, a part `*` standing
// for any one part
// ("self_attn", "mlp.experts.*.down_proj"), or "re:" and an expression that matches from the name's beginning. "layers" are
// indices of decoder layers, from the last one back where negative. Only the layers that DeepSeek-V3 itself quantizes can be
// named: those of attention, feed-forward and experts, MTP layers included; norms, router, embedding, head and eh_proj stay as
// they are.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_POLICY_H
#define QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_POLICY_H

#include "tools/quant-convert/quantize/scheme_choice.h"

#include <map>
#include <optional>
#include <set>
#include <span>

namespace quant::convert {

/// What a rule says of the layers it names; nothing: they stay as they are.
using Decision = std::optional<SchemeChoice>;

struct PolicyRule {
  std::vector<std::string> patterns;
  std::vector<int64_t> layers; ///< empty: all
  Decision decision;
};

struct Policy {
  std::string name; ///< the file, or the preset, for messages
  std::vector<PolicyRule> rules;
  Decision otherwise;
};

/// The policy of that JSON. Errors: what is not as above, with the rule's number.
Result<Policy> parsePolicy(const nlohmann::json &text, const std::string &name);
/// That of a preset's name, else of a file.
Result<Policy> readPolicy(const std::string &presetOrFile);
/// "attention-int8-experts-int4, ...", with a line of what each does.
std::string describePresets();

/// Layers of a model that can be quantized ("model.layers.3.mlp.experts.7.up_proj"), and what was decided.
using Decisions = std::map<std::string, Decision, std::less<>>;

/// Applies the policy to the layers; `layerCount` is the number of decoder layers without MTP. Errors: a rule that names no such
/// layer, or of which all are named by rules before it: then the policy contradicts itself.
Result<Decisions> applyPolicy(const Policy &policy, const std::set<std::string, std::less<>> &modules, int64_t layerCount);

/// What engines ask of DeepSeek's architecture (vLLM 0.33, SGLang 0.5.23): layers that are fused have one scheme. Errors:
/// q_a_proj beside kv_a_proj_with_mqa, gate_proj beside up_proj, or two projections of a layer's routed experts that differ.
Result<void> checkFusions(const Decisions &decisions);
/// What not every engine takes, in words: kv_b_proj in packed words, q_a_proj in 4 bits.
std::vector<std::string> engineNotes(const Decisions &decisions);

/// Names for `chosen` among `all` modules, as few as tell them apart: "re:" expressions for a kind in all or some layers, else
/// names.
std::vector<std::string> namesFor(const std::set<std::string, std::less<>> &chosen,
                                  const std::set<std::string, std::less<>> &all);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_QUANTIZE_POLICY_H
