//===- launch_recipe_json.cpp - launch recipes as JSON -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/launch_recipe.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace quant::abi {

using Json = nlohmann::json;
/// Keys stay in the order in which they are written.
using OrderedJson = nlohmann::ordered_json;

/// Version of the JSON.
static constexpr int64_t kFormat = 1;

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

/// "none", or "128B".
static std::string bytesName(int bytes) { return bytes ? fmt::format("{}B", bytes) : "none"; }

static OrderedJson toJson(const Sizes &sizes) {
  OrderedJson json = OrderedJson::object();
  for (int i = 0; i < kNumSizes; ++i)
    if (auto dim = static_cast<Dim>(i); sizes[dim])
      json[std::string(nameOf(dim))] = *sizes[dim];
  return json;
}

static OrderedJson toJson(const std::vector<SizeExpr> &sizes) {
  OrderedJson json = OrderedJson::array();
  for (const SizeExpr &size : sizes)
    json.push_back(size.toJson());
  return json;
}

static OrderedJson toJson(const Operand &operand) {
  const char *access = operand.accumulated ? "readwrite" : operand.written ? "write" : "read";
  OrderedJson json = {{"name", operand.name}, {"dtype", operand.dtype}, {"access", access}, {"shape", toJson(operand.shape)}};
  if (operand.pitchBytes)
    json["pitch_bytes"] = operand.pitchBytes;
  if (operand.scratch)
    json["scratch"] = true;
  if (operand.zeroed)
    json["initial"] = "zero";
  if (operand.early)
    json["early"] = true;
  if (!operand.from.empty())
    json["from"] = operand.from;
  return json;
}

namespace {
struct ParameterToJson {
  OrderedJson operator()(const TensorMapParameter &map) const {
    return {{"kind", "tensor_map"},
            {"operand", map.operand},
            {"data_type", map.dataType},
            {"dim", toJson(map.dim)},
            {"stride_bytes", toJson(map.strideBytes)},
            {"box", map.box},
            {"swizzle", bytesName(map.swizzleBytes)},
            {"l2_promotion", bytesName(map.l2PromotionBytes)}};
  }
  OrderedJson operator()(const PointerParameter &pointer) const { return {{"kind", "pointer"}, {"operand", pointer.operand}}; }
  OrderedJson operator()(const I32Parameter &scalar) const { return {{"kind", "i32"}, {"value", scalar.value.toJson()}}; }
  OrderedJson operator()(const I64Parameter &scalar) const { return {{"kind", "i64"}, {"value", scalar.value.toJson()}}; }
};
} // namespace

