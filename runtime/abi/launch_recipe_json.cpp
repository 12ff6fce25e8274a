//===- launch_recipe_json.cpp - launch recipes as JSON -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/launch_recipe.h"

#include "runtime/support/object_reader.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>

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
  if (operand.stacked)
    json["stacked"] = true;
  return json;
}

namespace {
struct ParameterToJson {
  static OrderedJson withOffset(OrderedJson json, int64_t bytes) {
    if (bytes)
      json["offset_bytes"] = bytes;
    return json;
  }
  OrderedJson operator()(const TensorMapParameter &map) const {
    return withOffset({{"kind", "tensor_map"},
                       {"operand", map.operand},
                       {"data_type", map.dataType},
                       {"dim", toJson(map.dim)},
                       {"stride_bytes", toJson(map.strideBytes)},
                       {"box", map.box},
                       {"swizzle", bytesName(map.swizzleBytes)},
                       {"l2_promotion", bytesName(map.l2PromotionBytes)}},
                      map.offsetBytes);
  }
  OrderedJson operator()(const PointerParameter &pointer) const {
    return withOffset({{"kind", "pointer"}, {"operand", pointer.operand}}, pointer.offsetBytes);
  }
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

/// Reads a recipe. The first thing wrong is kept in `error`.
struct RecipeReader {
  LaunchRecipe recipe;
  std::optional<Error> error;

  void refuse(std::string message) {
    if (!error)
      error = Error{std::move(message)};
  }

  SizeExpr size(const Json &json) {
    Result<SizeExpr> size = SizeExpr::fromJson(json);
    if (!size)
      refuse("the recipe has a malformed size: " + size.error().message);
    return size.value_or(0);
  }

  std::vector<SizeExpr> sizes(const Json &json) {
    std::vector<SizeExpr> values;
    for (const Json &value : json)
      values.push_back(size(value));
    return values;
  }

  std::array<int64_t, 3> three(ObjectReader &fields, const char *key) {
    std::vector<int64_t> numbers = fields.integers(key);
    if (numbers.size() != 3)
      fields.report(fmt::format("'{}' is not three integers", key));
    numbers.resize(3);
    return {numbers[0], numbers[1], numbers[2]};
  }

  Dim dim(const std::string &name) {
    std::optional<Dim> dim = dimFromName(name);
    if (!dim)
      refuse("the recipe names the unknown dim '" + name + "'");
    return dim.value_or(Dim::Tokens);
  }

  Sizes limits(const Json &json) {
    ObjectReader fields(json, "the recipe is malformed: limits", error);
    Sizes limits;
    for (const auto &[name, limit] : json.items())
      if (json.is_object())
        limits[dim(name)] = anyInteger(fields, name);
    return limits;
  }

  std::map<std::string, int64_t> config(const Json &json) {
    ObjectReader fields(json, "the recipe is malformed: config", error);
    std::map<std::string, int64_t> config;
    for (const auto &[name, value] : json.items())
      if (json.is_object())
        config[name] = anyInteger(fields, name);
    return config;
  }

  static int64_t anyInteger(ObjectReader &fields, std::string_view key) { return fields.integer(key, INT64_MIN, INT64_MAX); }

  /// What bytesName has made.
  int bytes(const std::string &name) {
    for (int bytes : {0, 32, 64, 128, 256})
      if (name == bytesName(bytes))
        return bytes;
    refuse("the recipe has a swizzle or l2_promotion '" + name + "': none, 32B, 64B, 128B or 256B can stand there");
    return 0;
  }

  /// The operand that a parameter is of.
  int operandOf(ObjectReader &fields) {
    int64_t index = anyInteger(fields, "operand");
    if (index < 0 || index >= std::ssize(recipe.operands))
      refuse(fmt::format("the recipe has a parameter of operand {}, but {} operands", index, recipe.operands.size()));
    return static_cast<int>(index);
  }

  /// From an operand to where a parameter points.
  static int64_t offset(ObjectReader &fields) {
    constexpr int64_t kMaxBytes = int64_t(1) << 40;
    return fields.has("offset_bytes") ? fields.integer("offset_bytes", -kMaxBytes, kMaxBytes) : 0;
  }

