//===- object_reader.cpp - strict reading of JSON objects -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/module/object_reader.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant::runtime {

using nlohmann::json;

static constexpr size_t kMaxTextBytes = 4096;
static const json kNull;
static const json kEmptyObject = json::object();
static const json kEmptyArray = json::array();

ObjectReader::ObjectReader(const json &json, std::string where, std::optional<Error> &error)
    : object(&json), location(std::move(where)), error(error) {
  if (json.is_object())
    return;
  object = &kEmptyObject;
  report("expected an object, found " + std::string(json.type_name()));
}

void ObjectReader::report(const std::string &message) {
  if (!error)
    error = Error{location + ": " + message};
}

const json &ObjectReader::any(const char *key) {
  known.emplace_back(key);
  auto it = object->find(key);
  if (it != object->end())
    return *it;
  report("'" + std::string(key) + "' is missing");
  return kNull;
}

int64_t ObjectReader::integer(const char *key, int64_t min, int64_t max) {
  const json &value = any(key);
  const auto *asUnsigned = value.get_ptr<const json::number_unsigned_t *>();
  const auto *asSigned = value.get_ptr<const json::number_integer_t *>();
  bool fits = asUnsigned ? *asUnsigned <= static_cast<uint64_t>(INT64_MAX) : asSigned != nullptr;
  int64_t number = !fits ? min : asUnsigned ? static_cast<int64_t>(*asUnsigned) : *asSigned;
  if (fits && number >= min && number <= max)
    return number;
  report(fmt::format("'{}' is {}, not an integer from {} to {}", key, value.is_number() ? value.dump() : value.type_name(), min,
                     max));
  return min;
}

std::string ObjectReader::text(const char *key) {
  const auto *value = any(key).get_ptr<const std::string *>();
  if (value && value->size() <= kMaxTextBytes)
    return *value;
  report(fmt::format("'{}' is not a string of at most {} bytes", key, kMaxTextBytes));
  return {};
}

std::vector<std::string> ObjectReader::texts(const char *key) {
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

const json &ObjectReader::array(const char *key) {
  const json &value = any(key);
  if (value.is_array())
    return value;
  report("'" + std::string(key) + "' is not an array");
  return kEmptyArray;
}

void ObjectReader::finish() {
  for (auto it = object->begin(); it != object->end(); ++it)
    if (std::ranges::find(known, it.key()) == known.end())
      return report("unknown key " + quote(it.key()));
}

} // namespace quant::runtime
