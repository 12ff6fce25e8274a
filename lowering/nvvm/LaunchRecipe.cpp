//===- LaunchRecipe.cpp - how a GPU kernel is launched -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/nvvm/LaunchRecipe.h"

#include <algorithm>

using Json = nlohmann::ordered_json;

namespace quant::nvvm {

int64_t SizeExpr::evaluate(const std::map<std::string, int64_t> &dims) const {
  if (symbol.empty())
    return value;
  if (operands.empty())
    return dims.at(symbol);
  int64_t a = operands[0].evaluate(dims), b = operands[1].evaluate(dims);
  if (symbol == "*")
    return a * b;
  return symbol == "min" ? std::min(a, b) : (a + b - 1) / b;
}

Json SizeExpr::toJson() const {
  if (symbol.empty())
    return value;
  if (operands.empty())
    return symbol;
  return Json::array({symbol, operands[0].toJson(), operands[1].toJson()});
}

/// "none", or "128B".
static std::string bytesName(int bytes) { return bytes ? std::to_string(bytes) + "B" : "none"; }

static Json toJson(const std::vector<SizeExpr> &sizes) {
  Json json = Json::array();
  for (const SizeExpr &size : sizes)
    json.push_back(size.toJson());
  return json;
}

static Json toJson(const Operand &operand) {
  Json json = {{"name", operand.name},
               {"dtype", operand.dtype},
               {"access", operand.accumulated ? "readwrite"
                          : operand.written   ? "write"
                                              : "read"},
               {"shape", toJson(operand.shape)}};
  if (operand.pitchBytes)
    json["pitch_bytes"] = operand.pitchBytes;
  if (operand.scratch)
    json["scratch"] = true;
  if (operand.zeroed)
    json["initial"] = "zero";
  if (!operand.from.empty())
    json["from"] = operand.from;
  return json;
}

namespace {
struct ParameterToJson {
  Json operator()(const TensorMapParameter &map) const {
    return {{"kind", "tensor_map"},
            {"operand", map.operand},
            {"data_type", map.dataType},
            {"dim", toJson({map.dim[0], map.dim[1]})},
            {"stride_bytes", toJson({map.strideBytes})},
            {"box", map.box},
            {"swizzle", bytesName(map.swizzleBytes)},
            {"l2_promotion", bytesName(map.l2PromotionBytes)}};
  }
  Json operator()(const PointerParameter &pointer) const { return {{"kind", "pointer"}, {"operand", pointer.operand}}; }
  Json operator()(const I32Parameter &scalar) const { return {{"kind", "i32"}, {"value", scalar.value.toJson()}}; }
};
} // namespace

Json LaunchRecipe::toJson() const {
  Json json = {
      {"format", 1},      {"kernel", kernel},          {"arch", "sm_90a"},           {"config", config},
      {"block", block},   {"cluster", cluster},        {"grid", grid.toJson()},      {"dynamic_shared_bytes", dynamicSharedBytes},
      {"limits", limits}, {"operands", Json::array()}, {"parameters", Json::array()}};
  if (!rows.empty())
    json["rows"] = rows;
  for (const Operand &operand : operands)
    json["operands"].push_back(nvvm::toJson(operand));
  for (const Parameter &parameter : parameters)
    json["parameters"].push_back(std::visit(ParameterToJson(), parameter));
  return json;
}

} // namespace quant::nvvm
