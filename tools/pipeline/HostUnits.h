//===- HostUnits.h - which x86 units this CPU runs ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_PIPELINE_HOSTUNITS_H
#define QUANT_TOOLS_PIPELINE_HOSTUNITS_H

#include <string>
#include <vector>

namespace quant {

/// Those of `units` (names of machine::x86Units()) that this CPU and this system run, in the same order.
std::vector<std::string> runnableUnits(const std::vector<std::string> &units);

} // namespace quant

#endif // QUANT_TOOLS_PIPELINE_HOSTUNITS_H
