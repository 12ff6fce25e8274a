//===- lint_rules.cpp - what engines ask of a checkpoint ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// kRules is the list: of vLLM 0.33, SGLang 0.5.23, transformers 5.24 and compressed-tensors 0.20, as their sources have it.
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"
#include "tools/common/tensor_name.h"
#include "tools/quant-convert/check/lint_checks.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

using namespace quant;
using namespace quant::convert;

namespace {

struct Rule {
  std::string_view name;
  LintLevel level;
  unsigned engines;
  void (*check)(const LintModel &model, const Report &report);
  std::string_view source, wayOut;
};

//===----------------------------------------------------------------------===//
// The rules
//===----------------------------------------------------------------------===//

constexpr auto kError = LintLevel::Error, kWarning = LintLevel::Warning;
constexpr unsigned kServers = kVllm | kSglang;

// clang-format off
/// Name, level, engines, what looks for it; where it is written; the way out.
constexpr Rule kRules[] = {
    {"method-vllm", kError, kVllm, checkMethodOfVllm,
     "vLLM model_executor/layers/quantization/__init__.py", "serve it with SGLang, or quant-convert dequantize and cast-fp8"},
    {"method-sglang", kError, kSglang, checkMethodOfSglang,
     "SGLang srt/layers/quantization/__init__.py", "quant-convert dequantize and cast-fp8"},
    {"method-transformers", kError, kTransformers, checkMethodOfTransformers,
     "transformers quantizers/auto.py", "quant-convert dequantize"},
    {"quantization-status", kError, kTransformers, checkStatus,
     "transformers quantizers/quantizer_compressed_tensors.py", "set quantization_status to \"compressed\" in config.json"},
    {"unknown-argument", kError, kEveryEngine, checkArguments,
     "compressed-tensors quantization/quant_args.py (extra=\"forbid\")", "remove the key from config.json"},
    {"ignore-without-match", kWarning, kEveryEngine, checkIgnored,
     "compressed-tensors utils/match.py", "correct the name or the expression in config.json"},
    {"ignored-layers", kError, kVllm, checkIgnoredLayers,
     "vLLM quantization/utils/quant_utils.py, is_layer_skipped", "write the whole name into ignored_layers of config.json"},
    {"kv-cache-scheme", kWarning, kVllm, checkCacheScheme,
     "vLLM compressed_tensors.py, get_quant_method", "remove kv_cache_scheme from config.json"},
    {"stored-plain", kError, kEveryEngine, checkStoredPlain,
     "each loader: parameters are made by config.json", "add it to `ignore` (fp8: modules_to_not_convert and ignored_layers)"},
    {"stored-quantized", kError, kEveryEngine, checkStoredCoded,
     "each loader: parameters are made by config.json", "take the module out of the list, or a target in"},
    {"broken-layout", kError, kEveryEngine, checkLayouts,
     "the format of the scheme", "download or convert the file again"},
    {"router-quantized", kError, kEveryEngine, checkRouter,
     "vLLM models/deepseek_v2.py, SGLang models/deepseek_v2.py: gate", "keep mlp.gate in BF16, and in `ignore`"},
    {"broken-scale", kError, kEveryEngine, checkBroken,
     "the format of the scheme", "convert the weights again"},
    {"zero-scale", kWarning, kEveryEngine, checkZero,
     "the format of the scheme", "where the weights are not zero, convert them again"},
    {"rounded-scale", kWarning, kTransformers, checkRounded,
     "transformers casts what it loads to the model's dtype", "store scales in bf16, and quantize with these"},
    {"ue8m0-scale", kWarning, kServers, checkPowers,
     "vLLM and SGLang fp8_utils.py, requant_weight_ue8m0 (Blackwell)", "cast the unquantized weights with --scale-fmt ue8m0"},
    {"fused-schemes", kError, kServers, checkFused,
     "vLLM and SGLang compressed_tensors/utils.py: \"Found different quantization schemes\"", "quantize both alike, or ignore both"},
    {"experts-differ", kError, kServers, checkExperts,
     "vLLM compressed_tensors_moe, SGLang fused MoE: one scheme of expert 0", "quantize gate, up and down of all experts of a layer alike"},
    {"moe-scheme", kError, kServers, checkMoeScheme,
     "vLLM and SGLang compressed_tensors_moe: symmetric, channel and token", "quantize experts symmetrically, INT8 per row"},
    {"moe-int8-inputs", kError, kServers, checkMoeInt8Inputs,
     "vLLM: W4A8-INT experts on CPU (Arm) only; SGLang: NPU only", "leave the inputs of experts wide: W4A16"},
    {"moe-fp8-inputs", kError, kVllm, checkMoeFp8Inputs,
     "vLLM compressed_tensors_moe_w4a8_fp8.py", "leave the inputs of experts wide: W4A16"},
    {"moe-transformers", kError, kTransformers, checkMoeOfTransformers,
     "transformers' loader of experts, run", "load it with vLLM, or quantize experts packed or in FP8 per row"},
    {"asymmetric-transformers", kError, kTransformers, checkZerosOfTransformers,
     "transformers: size mismatch of weight_zero_point, run", "quantize symmetrically, or (dense) load with dequantize=True"},
    {"expert-count", kError, kServers, checkExpertCount,
     "vLLM and SGLang: experts of a rank", "choose --ep as a divisor"},
    {"short-group", kError, kEveryEngine, checkGroups,
     "compressed-tensors forward_helpers.py, _process_group", "quantize it in smaller groups or per row, or ignore it"},
    {"group-split", kError, kServers, checkGroupSplit,
     "vLLM compressed_tensors_moe_wna16.py, compressed_tensors_wNa16.py", "choose smaller groups, fewer ranks, or --ep"},
    {"block-split", kError, kServers, checkBlockSplit,
     "vLLM and SGLang fp8_utils.py, validate_fp8_block_shape", "choose fewer ranks, or --ep"},
    {"marlin-tiles", kError, kServers, checkMarlin,
     "vLLM quantization/utils/marlin_utils.py", "ignore the module, or choose other groups or fewer ranks"},
    {"ragged-blocks", kError, kTransformers, checkRaggedBlocks,
     "transformers integrations/finegrained_fp8.py, _dequantize_one", "load it with vLLM or SGLang, or quant-convert dequantize before"},
    {"kv-b-packed", kError, kSglang, checkKvB,
     "SGLang models/deepseek_v2.py: w_kc, w_vc", "leave kv_b_proj in BF16 or FP8"},
    {"qkv-a-packed", kError, kSglang, checkQkvA,
     "SGLang models/deepseek_v2.py: fused_qkv_a_proj_with_mqa", "leave q_a_proj and kv_a_proj_with_mqa in BF16 or FP8"},
    {"indexer", kError, kVllm, checkIndexer,
     "vLLM models/deepseek_v2.py: wk_weights_proj", "keep both in BF16"},
    {"gptq-vllm", kError, kVllm, checkGptq,
     "vLLM quantization/gptq_marlin.py", "quantize symmetrically in 4 or 8 bits without desc_act"},
};
// clang-format on

/// Findings of a rule that differ in the numbers of layers and experts only are one.
void runRule(const Rule &rule, const LintModel &model, std::vector<Finding> &findings) {
  std::map<std::pair<std::string, std::string>, size_t> seen;
  rule.check(model, [&](const std::string &tensor, const std::string &message) {
    auto [found, isNew] = seen.try_emplace({tools::nameOfKind(tensor), tools::nameOfKind(message)}, findings.size());
    if (isNew)
      findings.push_back(
          {rule.name, rule.level, rule.engines & model.options.engines, tensor, 1, message, rule.source, rule.wayOut});
    else
      ++findings[found->second].count;
  });
}

} // namespace