  Operand operand(const Json &json, size_t index) {
    ObjectReader fields(json, fmt::format("the recipe is malformed: operand {}", index), error);
    std::string access = fields.text("access"), initial;
    Operand operand{fields.text("name"), fields.text("dtype"), access != "read", sizes(fields.array("shape"))};
    operand.accumulated = access == "readwrite";
    if (access != "read" && access != "write" && access != "readwrite")
      refuse(fmt::format("operand '{}' has access '{}', which is none of read, write, readwrite", operand.name, access));
    fields.read("pitch_bytes", operand.pitchBytes);
    fields.read("scratch", operand.scratch);
    fields.read("initial", initial);
    operand.zeroed = initial == "zero";
    fields.read("early", operand.early);
    fields.read("stacked", operand.stacked);
    if (fields.has("from"))
      for (int64_t from : fields.integers("from"))
        operand.from.push_back(static_cast<int>(std::clamp<int64_t>(from, -1, INT32_MAX)));
    return operand;
  }

  TensorMapParameter tensorMap(ObjectReader &fields) {
    TensorMapParameter map{operandOf(fields), fields.text("data_type"), sizes(fields.array("dim")),
                           sizes(fields.array("stride_bytes"))};
    map.box = fields.integers("box");
    map.swizzleBytes = bytes(fields.text("swizzle"));
    std::string promotion = "none";
    fields.read("l2_promotion", promotion);
    map.l2PromotionBytes = bytes(promotion);
    map.offsetBytes = offset(fields);
    size_t rank = map.dim.size();
    if (rank < 1 || rank > 5 || map.box.size() != rank || map.strideBytes.size() != rank - 1)
      refuse("the recipe has a tensor map whose dim, box and stride_bytes do not fit");
    return map;
  }

  Parameter parameter(const Json &json, size_t index) {
    ObjectReader fields(json, fmt::format("the recipe is malformed: parameter {}", index), error);
    std::string kind = fields.text("kind");
    if (kind == "tensor_map")
      return tensorMap(fields);
    if (kind == "pointer")
      return PointerParameter{operandOf(fields), offset(fields)};
    if (kind == "i64")
      return I64Parameter{size(fields.any("value"))};
    if (kind == "i32")
      return I32Parameter{size(fields.any("value"))};
    refuse("the recipe has an unknown parameter kind '" + kind + "'");
    return {};
  }

  void read(const Json &json) {
    ObjectReader fields(json, "the recipe is malformed", error);
    int64_t format = kFormat;
    fields.read("format", format);
    if (format != kFormat)
      refuse(fmt::format("the recipe has format {}; this program reads {}", format, kFormat));
    fields.read("arch", recipe.arch);
    recipe.kernel = fields.text("kernel");
    recipe.block = three(fields, "block");
    recipe.cluster = three(fields, "cluster");
    recipe.grid = size(fields.any("grid"));
    recipe.dynamicSharedBytes = anyInteger(fields, "dynamic_shared_bytes");
    recipe.limits = limits(fields.any("limits"));
    if (const Json *given = fields.find("config"))
      recipe.config = config(*given);
    if (fields.has("rows"))
      recipe.rows = dim(fields.text("rows"));
    fields.read("programmatic", recipe.programmatic);
    const Json &operands = fields.array("operands"), &parameters = fields.array("parameters");
    for (size_t i = 0; i < operands.size() && !error; ++i)
      recipe.operands.push_back(operand(operands[i], i));
    for (size_t i = 0; i < parameters.size() && !error; ++i)
      recipe.parameters.push_back(parameter(parameters[i], i));
  }
};

} // namespace

Result<LaunchRecipe> LaunchRecipe::fromJson(const Json &json) {
  RecipeReader reader;
  reader.read(json);
  return reader.error ? Result<LaunchRecipe>(tl::unexpected(*reader.error)) : std::move(reader.recipe);
}

} // namespace quant::abi
