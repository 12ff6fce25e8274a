//===- json_sax.h - nlohmann's event parser, made strict --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_JSON_SAX_H
#define QUANT_RUNTIME_CHECKPOINT_JSON_SAX_H

#include "runtime/support/result.h"
#include "runtime/support/text.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <new>
#include <string>
#include <string_view>

namespace quant::checkpoint {

/// The base of our SAX handlers: keeps the first error. A callback that returns fail(...) stops the parser.
class SaxHandler {
public:
  /// What the parser says about malformed text, without its exception number and the (unbounded) text it read last.
  bool parse_error(size_t, const std::string &, const nlohmann::json::exception &exception) {
    std::string_view what = exception.what();
    what.remove_prefix(std::min(what.find("] ") + 2, what.size()));
    if (what.starts_with("parse error at "))
      what.remove_prefix(std::min(what.find(": ") + 2, what.size()));
    return fail(printable(what.substr(0, what.find("; last read: '"))));
  }

  /// JSON has no binary values; the interface asks for this one all the same.
  bool binary(nlohmann::json::binary_t &) { return fail("binary value"); }

  const std::string &error() const { return message; }

protected:
  bool fail(std::string text) {
    message = std::move(text);
    return false;
  }

private:
  std::string message;
};

/// "a float (1.5)", or what to say of digits that no 64-bit integer holds, which the parser hands over as a float.
inline std::string describeFloat(const std::string &digits) {
  if (digits.find_first_of(".eE") == std::string::npos)
    return "an integer beyond 64 bits (" + printable(digits) + ")";
  return "a float (" + printable(digits) + ")";
}

/// Walks a text and tells how far the parser got, which its callbacks do not.
class CountingIterator {
public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char *;
  using reference = const char &;

  CountingIterator(const char *position, const char **reached) : position(position), reached(reached) {}
  reference operator*() const { return *position; }
  CountingIterator &operator++() {
    *reached = ++position;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator &other) const { return position == other.position; }

private:
  const char *position;
  const char **reached;
};

/// Feeds `text` to `handler`, a SaxHandler with nlohmann's SAX callbacks. Refuses what the parser lets pass: a NUL, which it
/// takes for the end of the text, and a byte order mark. Errors begin with line and column.
template <typename Handler>
Result<void> parseSax(std::string_view text, Handler &handler) {
  if (size_t nul = text.find('\0'); nul != text.npos)
    return quant::fail(lineAndColumn(text, nul) + ": NUL byte, which JSON does not allow (padding must be spaces)");
  if (text.starts_with("\xEF\xBB\xBF"))
    return quant::fail("line 1, column 1: byte order mark, which JSON does not allow; save the file as UTF-8 without it");
  const char *reached = text.data();
  try {
    CountingIterator begin(reached, &reached), end(reached + text.size(), &reached);
    if (nlohmann::json::sax_parse(begin, end, &handler))
      return {};
  } catch (const std::bad_alloc &) {
    return quant::fail(fmt::format("out of memory while parsing {} bytes of JSON", text.size()));
  } catch (const std::exception &exception) {
    return quant::fail(std::string("cannot be parsed: ") + printable(exception.what()));
  }
  auto consumed = static_cast<size_t>(reached - text.data());
  return quant::fail(fmt::format("{}: {}", lineAndColumn(text, consumed == 0 ? 0 : consumed - 1), handler.error()));
}

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_JSON_SAX_H
