//===- builtins.cpp - filters, tests and methods of a template ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/text.h"
#include "tools/text/template/lexer.h"
#include "tools/text/template/value.h"
#include "tools/text/utf8.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>

namespace quant::text {
namespace {

using Function = Result<Value> (*)(const Value &of, const Arguments &arguments);

tl::unexpected<Error> wrongType(const Value &of, std::string_view needed) {
  return fail(fmt::format("{} is given where {} is needed", of.typeName(), needed));
}

/// The string at `place`, or nothing where there is no argument. Errors: it is no string.
Result<const std::string *> stringAt(const Arguments &arguments, size_t place) {
  if (place >= arguments.places.size())
    return nullptr;
  const Value &value = arguments.places[place];
  if (!value.isString())
    return wrongType(value, "a string");
  return &value.string();
}

/// Lower or upper case of ASCII. Errors: other characters, whose case this does not know.
template <char first, char last>
Result<Value> changeCase(const Value &of, const Arguments &) {
  if (!of.isString())
    return wrongType(of, "a string");
  std::string text = of.string();
  for (char &c : text) {
    if (static_cast<unsigned char>(c) >= 0x80)
      return fail("upper and lower case are read of ASCII only");
    if (c >= first && c <= last)
      c = static_cast<char>(c ^ 0x20);
  }
  return Value::json(std::move(text));
}

template <bool start, bool end>
Result<Value> stripped(const Value &of, const Arguments &arguments) {
  if (!of.isString())
    return wrongType(of, "a string");
  QUANT_TRY_ASSIGN(const std::string *characters, stringAt(arguments, 0));
  return Value::json(std::string(strip(of.string(), start, end, characters)));
}

//===----------------------------------------------------------------------===//
// Methods of strings
//===----------------------------------------------------------------------===//

/// split(separator[, most]).
Result<Value> splitText(const Value &of, const Arguments &arguments) {
  QUANT_TRY_ASSIGN(const std::string *separator, stringAt(arguments, 0));
  if (!separator || separator->empty())
    return fail("split is read with a separator only");
  bool limited = arguments.places.size() > 1;
  if (limited && !arguments.places[1].isInteger())
    return wrongType(arguments.places[1], "an integer");
  int64_t most = limited ? arguments.places[1].integer() : -1;
  std::string_view rest = of.string();
  Json parts = Json::array();
  for (size_t at = 0; most != 0 && (at = rest.find(*separator)) != rest.npos; --most) {
    parts.push_back(rest.substr(0, at));
    rest.remove_prefix(at + separator->size());
  }
  parts.push_back(rest);
  return Value::json(std::move(parts));
}

template <bool atStart>
Result<Value> hasEdge(const Value &of, const Arguments &arguments) {
  QUANT_TRY_ASSIGN(const std::string *edge, stringAt(arguments, 0));
  if (!edge)
    return fail("startswith and endswith need a string");
  return Value::json(atStart ? of.string().starts_with(*edge) : of.string().ends_with(*edge));
}

Result<Value> replaceText(const Value &of, const Arguments &arguments) {
  if (!of.isString())
    return wrongType(of, "a string");
  QUANT_TRY_ASSIGN(const std::string *from, stringAt(arguments, 0));
  QUANT_TRY_ASSIGN(const std::string *to, stringAt(arguments, 1));
  if (!from || !to || from->empty() || arguments.places.size() > 2)
    return fail("replace is read with two strings only, the first not empty");
  std::string text;
  std::string_view rest = of.string();
  for (size_t at = 0; (at = rest.find(*from)) != rest.npos; rest.remove_prefix(at + from->size())) {
    text += rest.substr(0, at);
    text += *to;
    if (text.size() > kMostText)
      return fail(fmt::format("replace makes more than {} bytes", kMostText));
  }
  text += rest;
  return Value::json(std::move(text));
}

//===----------------------------------------------------------------------===//
// Methods of dicts
//===----------------------------------------------------------------------===//

Result<Value> getItem(const Value &of, const Arguments &arguments) {
  QUANT_TRY_ASSIGN(const std::string *key, stringAt(arguments, 0));
  if (!key)
    return fail("get needs a key");
  auto found = of.asJson()->find(*key);
  if (found != of.asJson()->end())
    return of.part(*found);
  return arguments.places.size() > 1 ? arguments.places[1] : Value::json(nullptr);
}

Result<Value> pairsOf(const Value &of, const Arguments &) {
  if (!of.isDict())
    return wrongType(of, "a dict");
  Json pairs = Json::array();
  for (auto it = of.asJson()->begin(); it != of.asJson()->end(); ++it)
    pairs.push_back(Json::array({it.key(), it.value()}));
  return Value::json(std::move(pairs));
}

Result<Value> keysOf(const Value &of, const Arguments &) {
  Json keys = Json::array();
  for (auto it = of.asJson()->begin(); it != of.asJson()->end(); ++it)
    keys.push_back(it.key());
  return Value::json(std::move(keys));
}

Result<Value> valuesOf(const Value &of, const Arguments &) {
  Json values = Json::array();
  for (const Json &value : *of.asJson())
    values.push_back(value);
  return Value::json(std::move(values));
}

//===----------------------------------------------------------------------===//
// Filters
//===----------------------------------------------------------------------===//

Result<Value> toJson(const Value &of, const Arguments &) {
  if (!of.asJson())
    return wrongType(of, "a value of JSON");
  return Value::json(pythonJson(*of.asJson()));
}

Result<Value> lengthOf(const Value &of, const Arguments &) {
  QUANT_TRY_ASSIGN(std::vector<Value> items, itemsOf(of));
  return Value::json(static_cast<int64_t>(items.size()));
}

Result<Value> orDefault(const Value &of, const Arguments &arguments) {
  bool falsy = arguments.places.size() > 1 && arguments.places[1].truthy();
  if (of.isUndefined() || (falsy && !of.truthy()))
    return arguments.places.empty() ? Value::json("") : arguments.places[0];
  return of;
}

Result<Value> joined(const Value &of, const Arguments &arguments) {
  QUANT_TRY_ASSIGN(const std::string *between, stringAt(arguments, 0));
  QUANT_TRY_ASSIGN(std::vector<Value> items, itemsOf(of));
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    QUANT_TRY_ASSIGN(std::string item, printed(items[i]));
    text += i > 0 && between ? *between + item : item;
    if (text.size() > kMostText)
      return fail(fmt::format("join makes more than {} bytes", kMostText));
  }
  return Value::json(std::move(text));
}

template <bool last>
Result<Value> endOf(const Value &of, const Arguments &) {
  QUANT_TRY_ASSIGN(std::vector<Value> items, itemsOf(of));
  return items.empty() ? Value(Undefined{"an item of an empty list"}) : last ? items.back() : items.front();
}

Result<Value> listOf(const Value &of, const Arguments &) {
  QUANT_TRY_ASSIGN(std::vector<Value> items, itemsOf(of));
  Json list = Json::array();
  for (const Value &item : items)
    list.push_back(*item.asJson());
  return Value::json(std::move(list));
}

Result<Value> stringOf(const Value &of, const Arguments &) {
  QUANT_TRY_ASSIGN(std::string text, printed(of));
  return Value::json(std::move(text));
}

struct Builtin {
  std::string_view name;
  Function function;
  size_t mostArguments;
};

constexpr Builtin kStringMethods[] = {{"split", splitText, 2},
                                      {"strip", stripped<true, true>, 1},
                                      {"lstrip", stripped<true, false>, 1},
                                      {"rstrip", stripped<false, true>, 1},
                                      {"startswith", hasEdge<true>, 1},
                                      {"endswith", hasEdge<false>, 1},
                                      {"replace", replaceText, 2},
                                      {"upper", changeCase<'a', 'z'>, 0},
                                      {"lower", changeCase<'A', 'Z'>, 0}};
constexpr Builtin kDictMethods[] = {{"get", getItem, 2}, {"items", pairsOf, 0}, {"keys", keysOf, 0}, {"values", valuesOf, 0}};
constexpr Builtin kFilters[] = {{"tojson", toJson, 0},
                                {"length", lengthOf, 0},
                                {"count", lengthOf, 0},
                                {"trim", stripped<true, true>, 1},
                                {"upper", changeCase<'a', 'z'>, 0},
                                {"lower", changeCase<'A', 'Z'>, 0},
                                {"replace", replaceText, 2},
                                {"default", orDefault, 2},
                                {"d", orDefault, 2},
                                {"join", joined, 1},
                                {"first", endOf<false>, 0},
                                {"last", endOf<true>, 0},
                                {"list", listOf, 0},
                                {"items", pairsOf, 0},
                                {"string", stringOf, 0}};

Result<Value> call(std::span<const Builtin> known, std::string_view kind, const std::string &name, const Value &of,
                   const Arguments &arguments) {
  auto found = std::ranges::find(known, name, &Builtin::name);
  if (found == known.end())
    return fail(fmt::format("{} {} is not read", kind, quote(name)));
  if (!arguments.names.empty())
    return fail(fmt::format("{} {} with argument {}= is not read", kind, quote(name), printable(arguments.names[0].first)));
  if (arguments.places.size() > found->mostArguments)
    return fail(fmt::format("{} {} with {} arguments is not read", kind, quote(name), arguments.places.size()));
  return found->function(of, arguments);
}

} // namespace

