//===- object_reader.cpp - strict reading of JSON objects -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/object_reader.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace quant {

using nlohmann::json;

static constexpr size_t kMaxTextBytes = 4096;
static const json kNull;

/// An empty container of that type, for as long as the program runs.
static const json &emptyObject() {
  static const json empty = json::object();
  return empty;
}
static const json &emptyArray() {
  static const json empty = json::array();
  return empty;
}

std::string shortText(const json &value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

ObjectReader::ObjectReader(const json &json, std::string where) : ObjectReader(json, std::move(where), own) {}

ObjectReader::ObjectReader(const json &json, std::string where, std::optional<Error> &shared)
    : object(&json), location(std::move(where)), error(shared) {
  if (json.is_object())
    return;
  object = &emptyObject();
  report(fmt::format("expected an object, found {}", json.type_name()));
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

void ObjectReader::report(const std::string &message) {
  if (!error)
    error = Error{location.empty() ? message : location + ": " + message};
}

void ObjectReader::refuse(std::string_view key, std::string_view rule) {
  if (!error)
    error = Error{fmt::format("{}{}{}: {}", location, location.empty() || location.ends_with('.') ? "" : ": ", key, rule)};
}

void ObjectReader::finish() {
  for (auto it = object->begin(); it != object->end(); ++it)
    if (std::ranges::find(known, it.key()) == known.end())
      return report("unknown key " + quote(it.key()));
}

//===----------------------------------------------------------------------===//
// Keys that must be there
//===----------------------------------------------------------------------===//

const json &ObjectReader::any(std::string_view key) {
  known.emplace_back(key);
  auto it = object->find(key);
  if (it != object->end())
    return *it;
  report(fmt::format("'{}' is missing", key));
  return kNull;
}

/// An integer that int64_t holds.
static std::optional<int64_t> integerOf(const json &value) {
  if (const auto *number = value.get_ptr<const json::number_unsigned_t *>())
    return *number <= static_cast<uint64_t>(INT64_MAX) ? std::optional(static_cast<int64_t>(*number)) : std::nullopt;
  const auto *number = value.get_ptr<const json::number_integer_t *>();
  return number ? std::optional<int64_t>(*number) : std::nullopt;
}

int64_t ObjectReader::integer(std::string_view key, int64_t min, int64_t max) {
  const json &value = any(key);
  std::optional<int64_t> number = integerOf(value);
  if (number && *number >= min && *number <= max)
    return *number;
  report(fmt::format("'{}' is {}, not an integer from {} to {}", key, value.is_number() ? value.dump() : value.type_name(), min,
                     max));
  return min;
}

std::string ObjectReader::text(std::string_view key) {
  const auto *value = any(key).get_ptr<const std::string *>();
  if (value && value->size() <= kMaxTextBytes)
    return *value;
  report(fmt::format("'{}' is not a string of at most {} bytes", key, kMaxTextBytes));
  return {};
}

std::vector<std::string> ObjectReader::texts(std::string_view key) {
  std::vector<std::string> result;
  for (const json &item : array(key)) {
    const auto *value = item.get_ptr<const std::string *>();
    if (!value || value->size() > kMaxTextBytes) {
      report(fmt::format("'{}' holds something other than strings of at most {} bytes", key, kMaxTextBytes));
      return {};
    }
    result.push_back(*value);
  }
  return result;
}

std::vector<int64_t> ObjectReader::integers(std::string_view key) {
  std::vector<int64_t> result;
  for (const json &item : array(key)) {
    std::optional<int64_t> number = integerOf(item);
    if (!number) {
      report(fmt::format("'{}' holds {}, not an integer of 64 bits", key, shortText(item)));
      return {};
    }
    result.push_back(*number);
  }
  return result;
}

const json &ObjectReader::array(std::string_view key) {
  const json &value = any(key);
  if (value.is_array())
    return value;
  report(fmt::format("'{}' is not an array", key));
  return emptyArray();
}

//===----------------------------------------------------------------------===//
// Keys that may be there
//===----------------------------------------------------------------------===//

std::optional<int64_t> wholeNumber(const json &value) {
  // Some programs write every number of a configuration as a float.
  if (double real = value.is_number_float() ? value.get<double>() : 0.5; real == std::floor(real) && std::abs(real) < 0x1p53)
    return static_cast<int64_t>(real);
  return integerOf(value);
}

static std::string wrongType(const json &value, const char *needed) {
  return fmt::format("{} is not {}", shortText(value), needed);
}

const json *ObjectReader::find(std::string_view key) {
  known.emplace_back(key);
  if (failed())
    return nullptr;
  auto found = object->find(key);
  return found == object->end() || found->is_null() ? nullptr : &*found;
}

const json *ObjectReader::require(std::string_view key) {
  const json *value = find(key);
  if (!value)
    refuse(key, "is missing");
  return value;
}

void ObjectReader::read(std::string_view key, int64_t &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (std::optional<int64_t> number = wholeNumber(*value))
    out = *number;
  else if (!value->is_number_integer())
    refuse(key, wrongType(*value, "an integer"));
  else
    refuse(key, shortText(*value) + " is more than 2^63 - 1");
}

void ObjectReader::read(std::string_view key, double &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_number() || !std::isfinite(value->get<double>()))
    return refuse(key, wrongType(*value, "a number"));
  out = value->get<double>();
}

void ObjectReader::read(std::string_view key, bool &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_boolean())
    return refuse(key, wrongType(*value, "true or false"));
  out = value->get<bool>();
}

void ObjectReader::read(std::string_view key, std::string &out) {
  const json *value = find(key);
  if (!value)
    return;
  if (!value->is_string())
    return refuse(key, wrongType(*value, "a string"));
  out = value->get<std::string>();
}

void ObjectReader::read(std::string_view key, std::vector<std::string> &out) {
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

void ObjectReader::expect(std::string_view key, const json &value, std::string_view why) {
  const json *found = find(key);
  if (found && *found != value)
    refuse(key, fmt::format("{} is not supported, only {}: {}", shortText(*found), shortText(value), why));
}

} // namespace quant
