//===- launch.cpp - a launch of a recipe through the CUDA driver ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/launch.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <string_view>

namespace quant::runtime::cuda {

/// CUtensorMapDataType, in its order.
static constexpr std::string_view kDataTypes[] = {"UINT8", "UINT16",  "UINT32",  "INT32",   "UINT64",
                                                  "INT64", "FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"};

/// CUtensorMapSwizzle: none, 32, 64, 128 bytes.
static int swizzleOf(int bytes) { return bytes ? std::countr_zero(static_cast<unsigned>(bytes)) - 4 : 0; }
/// CUtensorMapL2promotion: none, 64, 128, 256 bytes.
static int l2PromotionOf(int bytes) { return bytes ? std::countr_zero(static_cast<unsigned>(bytes)) - 5 : 0; }

Result<std::unique_ptr<PreparedLaunch>> CudaLaunch::create(const Driver &driver, Function function, Stream stream,
                                                           const LaunchPlan &plan, bool overlap) {
  QUANT_TRY_ASSIGN(int64_t blocks, plan.recipe.blocks(plan.sizes));
  std::unique_ptr<CudaLaunch> launch(new CudaLaunch(driver, function));
  launch->configure(plan.recipe, blocks, stream, overlap);
  if (blocks == 0) // Tensor maps of empty tensors do not exist.
    return launch;
  for (const abi::Parameter &parameter : plan.recipe.parameters)
    QUANT_TRY(launch->addArgument(parameter, plan));
  for (Argument &argument : launch->arguments)
    launch->addresses.push_back(&argument);
  return launch;
}

void CudaLaunch::configure(const abi::LaunchRecipe &recipe, int64_t blocks, Stream stream, bool overlap) {
  config.grid[0] = static_cast<unsigned>(blocks);
  config.grid[1] = config.grid[2] = 1;
  std::ranges::copy(recipe.block, config.block);
  config.sharedBytes = static_cast<unsigned>(recipe.dynamicSharedBytes);
  config.stream = stream;
  config.attributes = attributes.data();
  if (recipe.cluster != std::array<int64_t, 3>{1, 1, 1}) {
    LaunchAttribute &cluster = attributes[config.attributeCount++];
    cluster.id = kClusterDimension;
    std::ranges::copy(recipe.cluster, cluster.value);
  }
  if (recipe.programmatic && overlap) {
    LaunchAttribute &programmatic = attributes[config.attributeCount++];
    programmatic.id = kProgrammaticStreamSerialization;
    programmatic.value[0] = 1;
  }
}

Result<void> CudaLaunch::addTensorMap(const abi::TensorMapParameter &parameter, const LaunchPlan &plan) {
  const LaunchOperand &operand = plan.operands[static_cast<size_t>(parameter.operand)];
  std::string where = "the tensor map of " + quote(operand.name);
  auto type = std::ranges::find(kDataTypes, parameter.dataType);
  if (type == std::end(kDataTypes))
    return fail(fmt::format("{} has data type {}, which the runtime does not know", where, quote(parameter.dataType)));
  QUANT_TRY_ASSIGN(std::vector<int64_t> dims, abi::evaluate(parameter.dim, plan.sizes));
  QUANT_TRY_ASSIGN(std::vector<int64_t> strides, abi::evaluate(parameter.strideBytes, plan.sizes));
  std::array<uint64_t, 5> dim = {}, stride = {};
  std::array<uint32_t, 5> box = {}, elementStride = {1, 1, 1, 1, 1};
  std::ranges::copy(dims, dim.begin()); // at most 5, as the recipe's reader knows
  std::ranges::copy(strides, stride.begin());
  std::ranges::copy(parameter.box, box.begin());
  constexpr uint64_t kBaseAlignment = 16; // of every tensor map, by the driver's documentation
  uint64_t base = operand.region.address + static_cast<uint64_t>(parameter.offsetBytes);
  if (base % kBaseAlignment != 0)
    return fail(fmt::format("{} begins at address {:#x}, which is no multiple of {}", where, base, kBaseAlignment));
  TensorMap &map = arguments.emplace_back().map;
  Result<void> encoded = driver.tensorMapEncodeTiled(
      &map, static_cast<int>(type - kDataTypes), static_cast<uint32_t>(dims.size()), reinterpret_cast<void *>(base), dim.data(),
      stride.data(), box.data(), elementStride.data(),
      /*interleave=*/0, swizzleOf(parameter.swizzleBytes), l2PromotionOf(parameter.l2PromotionBytes), /*fill=*/0);
  return encoded ? encoded : tl::unexpected(encoded.error().in(where));
}

Result<void> CudaLaunch::addArgument(const abi::Parameter &parameter, const LaunchPlan &plan) {
  if (const auto *map = std::get_if<abi::TensorMapParameter>(&parameter))
    return addTensorMap(*map, plan);
  if (const auto *pointer = std::get_if<abi::PointerParameter>(&parameter)) {
    addScalar(plan.operands[static_cast<size_t>(pointer->operand)].region.address + static_cast<uint64_t>(pointer->offsetBytes));
    return {};
  }
  const auto *narrow = std::get_if<abi::I32Parameter>(&parameter);
  Result<int64_t> value = narrow ? narrow->evaluate(plan.sizes) : std::get<abi::I64Parameter>(parameter).evaluate(plan.sizes);
  // Little-endian: an i32 parameter takes the lower half.
  return value.map([&](int64_t size) { addScalar(static_cast<uint64_t>(size)); });
}

Result<void> CudaLaunch::enqueue() {
  return config.grid[0] ? driver.launchKernel(&config, function, addresses.data(), nullptr) : Result<void>();
}

} // namespace quant::runtime::cuda
