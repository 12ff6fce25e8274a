//===- kernels.cpp - a module's GPU kernels and their recipes ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/kernels.h"

#include "runtime/support/text.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace quant::runtime {

Result<const LaunchVariant *> GpuKernel::choose(abi::Sizes &sizes) const {
  for (const LaunchVariant &variant : variants) {
    if (std::optional<abi::Dim> rows = variant.recipe.rows) {
      if (sizes[*rows] < variant.lowRows || sizes[*rows] > variant.highRows)
        continue;
      sizes[abi::Dim::M] = sizes[*rows];
    }
    return &variant;
  }
  return fail("the module has no variant of it for so many rows");
}

Result<void> checkKernels(const Target &target) {
  std::string missing;
  for (const Kernel &kernel : target.kernels)
    if (!kernel.unsupported.empty())
      missing += fmt::format("{}{} ({})", missing.empty() ? "" : "; ", kernel.name, kernel.unsupported);
  if (!missing.empty())
    return fail("there is no sm_90a code for " + missing);
  return {};
}

static Result<GpuKernel> readKernel(const Kernel &kernel) {
  GpuKernel result{kernel.name, {}, false};
  for (const KernelVariant &variant : kernel.variants) {
    auto json = nlohmann::json::parse(variant.recipe, nullptr, /*allow_exceptions=*/false);
    QUANT_TRY_ASSIGN(abi::LaunchRecipe recipe, abi::LaunchRecipe::fromJson(json));
    result.followsPosition |= recipe.dependsOn(abi::Dim::Position);
    result.variants.push_back({std::move(recipe), variant.lowRows, variant.highRows});
  }
  return result;
}

Result<std::vector<GpuKernel>> readKernels(const Target &target) {
  std::vector<GpuKernel> kernels;
  for (const Kernel &kernel : target.kernels) {
    Result<GpuKernel> read = readKernel(kernel);
    if (!read)
      return tl::unexpected(read.error().in("kernel " + quote(kernel.name)));
    kernels.push_back(std::move(*read));
  }
  return kernels;
}

Result<std::vector<int>> valuesOf(const abi::Operand &operand, const Dispatch &dispatch) {
  auto count = static_cast<int>(dispatch.operands.size());
  if (operand.from.empty() || std::ranges::any_of(operand.from, [&](int from) { return from < 0 || from >= count; }))
    return fail("the launch recipe does not say which operand of the dispatch its " + quote(operand.name) + " is");
  std::vector<int> values;
  for (int from : operand.from)
    values.push_back(dispatch.operands[static_cast<size_t>(from)]);
  return values;
}

} // namespace quant::runtime