//===----------------------------------------------------------------------===//
// The look
//===----------------------------------------------------------------------===//

namespace {
struct EngineName {
  Engine engine;
  std::string_view name;
};
constexpr EngineName kEngineNames[] = {{kVllm, "vllm"}, {kSglang, "sglang"}, {kTransformers, "transformers"}};
} // namespace

std::string convert::engineNames(unsigned engines) {
  std::string text;
  for (const auto &[engine, name] : kEngineNames)
    if (engines & engine)
      text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

Result<unsigned> convert::parseEngines(std::string_view list) {
  unsigned engines = 0;
  while (!list.empty()) {
    std::string_view name = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), name.size() + 1));
    const auto *found = std::ranges::find(kEngineNames, name, &EngineName::name);
    if (found == std::end(kEngineNames))
      return fail(fmt::format("{} is not known, only {}", quote(name), engineNames(kEveryEngine)));
    engines |= found->engine;
  }
  return engines;
}

Result<std::vector<Finding>> convert::lint(const TensorSource &source, const LintOptions &options, unsigned threads) {
  QUANT_TRY_ASSIGN(auto weights, readWeights(source, threads));
  QUANT_TRY_ASSIGN(auto model, LintModel::read(source, weights, threads));
  model.options = options;
  std::vector<Finding> findings;
  for (const Rule &rule : kRules)
    if (rule.engines & options.engines)
      runRule(rule, model, findings);
  return findings;
}
