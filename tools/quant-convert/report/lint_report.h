//===- lint_report.h - findings as text and as JSON -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_REPORT_LINT_REPORT_H
#define QUANT_TOOLS_QUANT_CONVERT_REPORT_LINT_REPORT_H

#include "tools/quant-convert/check/lint.h"

namespace quant::convert {

/// For machines; the keys are a promise (lint_test.cpp).
nlohmann::json lintJson(const std::vector<Finding> &findings, const LintOptions &options);

/// For people: errors first.
std::string lintText(const std::vector<Finding> &findings, const LintOptions &options);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_REPORT_LINT_REPORT_H
