//===- module_report.h - what a compiled model is ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_REPORT_MODULE_REPORT_H
#define QUANT_TOOLS_QUANT_CONVERT_REPORT_MODULE_REPORT_H

#include "runtime/module/module.h"

#include <nlohmann/json.hpp>

#include <string>

namespace quant::convert {

/// Of a module that openModule() has checked: who made it, its hash, the model it was compiled from, what runs it. For machines.
nlohmann::json moduleJson(const runtime::Module &module);

/// The same for people.
std::string moduleText(const runtime::Module &module);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_REPORT_MODULE_REPORT_H
