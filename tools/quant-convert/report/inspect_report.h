//===- inspect_report.h - an inspection in words ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_REPORT_INSPECT_REPORT_H
#define QUANT_TOOLS_QUANT_CONVERT_REPORT_INSPECT_REPORT_H

#include "tools/quant-convert/check/inspect.h"

#include <nlohmann/json.hpp>

namespace quant::convert {

/// For machines; the keys are a promise (inspect_test.cpp). With `list`, every tensor.
nlohmann::json inspectionJson(const Inspection &inspection, const tools::TensorSource &source, bool list);

/// For people.
std::string inspectionText(const Inspection &inspection, const tools::TensorSource &source, bool list);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_REPORT_INSPECT_REPORT_H
