//===- lint_checks.h - what looks for broken rules --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_CHECKS_H
#define QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_CHECKS_H

#include "tools/quant-convert/check/lint_model.h"

namespace quant::convert {

/// Takes what breaks a rule: the tensor, "" for the configuration, and a message.
using Report = std::function<void(const std::string &tensor, const std::string &message)>;

// Each looks for the rule of lint_rules.cpp that names it.
void checkMethodOfVllm(const LintModel &model, const Report &report);
void checkMethodOfSglang(const LintModel &model, const Report &report);
void checkMethodOfTransformers(const LintModel &model, const Report &report);
void checkStatus(const LintModel &model, const Report &report);
void checkArguments(const LintModel &model, const Report &report);
void checkIgnored(const LintModel &model, const Report &report);
void checkIgnoredLayers(const LintModel &model, const Report &report);
void checkCacheScheme(const LintModel &model, const Report &report);
void checkStoredPlain(const LintModel &model, const Report &report);
void checkStoredCoded(const LintModel &model, const Report &report);
void checkLayouts(const LintModel &model, const Report &report);
void checkRouter(const LintModel &model, const Report &report);
void checkBroken(const LintModel &model, const Report &report);
void checkZero(const LintModel &model, const Report &report);
void checkRounded(const LintModel &model, const Report &report);
void checkPowers(const LintModel &model, const Report &report);
void checkFused(const LintModel &model, const Report &report);
void checkExperts(const LintModel &model, const Report &report);
void checkMoeScheme(const LintModel &model, const Report &report);
void checkMoeInt8Inputs(const LintModel &model, const Report &report);
void checkMoeFp8Inputs(const LintModel &model, const Report &report);
void checkMoeOfTransformers(const LintModel &model, const Report &report);
void checkZerosOfTransformers(const LintModel &model, const Report &report);
void checkExpertCount(const LintModel &model, const Report &report);
void checkGroups(const LintModel &model, const Report &report);
void checkGroupSplit(const LintModel &model, const Report &report);
void checkBlockSplit(const LintModel &model, const Report &report);
void checkMarlin(const LintModel &model, const Report &report);
void checkRaggedBlocks(const LintModel &model, const Report &report);
void checkKvB(const LintModel &model, const Report &report);
void checkQkvA(const LintModel &model, const Report &report);
void checkIndexer(const LintModel &model, const Report &report);
void checkGptq(const LintModel &model, const Report &report);

/// "ct-w4a16 in 1x128", "not quantized".
std::string schemeText(const LintModule &module);
/// FP8 whose scales are of blocks of several rows.
bool isFp8Blocks(const Scheme &scheme);
/// A quantized projection of a routed expert.
bool isMoeProjection(const LintModule &module);
bool isCompressed(const LintModel &model);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CHECK_LINT_CHECKS_H
