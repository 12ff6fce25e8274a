//===- recipe.cpp - launch recipes -------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/api/simulator.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace quant::sim {

using Json = nlohmann::json;

static constexpr int kMaxDepth = 64;

namespace {

uint32_t bytesOfDataType(const std::string &name) {
  if (name == "UINT8")
    return 1;
  return name == "UINT16" || name == "FLOAT16" || name == "BFLOAT16" ? 2
         : name == "UINT32" || name == "INT32" || name == "FLOAT32"  ? 4
         : name == "UINT64" || name == "INT64" || name == "FLOAT64"  ? 8
                                                                     : 0;
}

ElementKind kindOfDataType(const std::string &name) {
  if (name.starts_with("INT"))
    return ElementKind::Signed;
  return name == "BFLOAT16" ? ElementKind::BFloat : name.starts_with("FLOAT") ? ElementKind::Float : ElementKind::Unsigned;
}

/// The argument that a parameter is for these sizes.
struct MakeArgument {
  const Dims &dims;

  Result<Argument> operator()(const abi::TensorMapParameter &parameter) const {
    QUANT_TRY_ASSIGN(std::vector<int64_t> dim, abi::evaluate(parameter.dim, dims));
    QUANT_TRY_ASSIGN(std::vector<int64_t> stride, abi::evaluate(parameter.strideBytes, dims));
    TensorMapArgument argument{static_cast<size_t>(parameter.operand), {}};
    TensorMap &map = argument.map;
    map.address = static_cast<uint64_t>(parameter.offsetBytes);
    map.rank = static_cast<uint32_t>(dim.size());
    map.elementBytes = bytesOfDataType(parameter.dataType);
    map.kind = kindOfDataType(parameter.dataType);
    map.swizzleBytes = static_cast<uint32_t>(parameter.swizzleBytes);
    for (size_t i = 0; i < dim.size(); ++i) {
      map.dim[i] = static_cast<uint64_t>(dim[i]);
      map.stride[i] = i ? static_cast<uint64_t>(stride[i - 1]) : map.elementBytes;
      map.box[i] = static_cast<uint32_t>(parameter.box[i]);
    }
    return argument;
  }
  Result<Argument> operator()(const abi::PointerParameter &parameter) const {
    return PointerArgument{static_cast<size_t>(parameter.operand), static_cast<uint64_t>(parameter.offsetBytes)};
  }
  Result<Argument> operator()(const abi::I32Parameter &parameter) const { return scalar(parameter); }
  Result<Argument> operator()(const abi::I64Parameter &parameter) const { return scalar(parameter); }
  Result<Argument> scalar(const auto &parameter) const {
    return parameter.evaluate(dims).map([](int64_t value) -> Argument { return ScalarArgument{static_cast<uint64_t>(value)}; });
  }
};

/// The recipe for `kernel` in a list of them, or null.
Json pick(const Json &list, std::string_view kernel) {
  for (const Json &entry : list) {
    const Json &recipe = entry.contains("launch") ? entry.at("launch") : entry;
    if (kernel.empty() ? list.size() == 1
                       : recipe.at("kernel").get<std::string>() == kernel || entry.value("name", "") == std::string(kernel))
      return recipe;
  }
  return nullptr;
}

} // namespace

Result<Recipe> Recipe::parse(std::string_view text, std::string_view kernel) {
  try {
    // What is nested deeper is no recipe, and would go beyond the stack where it is printed.
    Json json = Json::parse(text, [](int depth, Json::parse_event_t, Json &) { return depth < kMaxDepth; });
    if (json.is_array())
      json = pick(json, kernel);
    if (json.is_null())
      return fail(kernel.empty() ? "the file has several recipes: name a kernel" : "no recipe for '" + std::string(kernel) + "'");
    return abi::LaunchRecipe::fromJson(json.contains("launch") ? json.at("launch") : json).map([](abi::LaunchRecipe recipe) {
      return Recipe(std::move(recipe));
    });
  } catch (const Json::exception &error) { // Of the text, or of the list.
    return fail(std::string("the recipe is malformed: ") + error.what());
  }
}

Result<std::vector<RecipeOperand>> Recipe::operands(const Dims &dims) const {
  std::vector<RecipeOperand> operands;
  for (const abi::Operand &operand : recipe.operands) {
    QUANT_TRY_ASSIGN(abi::Extent extent, operand.extent(dims));
    operands.push_back({operand.name, operand.dtype, operand.written, operand.early, extent.bytes, std::move(extent.shape)});
  }
  return operands;
}

Result<Launch> Recipe::launch(const Dims &dims, std::vector<Buffer> buffers) const {
  QUANT_TRY_ASSIGN(int64_t blocks, recipe.blocks(dims));
  Launch launch;
  launch.kernel = recipe.kernel;
  launch.grid[0] = static_cast<uint32_t>(blocks);
  std::ranges::copy(recipe.block, launch.block.begin());
  std::ranges::copy(recipe.cluster, launch.cluster.begin());
  launch.dynamicSharedBytes = static_cast<uint64_t>(recipe.dynamicSharedBytes);
  launch.programmatic = recipe.programmatic;
  launch.buffers = std::move(buffers);
  for (size_t i = 0; i < std::min(launch.buffers.size(), recipe.operands.size()); ++i)
    launch.buffers[i].early = recipe.operands[i].early;
  if (blocks == 0) // Tensor maps of empty tensors do not exist.
    return launch;
  for (const abi::Parameter &parameter : recipe.parameters) {
    QUANT_TRY_ASSIGN(Argument argument, std::visit(MakeArgument{dims}, parameter));
    launch.arguments.push_back(argument);
  }
  return launch;
}

static Result<std::string> readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return fail("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

Result<KernelFiles> loadFiles(const std::string &ptx, const std::string &recipe, std::string_view kernel) {
  QUANT_TRY_ASSIGN(std::string ptxText, readText(ptx));
  QUANT_TRY_ASSIGN(std::string recipeText, readText(recipe));
  Result<std::unique_ptr<Module>> module = Module::load(ptxText);
  if (!module)
    return tl::unexpected(module.error().in(ptx));
  Result<Recipe> parsed = Recipe::parse(recipeText, kernel);
  if (!parsed)
    return tl::unexpected(parsed.error().in(recipe));
  return KernelFiles{std::move(*module), std::move(*parsed)};
}

} // namespace quant::sim
