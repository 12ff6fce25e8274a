//===- units.h - bytes and times for people ---------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_UNITS_H
#define QUANT_TOOLS_COMMON_UNITS_H

#include <cstdint>
#include <string>

namespace quant::tools {

/// "999 B", "1.5 kB", "642 GB": powers of 1000, three digits.
std::string humanBytes(uint64_t bytes);

/// "999", "1.50k", "236M", "671B" (billions), "1.02T": powers of 1000, three digits, for parameters.
std::string humanCount(uint64_t count);

/// "0:07", "12:30", "1:02:03".
std::string humanTime(double seconds);

} // namespace quant::tools

#endif // QUANT_TOOLS_COMMON_UNITS_H
