//===- json_file.cpp - strict reading of JSON files -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/json_file.h"

#include "runtime/checkpoint/file.h"
#include "runtime/checkpoint/json_sax.h"
#include "runtime/checkpoint/other_file.h"

#include <fmt/core.h>

#include <vector>

namespace quant::checkpoint {
namespace {

using Json = nlohmann::json;

/// Builds the value, and refuses what nlohmann's own builder accepts: keys given twice, any depth, integers rounded to floats.
class DomBuilder : public SaxHandler {
public:
  DomBuilder(Json &root, const JsonLimits &limits) : limits(limits), slot(&root) {}

  bool null() { return add(nullptr) != nullptr; }
  bool boolean(bool value) { return add(value) != nullptr; }
  bool number_integer(Json::number_integer_t value) { return add(value) != nullptr; }
  bool number_unsigned(Json::number_unsigned_t value) { return add(value) != nullptr; }
  bool string(Json::string_t &value) { return add(std::move(value)) != nullptr; }
  bool number_float(Json::number_float_t value, const Json::string_t &digits) {
    if (digits.find_first_of(".eE") == std::string::npos)
      return fail(describeFloat(digits) + (lastKey.empty() ? "" : " as the value of " + quote(lastKey)));
    return add(value) != nullptr;
  }

  bool start_object(size_t) { return open(Json::object()); }
  bool end_object() { return close(); }
  bool start_array(size_t) { return open(Json::array()); }
  bool end_array() { return close(); }
  bool key(Json::string_t &name) {
    auto [place, isNew] = containers.back()->get_ref<Json::object_t &>().try_emplace(std::move(name), nullptr);
    if (!isNew)
      return fail("key " + quote(place->first) + " is given twice in this object");
    slot = &place->second;
    lastKey = place->first;
    return true;
  }

private:
  /// Puts the value where the text stands: the next element of an array, the value of the last key, or the root.
  Json *add(Json value) {
    if (!containers.empty() && containers.back()->is_array()) {
      auto &array = containers.back()->get_ref<Json::array_t &>();
      array.push_back(std::move(value));
      return &array.back();
    }
    *slot = std::move(value);
    return slot;
  }

  bool open(Json empty) {
    if (containers.size() >= limits.maxDepth)
      return fail(fmt::format("nested deeper than {} levels", limits.maxDepth));
    containers.push_back(add(std::move(empty)));
    return true;
  }

  bool close() {
    containers.pop_back();
    return true;
  }

  const JsonLimits &limits;
  Json *slot;
  std::string_view lastKey; ///< read most recently, a key of the value
  /// The open arrays and objects. Their addresses hold: a container only grows while it is the innermost.
  std::vector<Json *> containers;
};

} // namespace

Result<Json> parseJsonStrict(std::string_view text, const JsonLimits &limits) {
  Json root;
  DomBuilder builder(root, limits);
  QUANT_TRY(parseSax(text, builder));
  return root;
}

Result<Json> readJsonFile(const std::filesystem::path &path, uint64_t maxBytes, const JsonLimits &limits) {
  QUANT_TRY_ASSIGN(auto text, readFile(path, maxBytes));
  auto json = parseJsonStrict(text, limits);
  if (std::string_view other = describeOtherFile(text); !json && !other.empty())
    return fail(printable(path.native()) + ": " + std::string(other));
  if (!json)
    return tl::unexpected(json.error().in(printable(path.native())));
  return json;
}

} // namespace quant::checkpoint
