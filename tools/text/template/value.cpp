//===- value.cpp - values of a template -----------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/template/value.h"

#include "runtime/support/text.h"
#include "tools/text/utf8.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace quant::text {

bool Value::truthy() const {
  if (isUndefined())
    return false;
  const Json *json = asJson();
  if (!json || json->is_null())
    return !json;
  if (json->is_boolean())
    return json->get<bool>();
  if (json->is_number())
    return json->get<double>() != 0;
  return json->is_string() ? !json->get_ref<const std::string &>().empty() : !json->empty();
}

std::string Value::typeName() const {
  if (const auto *undefined = std::get_if<Undefined>(&of))
    return fmt::format("{}, undefined,", undefined->name.empty() ? "a value" : quote(undefined->name));
  const Json *json = asJson();
  if (!json)
    return std::holds_alternative<const Statement *>(of) ? "a macro" : "a namespace";
  return json->is_null()      ? "none"
         : json->is_boolean() ? "a boolean"
         : json->is_number()  ? "a number"
         : json->is_string()  ? "a string"
         : json->is_array()   ? "a list"
                              : "a dict";
}

//===----------------------------------------------------------------------===//
// Printing
//===----------------------------------------------------------------------===//

/// Python's repr of a float: the fewest digits that read back to it.
static std::string pythonFloat(double value) {
  if (!std::isfinite(value))
    return std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string text(buffer, end);
  int exponent = std::stoi(text.substr(text.find('e') + 1));
  if (exponent < -4 || exponent >= 16)
    return text;
  end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed).ptr;
  text.assign(buffer, end);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

static void writeString(std::string &out, const std::string &text) {
  constexpr std::string_view kKeys = "\"\\\n\r\t\f\b", kNames = "\"\\nrtfb";
  out += '"';
  for (char c : text)
    if (size_t at = kKeys.find(c); at != kKeys.npos)
      out += {'\\', kNames[at]};
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  out += '"';
}

static void write(std::string &out, const Json &json) {
  const char *separator = "";
  if (json.is_object()) {
    out += '{';
    for (auto it = json.begin(); it != json.end(); ++it) {
      out += std::exchange(separator, ", ");
      writeString(out, it.key());
      out += ": ";
      write(out, it.value());
    }
    out += '}';
  } else if (json.is_array()) {
    out += '[';
    for (const Json &item : json) {
      out += std::exchange(separator, ", ");
      write(out, item);
    }
    out += ']';
  } else if (json.is_string()) {
    writeString(out, json.get_ref<const std::string &>());
  } else {
    out += json.is_number_float() ? pythonFloat(json.get<double>()) : json.dump();
  }
}

std::string pythonJson(const Json &json) {
  std::string out;
  write(out, json);
  return out;
}

Result<std::string> printed(const Value &value) {
  if (value.isUndefined())
    return std::string();
  const Json *json = value.asJson();
  if (json && json->is_string())
    return value.string();
  if (json && json->is_boolean())
    return std::string(json->get<bool>() ? "True" : "False");
  if (json && json->is_null())
    return std::string("None");
  if (json && json->is_number_integer())
    return json->dump();
  if (json && json->is_number_float())
    return pythonFloat(json->get<double>());
  return fail(fmt::format("{} would be printed in Python's syntax, which is not read; use tojson", value.typeName()));
}

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

static tl::unexpected<Error> refuse(const Value &left, const std::string &op, const Value &right) {
  return fail(fmt::format("{} is not read between {} and {}", quote(op), left.typeName(), right.typeName()));
}

static bool isNumber(const Value &value) { return value.asJson() && value.asJson()->is_number(); }

static Result<Value> arithmetic(const Value &left, const std::string &op, const Value &right) {
  if (!isNumber(left) || !isNumber(right))
    return refuse(left, op, right);
  double a = left.asJson()->get<double>(), b = right.asJson()->get<double>();
  if ((op == "/" || op == "//" || op == "%") && b == 0)
    return fail("a division by zero");
  if (op == "/")
    return Value::json(a / b);
  if (!left.isInteger() || !right.isInteger())
    return op == "+"   ? Value::json(a + b)
           : op == "-" ? Value::json(a - b)
           : op == "*" ? Value::json(a * b)
                       : Result<Value>(refuse(left, op, right));
  int64_t x = left.integer(), y = right.integer(), result = 0;
  bool overflow = op == "+"   ? __builtin_add_overflow(x, y, &result)
                  : op == "-" ? __builtin_sub_overflow(x, y, &result)
                  : op == "*" ? __builtin_mul_overflow(x, y, &result)
                              : x == INT64_MIN && y == -1;
  if (overflow)
    return fail("an integer overflows 64 bits");
  // Python rounds down.
  if (op == "//" || op == "%") {
    int64_t rest = x % y;
    bool adjust = rest != 0 && (rest < 0) != (y < 0);
    result = op == "%" ? rest + (adjust ? y : 0) : x / y - adjust;
  } else if (op == "**") {
    return refuse(left, op, right);
  }
  return Value::json(result);
}

static Result<bool> contains(const Value &in, const Value &what) {
  if (in.isUndefined())
    return false;
  if (in.isString() && what.isString())
    return in.string().find(what.string()) != std::string::npos;
  const Json *json = in.asJson();
  if (json && json->is_array() && what.asJson())
    return std::ranges::find(*json, *what.asJson()) != json->end();
  if (json && json->is_object() && what.isString())
    return json->contains(what.string());
  return refuse(what, "in", in);
}