OrderedJson LaunchRecipe::toJson() const {
  OrderedJson json = {{"format", kFormat},
                      {"kernel", kernel},
                      {"arch", arch},
                      {"config", config},
                      {"block", block},
                      {"cluster", cluster},
                      {"grid", grid.toJson()},
                      {"dynamic_shared_bytes", dynamicSharedBytes},
                      {"limits", abi::toJson(limits)},
                      {"operands", OrderedJson::array()},
                      {"parameters", OrderedJson::array()}};
  if (rows)
    json["rows"] = nameOf(*rows);
  if (programmatic)
    json["programmatic"] = true;
  for (const Operand &operand : operands)
    json["operands"].push_back(abi::toJson(operand));
  for (const Parameter &parameter : parameters)
    json["parameters"].push_back(std::visit(ParameterToJson(), parameter));
  return json;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {

/// Reads a recipe. What is malformed in it is kept in `error`, the first alone; what is missing or of another JSON type makes
/// the JSON library throw.
struct RecipeReader {
  LaunchRecipe recipe;
  std::string error;

  void refuse(std::string message) {
    if (error.empty())
      error = std::move(message);
  }

  /// An integer, or an array or object of them as T has it. Of a fraction the JSON library would make an integer.
  template <typename T>
  T integers(const Json &json) {
    for (const Json &value : json)
      (void)value.get_ref<const Json::number_integer_t &>();
    return json.get<T>();
  }

  SizeExpr size(const Json &json) {
    Result<SizeExpr> size = SizeExpr::fromJson(json);
    if (!size)
      refuse("the recipe has a malformed size: " + size.error().message);
    return size.value_or(0);
  }

  std::vector<SizeExpr> sizes(const Json &json) {
    std::vector<SizeExpr> values;
    for (const Json &value : json.get_ref<const Json::array_t &>())
      values.push_back(size(value));
    return values;
  }

  Dim dim(const std::string &name) {
    std::optional<Dim> dim = dimFromName(name);
    if (!dim)
      refuse("the recipe names the unknown dim '" + name + "'");
    return dim.value_or(Dim::Tokens);
  }

  Sizes limits(const Json &json) {
    Sizes limits;
    for (const auto &[name, limit] : json.get_ref<const Json::object_t &>())
      limits[dim(name)] = integers<int64_t>(limit);
    return limits;
  }

  /// What bytesName has made.
  int bytes(const std::string &name) {
    for (int bytes : {0, 32, 64, 128, 256})
      if (name == bytesName(bytes))
        return bytes;
    refuse("the recipe has a swizzle or l2_promotion '" + name + "': none, 32B, 64B, 128B or 256B can stand there");
    return 0;
  }

  /// The operand that a parameter is of.
  int operandOf(const Json &json) {
    auto index = integers<int64_t>(json.at("operand"));
    if (index < 0 || index >= std::ssize(recipe.operands))
      refuse(fmt::format("the recipe has a parameter of operand {}, but {} operands", index, recipe.operands.size()));
    return static_cast<int>(index);
  }

  Operand operand(const Json &json) {
    std::string access = json.at("access");
    Operand operand{json.at("name"), json.at("dtype"), access != "read", sizes(json.at("shape"))};
    operand.accumulated = access == "readwrite";
    if (access != "read" && access != "write" && access != "readwrite")
      refuse(fmt::format("operand '{}' has access '{}', which is none of read, write, readwrite", operand.name, access));
    operand.pitchBytes = integers<int64_t>(json.value("pitch_bytes", Json(0)));
    operand.scratch = json.value("scratch", false);
    operand.zeroed = json.value("initial", "") == "zero";
    operand.early = json.value("early", false);
    operand.from = integers<std::vector<int>>(json.value("from", Json::array()));
    return operand;
  }

  TensorMapParameter tensorMap(const Json &json) {
    TensorMapParameter map{operandOf(json), json.at("data_type"), sizes(json.at("dim")), sizes(json.at("stride_bytes"))};
    map.box = integers<std::vector<int64_t>>(json.at("box"));
    map.swizzleBytes = bytes(json.at("swizzle"));
    map.l2PromotionBytes = bytes(json.value("l2_promotion", "none"));
    size_t rank = map.dim.size();
    if (rank < 1 || rank > 5 || map.box.size() != rank || map.strideBytes.size() != rank - 1)
      refuse("the recipe has a tensor map whose dim, box and stride_bytes do not fit");
    return map;
  }

  Parameter parameter(const Json &json) {
    std::string kind = json.at("kind");
    if (kind == "tensor_map")
      return tensorMap(json);
    if (kind == "pointer")
      return PointerParameter{operandOf(json)};
    if (kind == "i64")
      return I64Parameter{size(json.at("value"))};
    if (kind == "i32")
      return I32Parameter{size(json.at("value"))};
    refuse("the recipe has an unknown parameter kind '" + kind + "'");
    return {};
  }

  void read(const Json &json) {
    recipe.kernel = json.at("kernel");
    if (auto format = integers<int64_t>(json.value("format", Json(kFormat))); format != kFormat)
      refuse(fmt::format("the recipe has format {}; this program reads {}", format, kFormat));
    recipe.arch = json.value("arch", "");
    recipe.block = integers<std::array<int64_t, 3>>(json.at("block"));
    recipe.cluster = integers<std::array<int64_t, 3>>(json.at("cluster"));
    recipe.grid = size(json.at("grid"));
    recipe.dynamicSharedBytes = integers<int64_t>(json.at("dynamic_shared_bytes"));
    recipe.limits = limits(json.at("limits"));
    recipe.config = integers<decltype(recipe.config)>(json.value("config", Json::object()));
    if (json.contains("rows"))
      recipe.rows = dim(json.at("rows"));
    recipe.programmatic = json.value("programmatic", false);
    for (const Json &entry : json.at("operands").get_ref<const Json::array_t &>())
      recipe.operands.push_back(operand(entry));
    for (const Json &entry : json.at("parameters").get_ref<const Json::array_t &>())
      recipe.parameters.push_back(parameter(entry));
  }
};

} // namespace

Result<LaunchRecipe> LaunchRecipe::fromJson(const Json &json) {
  try {
    RecipeReader reader;
    reader.read(json);
    return reader.error.empty() ? Result<LaunchRecipe>(std::move(reader.recipe)) : fail(reader.error);
  } catch (const Json::exception &error) {
    return fail(std::string("the recipe is malformed: ") + error.what());
  }
}

} // namespace quant::abi
