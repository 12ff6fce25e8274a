//===- LaunchAttr.cpp - launch recipes as attributes ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/program/LaunchAttr.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace quant;
using Json = nlohmann::ordered_json;

static Attribute attributeOf(Builder &builder, const Json &json) {
  if (json.is_boolean())
    return builder.getBoolAttr(json.get<bool>());
  if (json.is_number_integer())
    return builder.getI64IntegerAttr(json.get<int64_t>());
  if (json.is_string())
    return builder.getStringAttr(json.get<std::string>());
  if (json.is_object()) {
    SmallVector<NamedAttribute> entries;
    for (const auto &[key, value] : json.items())
      entries.push_back(builder.getNamedAttr(key, attributeOf(builder, value)));
    return builder.getDictionaryAttr(entries);
  }
  if (!json.empty() && llvm::all_of(json, [](const Json &element) { return element.is_number_integer(); }))
    return builder.getDenseI64ArrayAttr(json.get<std::vector<int64_t>>());
  SmallVector<Attribute> elements;
  for (const Json &element : json)
    elements.push_back(attributeOf(builder, element));
  return builder.getArrayAttr(elements);
}

Json program::getLaunchJson(Attribute launch) {
  return llvm::TypeSwitch<Attribute, Json>(launch)
      .Case([](BoolAttr value) { return Json(value.getValue()); })
      .Case([](IntegerAttr value) { return Json(value.getInt()); })
      .Case([](StringAttr value) { return Json(value.str()); })
      .Case([](DenseI64ArrayAttr values) { return Json(std::vector<int64_t>(values.asArrayRef())); })
      .Case([](ArrayAttr elements) {
        Json array = Json::array();
        for (Attribute element : elements)
          array.push_back(getLaunchJson(element));
        return array;
      })
      .Case([](DictionaryAttr entries) {
        Json object = Json::object();
        for (NamedAttribute entry : entries)
          object[entry.getName().str()] = getLaunchJson(entry.getValue());
        return object;
      })
      .Default([](Attribute) { return Json(); });
}

Attribute program::getLaunchAttr(MLIRContext *context, const abi::LaunchRecipe &recipe) {
  Builder builder(context);
  return attributeOf(builder, recipe.toJson());
}

Attribute program::getLaunchAttr(MLIRContext *context, ArrayRef<LaunchVariant> variants) {
  if (variants.size() == 1)
    return getLaunchAttr(context, variants.front().recipe);
  Builder builder(context);
  SmallVector<Attribute> list;
  for (const LaunchVariant &variant : variants)
    list.push_back(attributeOf(builder, {{"m", {variant.first, variant.last}}, {"launch", variant.recipe.toJson()}}));
  return builder.getArrayAttr(list);
}

LogicalResult program::verifyLaunch(Operation *op, Attribute launch) {
  auto verifyRecipe = [&](Attribute recipe) -> LogicalResult {
    if (!isa_and_nonnull<DictionaryAttr>(recipe))
      return op->emitOpError("program.launch: a recipe must be a dictionary, not ") << recipe;
    if (auto read = abi::LaunchRecipe::fromJson(getLaunchJson(recipe)); !read)
      return op->emitOpError("program.launch: ") << read.error().message;
    return success();
  };
  auto list = dyn_cast<ArrayAttr>(launch);
  if (!list)
    return verifyRecipe(launch);
  for (Attribute element : list) {
    auto variant = dyn_cast<DictionaryAttr>(element);
    auto range = variant ? variant.getAs<DenseI64ArrayAttr>("m") : DenseI64ArrayAttr();
    if (!range || range.size() != 2)
      return op->emitOpError("program.launch: an element of the list must be {launch = ..., m = array<i64: first, last>}, not ")
             << element;
    if (failed(verifyRecipe(variant.get("launch"))))
      return failure();
  }
  return success();
}