static Result<bool> equal(const Value &left, const Value &right) {
  if (left.isUndefined() || right.isUndefined())
    return left.isUndefined() && right.isUndefined();
  const Json *a = left.asJson(), *b = right.asJson();
  if (!a || !b)
    return refuse(left, "==", right);
  // True == 1 in Python.
  auto number = [](const Json &json) { return json.is_boolean() ? Json(json.get<bool>() ? 1 : 0) : json; };
  return number(*a) == number(*b);
}

static Result<bool> less(const Value &left, const Value &right) {
  if (left.isString() && right.isString())
    return left.string() < right.string();
  if (isNumber(left) && isNumber(right))
    return *left.asJson() < *right.asJson();
  return refuse(left, "<", right);
}

static Result<Value> joined(const std::string &left, const std::string &right) {
  if (left.size() + right.size() > kMostText)
    return fail(fmt::format("a string has more than {} bytes", kMostText));
  return Value::json(left + right);
}

Result<Value> combine(const Value &left, const std::string &op, const Value &right) {
  auto boolean = [](const Result<bool> &result, bool expected) -> Result<Value> {
    if (!result)
      return tl::unexpected(result.error());
    return Value::json(*result == expected);
  };
  if (op == "==" || op == "!=")
    return boolean(equal(left, right), op == "==");
  if (op == "in" || op == "not in")
    return boolean(contains(right, left), op == "in");
  if (op == "<" || op == ">=")
    return boolean(less(left, right), op == "<");
  if (op == ">" || op == "<=")
    return boolean(less(right, left), op == ">");
  if (op == "~") {
    QUANT_TRY_ASSIGN(std::string a, printed(left));
    QUANT_TRY_ASSIGN(std::string b, printed(right));
    return joined(a, b);
  }
  if (op == "+" && left.isString() && right.isString())
    return joined(left.string(), right.string());
  if (op == "+" && left.isList() && right.isList()) {
    Json both = *left.asJson();
    if (both.size() + right.asJson()->size() > kMostItems)
      return fail(fmt::format("a list has more than {} items", kMostItems));
    both.insert(both.end(), right.asJson()->begin(), right.asJson()->end());
    return Value::json(std::move(both));
  }
  return arithmetic(left, op, right);
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

static std::vector<std::string_view> charactersOf(std::string_view text) {
  std::vector<std::string_view> characters;
  for (size_t bytes = 0; !text.empty(); text.remove_prefix(bytes)) {
    bytes = utf8Step(text).bytes;
    characters.push_back(text.substr(0, bytes));
  }
  return characters;
}

Result<Value> itemOf(const Value &of, const Value &index) {
  if (of.isUndefined())
    return fail(of.typeName() + " has no items");
  if (const auto *space = std::get_if<std::shared_ptr<Namespace>>(&of.of); space && index.isString()) {
    auto found = (*space)->values.find(index.string());
    return found != (*space)->values.end() ? found->second : Value(Undefined{index.string()});
  }
  if (of.isDict() && index.isString()) {
    auto found = of.asJson()->find(index.string());
    return found != of.asJson()->end() ? of.part(*found) : Value(Undefined{index.string()});
  }
  if ((of.isList() || of.isString()) && index.isInteger()) {
    QUANT_TRY_ASSIGN(std::vector<Value> items, itemsOf(of));
    int64_t size = static_cast<int64_t>(items.size()), at = index.integer() + (index.integer() < 0 ? size : 0);
    return at >= 0 && at < size ? items[static_cast<size_t>(at)] : Value(Undefined{"an item"});
  }
  return Value(Undefined{index.isString() ? index.string() : "an item"});
}

Result<Value> sliceOf(const Value &of, const Value &start, const Value &stop, const Value &step) {
  if (!of.isList() && !of.isString())
    return fail(of.typeName() + " is not sliced");
  for (const Value *part : {&start, &stop, &step})
    if (!part->isUndefined() && !part->isInteger() && !(part->asJson() && part->asJson()->is_null()))
      return fail("a slice has a part that is no integer");
  QUANT_TRY_ASSIGN(std::vector<Value> items, itemsOf(of));
  auto size = static_cast<int64_t>(items.size());
  int64_t by = step.isInteger() ? step.integer() : 1;
  if (by == 0 || by == INT64_MIN)
    return fail("a slice has a step of 0");
  int64_t lowest = by > 0 ? 0 : -1, highest = by > 0 ? size : size - 1;
  auto bound = [&](const Value &part, int64_t absent) {
    if (!part.isInteger())
      return absent;
    int64_t at = part.integer();
    return std::clamp(at < 0 ? at + size : at, lowest, highest);
  };
  int64_t first = bound(start, by > 0 ? lowest : highest), last = bound(stop, by > 0 ? highest : lowest);
  Json list = Json::array();
  std::string text;
  for (int64_t i = first; by > 0 ? i < last : i > last; i += std::clamp(by, -size - 1, size + 1)) {
    const Value &item = items[static_cast<size_t>(i)];
    of.isString() ? static_cast<void>(text += item.string()) : list.push_back(*item.asJson());
  }
  return of.isString() ? Value::json(std::move(text)) : Value::json(std::move(list));
}

Result<std::vector<Value>> itemsOf(const Value &value) {
  std::vector<Value> items;
  if (value.isUndefined())
    return items;
  if (value.isString())
    for (std::string_view character : charactersOf(value.string()))
      items.push_back(Value::json(std::string(character)));
  else if (value.isList())
    for (const Json &item : *value.asJson())
      items.push_back(value.part(item));
  else if (value.isDict())
    for (auto it = value.asJson()->begin(); it != value.asJson()->end(); ++it)
      items.push_back(Value::json(it.key()));
  else
    return fail(value.typeName() + " is not iterated");
  return items;
}

} // namespace quant::text
