//===- cpu_features.h - what the CPU and the system can run -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_HOST_CPU_FEATURES_H
#define QUANT_RUNTIME_DEVICE_HOST_CPU_FEATURES_H

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace quant::runtime {

/// Instruction-set extensions by their names in /proc/cpuinfo (avx2, fma, f16c, avx512f, avx512_bf16, amx_tile, ...), which are
/// those of a manifest's `requires`.
class CpuFeatures {
public:
  /// What this CPU has and this system keeps across context switches (CPUID and XGETBV). For AMX it asks Linux to let this
  /// process use tiles, which has to happen before threads start.
  static const CpuFeatures &host();

  /// For tests: exactly these.
  explicit CpuFeatures(std::set<std::string, std::less<>> names) : names(std::move(names)) {}

  bool has(std::string_view name) const { return names.contains(name); }

  /// Those of `required` that are absent; names nobody knows are.
  std::vector<std::string> missing(const std::vector<std::string> &required) const;

private:
  std::set<std::string, std::less<>> names;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_HOST_CPU_FEATURES_H