Result<Value> applyFilter(const std::string &name, const Value &of, const Arguments &arguments) {
  return call(kFilters, "filter", name, of, arguments);
}

Result<Value> callMethod(const Value &of, const std::string &name, const Arguments &arguments) {
  if (of.isString())
    return call(kStringMethods, "method", name, of, arguments);
  if (of.isDict())
    return call(kDictMethods, "method", name, of, arguments);
  return fail(fmt::format("method {} of {} is not read", quote(name), of.typeName()));
}

Result<bool> applyTest(const std::string &name, const Value &of) {
  const Json *json = of.asJson();
  if (name == "defined" || name == "undefined")
    return of.isUndefined() == (name == "undefined");
  if (name == "none")
    return json && json->is_null();
  if (name == "string")
    return of.isString();
  if (name == "boolean")
    return json && json->is_boolean();
  if (name == "true" || name == "false")
    return json && json->is_boolean() && json->get<bool>() == (name == "true");
  if (name == "number") // so are Python's booleans
    return json && (json->is_number() || json->is_boolean());
  if (name == "integer")
    return of.isInteger();
  if (name == "mapping")
    return of.isDict();
  if (name == "iterable" || name == "sequence") // an undefined value is both
    return of.isUndefined() || of.isString() || of.isList() || of.isDict();
  return fail(fmt::format("test {} is not read", quote(name)));
}

} // namespace quant::text
