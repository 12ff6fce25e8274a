//===- json_fields.cpp - typed access to a JSON object's keys -------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/json_fields.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdint>

using namespace quant;
using namespace quant::models;
using nlohmann::json;

std::string models::shortText(const json &value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

static std::string wrongType(const json &value, const char *needed) {
  return fmt::format("{} is not {}", shortText(value), needed);
}

const json *JsonFields::find(std::string_view key) const {
  if (failed())
    return nullptr;
  auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const json *JsonFields::require(std::string_view key) {
  const json *value = find(key);
  if (!value)
    refuse(key, "is missing");
  return value;
}

void JsonFields::read(std::string_view key, int64_t &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_number_integer())
    return refuse(key, wrongType(*value, "an integer"));
  if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))
    return refuse(key, shortText(*value) + " is more than 2^63 - 1");
  out = value->get<int64_t>();
}

void JsonFields::read(std::string_view key, double &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_number() || !std::isfinite(value->get<double>()))
    return refuse(key, wrongType(*value, "a number"));
  out = value->get<double>();
}

void JsonFields::read(std::string_view key, bool &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_boolean())
    return refuse(key, wrongType(*value, "true or false"));
  out = value->get<bool>();
}

void JsonFields::read(std::string_view key, std::string &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_string())
    return refuse(key, wrongType(*value, "a string"));
  out = value->get<std::string>();
}

void JsonFields::read(std::string_view key, std::vector<std::string> &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_array())
    return refuse(key, wrongType(*value, "a list of strings"));
  for (const json &element : *value) {
    if (!element.is_string())
      return refuse(key, wrongType(element, "a string"));
    out.push_back(element.get<std::string>());
  }
}

void JsonFields::expect(std::string_view key, const json &value, std::string_view why) {
  const json *found = find(key);
  if (found && *found != value)
    refuse(key, shortText(*found) + " is not supported, only " + shortText(value) + ": " + std::string(why));
}

void JsonFields::refuse(std::string_view key, std::string rule) {
  if (!error)
    error = Error{path + std::string(key) + ": " + std::move(rule)};
}
