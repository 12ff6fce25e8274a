//===- compare_report.h - a comparison in words and as a page ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_REPORT_COMPARE_REPORT_H
#define QUANT_TOOLS_QUANT_CONVERT_REPORT_COMPARE_REPORT_H

#include "tools/quant-convert/check/compare.h"

#include <nlohmann/json.hpp>

#include <span>

namespace quant::convert {

/// "31.5 dB", "identical", "-inf dB", "NaN/Inf" when one side has some that the other lacks.
std::string sqnrText(const Metrics &metrics);
/// Three digits: "0.0123", "1.2e-05".
std::string errorText(double error);
/// The element's indices in a tensor of that shape.
std::vector<int64_t> elementIndices(uint64_t element, std::span<const int64_t> shape);
std::string indicesText(const std::vector<int64_t> &indices); ///< "[3, 17]"

/// For machines; the keys are a promise (compare_test.cpp).
nlohmann::json comparisonJson(const Comparison &comparison, size_t worst);

/// For people.
std::string comparisonText(const Comparison &comparison, size_t worst);

/// One HTML page that needs nothing else.
std::string comparisonHtml(const Comparison &comparison, size_t worst);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_REPORT_COMPARE_REPORT_H
