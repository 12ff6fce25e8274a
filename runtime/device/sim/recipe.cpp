//===- recipe.cpp - launch recipes -------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/simulator.h"

#include <nlohmann/json.hpp>

namespace quant::sim {

using Json = nlohmann::ordered_json;

namespace {

/// Far from overflow, whatever two such sizes are multiplied to.
constexpr int64_t kMaxSize = int64_t(1) << 31;
constexpr int kMaxDepth = 8;

/// Value of a size expression: 128, "M", ["*" | "+" | "min" | "ceildiv", a, b].
Result<int64_t> evaluate(const Json &expression, const Dims &dims, int depth = 0) {
  if (expression.is_number_integer())
    return expression.get<int64_t>();
  if (expression.is_string()) {
    auto dim = dims.find(expression.get<std::string>());
    if (dim == dims.end())
      return fail("the recipe needs the size '" + expression.get<std::string>() + "'");
    return dim->second;
  }
  if (!expression.is_array() || expression.size() != 3 || !expression[0].is_string() || depth > kMaxDepth)
    return fail("the recipe has a size that is no expression: " + expression.dump());
  auto a = evaluate(expression[1], dims, depth + 1), b = evaluate(expression[2], dims, depth + 1);
  if (!a || !b)
    return a ? b : a;
  if (*a < 0 || *b < 0 || *a > kMaxSize || *b > kMaxSize)
    return fail("the recipe has a size beyond 2^31: " + expression.dump());
  std::string op = expression[0];
  if (op == "*")
    return *a * *b;
  if (op == "+")
    return *a + *b;
  if (op == "min")
    return std::min(*a, *b);
  if (op == "ceildiv" && *b > 0)
    return (*a + *b - 1) / *b;
  return fail("the recipe has an unknown operator or divides by zero: " + expression.dump());
}

uint64_t bytesOfDtype(const std::string &dtype) {
  if (dtype.starts_with("f8") || dtype == "i8" || dtype == "ui8")
    return 1;
  return dtype == "bf16" || dtype == "f16" || dtype == "i16" ? 2 : dtype == "f32" || dtype == "i32" ? 4 : dtype == "i64" ? 8 : 0;
}

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

Result<Argument> tensorMap(const Json &parameter, const Dims &dims) {
  TensorMapArgument argument;
  argument.buffer = parameter.at("operand").get<size_t>();
  TensorMap &map = argument.map;
  map.rank = static_cast<uint32_t>(parameter.at("dim").size());
  map.elementBytes = bytesOfDataType(parameter.at("data_type"));
  map.kind = kindOfDataType(parameter.at("data_type"));
  std::string swizzle = parameter.at("swizzle");
  map.swizzleBytes = swizzle == "none" ? 0 : static_cast<uint32_t>(std::atoi(swizzle.c_str()));
  if (map.rank < 1 || map.rank > TensorMap::kMaxRank || parameter.at("box").size() != map.rank ||
      parameter.at("stride_bytes").size() != map.rank - 1)
    return fail("the recipe has a tensor map whose dim, box and stride_bytes do not fit");
  map.stride[0] = map.elementBytes;
  for (uint32_t i = 0; i < map.rank; ++i) {
    auto dim = evaluate(parameter["dim"][i], dims), stride = evaluate(i ? parameter["stride_bytes"][i - 1] : Json(0), dims);
    if (!dim || !stride)
      return tl::unexpected(dim ? stride.error() : dim.error());
    map.dim[i] = static_cast<uint64_t>(*dim);
    if (i > 0)
      map.stride[i] = static_cast<uint64_t>(*stride);
    map.box[i] = parameter["box"][i].get<uint32_t>();
  }
  return argument;
}

Result<Argument> argumentOf(const Json &parameter, const Dims &dims) {
  std::string kind = parameter.at("kind");
  if (kind == "tensor_map")
    return tensorMap(parameter, dims);
  if (kind == "pointer")
    return PointerArgument{parameter.at("operand").get<size_t>(), 0};
  if (kind != "i32" && kind != "i64")
    return fail("the recipe has an unknown parameter kind '" + kind + "'");
  auto value = evaluate(parameter.at("value"), dims);
  if (!value)
    return tl::unexpected(value.error());
  return ScalarArgument{static_cast<uint64_t>(*value)};
}

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

struct Recipe::Data {
  Json json;
};

Recipe::Recipe(std::unique_ptr<Data> data) : data(std::move(data)) {}
Recipe::Recipe(Recipe &&) noexcept = default;
Recipe::~Recipe() = default;

/// Runs `body`, in which the JSON library throws at what a recipe lacks.
template <typename F>
static auto guarded(F body) -> decltype(body()) {
  try {
    return body();
  } catch (const Json::exception &error) {
    return fail(std::string("the recipe is malformed: ") + error.what());
  }
}

Result<Recipe> Recipe::parse(std::string_view text, std::string_view kernel) {
  return guarded([&]() -> Result<Recipe> {
    Json json = Json::parse(text);
    if (json.is_array())
      json = pick(json, kernel);
    if (json.is_null())
      return fail(kernel.empty() ? "the file has several recipes: name a kernel" : "no recipe for '" + std::string(kernel) + "'");
    if (json.contains("launch"))
      json = Json(json.at("launch"));
    json.at("kernel").get<std::string>();
    json.value("rows", "");
    return Recipe(std::make_unique<Data>(Data{std::move(json)}));
  });
}

std::string Recipe::kernel() const { return data->json["kernel"].get<std::string>(); }
std::string Recipe::rows() const { return data->json.value("rows", ""); }

Result<std::vector<RecipeOperand>> Recipe::operands(const Dims &dims) const {
  return guarded([&]() -> Result<std::vector<RecipeOperand>> {
    std::vector<RecipeOperand> operands;
    for (const Json &entry : data->json.at("operands")) {
      RecipeOperand &operand = operands.emplace_back();
      operand.name = entry.at("name");
      operand.dtype = entry.at("dtype");
      operand.written = entry.at("access") != "read";
      operand.from = entry.value("from", std::vector<int>());
      operand.bytes = bytesOfDtype(operand.dtype);
      if (operand.bytes == 0)
        return fail("operand '" + operand.name + "' has dtype " + operand.dtype + ", which the simulator does not know");
      for (const Json &size : entry.at("shape")) {
        auto value = evaluate(size, dims);
        if (!value)
          return tl::unexpected(value.error());
        if (*value < 0 || *value > kMaxSize || (*value && operand.bytes > (uint64_t(1) << 40) / static_cast<uint64_t>(*value)))
          return fail("operand '" + operand.name + "' is larger than 1 TiB");
        operand.shape.push_back(*value);
        operand.bytes *= static_cast<uint64_t>(*value);
      }
      // Rows further apart than they are long.
      if (int64_t pitch = entry.value("pitch_bytes", int64_t(0)); pitch > 0 && !operand.shape.empty() && operand.shape.back() > 0) {
        uint64_t row = bytesOfDtype(operand.dtype) * static_cast<uint64_t>(operand.shape.back());
        if (static_cast<uint64_t>(pitch) < row || pitch > kMaxSize)
          return fail("operand '" + operand.name + "' has a pitch of " + std::to_string(pitch) + " bytes for rows of " +
                      std::to_string(row));
        operand.bytes = operand.bytes / row * static_cast<uint64_t>(pitch);
      }
    }
    return operands;
  });
}

Result<Launch> Recipe::launch(const Dims &dims, std::vector<Buffer> buffers) const {
  return guarded([&]() -> Result<Launch> {
    Launch launch;
    launch.kernel = kernel();
    for (const auto &[name, limit] : data->json.at("limits").items())
      if (auto dim = dims.find(name); dim != dims.end() && dim->second > limit.get<int64_t>())
        return fail("the kernel is for " + name + " up to " + std::to_string(limit.get<int64_t>()));
    auto grid = evaluate(data->json.at("grid"), dims);
    if (!grid || *grid < 0 || *grid >= kMaxSize)
      return grid ? fail("a grid of " + std::to_string(*grid) + " blocks") : tl::unexpected(grid.error());
    launch.grid[0] = static_cast<uint32_t>(*grid);
    for (size_t i = 0; i < 3; ++i)
      launch.block[i] = data->json.at("block").at(i).get<uint32_t>();
    for (size_t i = 0; i < 3; ++i)
      launch.cluster[i] = data->json.at("cluster").at(i).get<uint32_t>();
    launch.dynamicSharedBytes = data->json.at("dynamic_shared_bytes").get<uint64_t>();
    launch.buffers = std::move(buffers);
    if (*grid == 0) // Tensor maps of empty tensors do not exist.
      return launch;
    for (const Json &parameter : data->json.at("parameters")) {
      auto argument = argumentOf(parameter, dims);
      if (!argument)
        return tl::unexpected(argument.error());
      launch.arguments.push_back(*argument);
    }
    return launch;
  });
}

} // namespace quant::sim
