//===- HostUnits.cpp - which x86 units this CPU runs ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/pipeline/HostUnits.h"
#include "dialects/machine/X86.h"
#include "runtime/device/host/cpu_features.h"

#include "llvm/ADT/STLExtras.h"

std::vector<std::string> quant::runnableUnits(const std::vector<std::string> &units) {
  std::vector<std::string> result;
  llvm::copy_if(units, std::back_inserter(result), [](const std::string &name) {
    return runtime::CpuFeatures::host().missing(machine::findX86Unit(name)->requiredFeatures).empty();
  });
  return result;
}
