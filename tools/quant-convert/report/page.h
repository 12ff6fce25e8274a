//===- page.h - reports as HTML pages ---------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A report is a page of this folder (compare.html), which draws itself from JSON. The build makes one text of it, with style and
// scripts inside (tools/common/embed.cmake), so that a report needs nothing else.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_REPORT_PAGE_H
#define QUANT_TOOLS_QUANT_CONVERT_REPORT_PAGE_H

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

namespace quant::convert {

extern const std::string_view kComparePage;
extern const std::string_view kQuantizePage;

/// `page` with `data` in the place of its sample: what stands in the script element called "data".
std::string fillPage(std::string_view page, const nlohmann::json &data);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_REPORT_PAGE_H
