//===- value.h - values of a template ------------------------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_TEMPLATE_VALUE_H
#define QUANT_TOOLS_TEXT_TEMPLATE_VALUE_H

#include "runtime/support/result.h"
#include "tools/text/template/syntax.h"

#include <nlohmann/json.hpp>

#include <map>
#include <memory>
#include <string>
#include <variant>

namespace quant::text {

using Json = nlohmann::ordered_json;

/// Longest string and list that a template may make.
constexpr size_t kMostText = 16 << 20, kMostItems = 1 << 20;

/// A value that there is none of: prints nothing, is false, is iterated as nothing; everything else with it is an error.
struct Undefined {
  std::string name;
};

struct Value;
/// What namespace() makes: the one thing whose attributes can be set.
struct Namespace {
  std::map<std::string, Value> values;
};

/// A value: JSON (None, booleans, numbers, strings, lists, dicts; shared, a part keeps the whole), or one of those that only
/// templates know.
struct Value {
  std::variant<Undefined, std::shared_ptr<const Json>, std::shared_ptr<Namespace>, const Statement *> of;

  Value() = default;
  Value(Undefined undefined) : of(std::move(undefined)) {}
  Value(std::shared_ptr<const Json> json) : of(std::move(json)) {}
  Value(std::shared_ptr<Namespace> space) : of(std::move(space)) {}
  explicit Value(const Statement *macro) : of(macro) {}
  static Value json(Json json) { return Value(std::make_shared<const Json>(std::move(json))); }

  bool isUndefined() const { return std::holds_alternative<Undefined>(of); }
  /// Null where it is no JSON.
  const Json *asJson() const {
    const auto *json = std::get_if<std::shared_ptr<const Json>>(&of);
    return json ? json->get() : nullptr;
  }
  bool isString() const { return asJson() && asJson()->is_string(); }
  bool isInteger() const { return asJson() && asJson()->is_number_integer(); }
  bool isList() const { return asJson() && asJson()->is_array(); }
  bool isDict() const { return asJson() && asJson()->is_object(); }
  const std::string &string() const { return asJson()->get_ref<const std::string &>(); }
  int64_t integer() const { return asJson()->get<int64_t>(); }
  /// A part of this list or dict.
  Value part(const Json &json) const {
    return Value(std::shared_ptr<const Json>(std::get<std::shared_ptr<const Json>>(of), &json));
  }

  bool truthy() const;
  /// "a string", for messages.
  std::string typeName() const;
};

/// What `{{ value }}` prints. Errors: lists, dicts and the like, which Python prints in its own syntax.
Result<std::string> printed(const Value &value);

/// `left op right`: + - * / // % ~ == != < > <= >= in, not in, as Python has them.
Result<Value> combine(const Value &left, const std::string &op, const Value &right);

/// `of[index]`; undefined where there is none.
Result<Value> itemOf(const Value &of, const Value &index);

/// `of[start:stop:step]` of a list or the characters of a string; parts may be undefined.
Result<Value> sliceOf(const Value &of, const Value &start, const Value &stop, const Value &step);

/// What a loop takes one by one: items of a list, keys of a dict, characters of a string.
Result<std::vector<Value>> itemsOf(const Value &value);

/// Arguments of a filter, a method or a macro: by place, then by name.
struct Arguments {
  std::vector<Value> places;
  std::vector<std::pair<std::string, Value>> names;
};

/// `of | name(...)`, `of is name`, `of.name(...)`. Errors name what is not read.
Result<Value> applyFilter(const std::string &name, const Value &of, const Arguments &arguments);
Result<bool> applyTest(const std::string &name, const Value &of);
Result<Value> callMethod(const Value &of, const std::string &name, const Arguments &arguments);

/// `json` as Python's json.dumps(json, ensure_ascii=False) writes it.
std::string pythonJson(const Json &json);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_TEMPLATE_VALUE_H
