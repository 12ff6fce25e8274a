//===- lexer.cpp - a Jinja template as tokens -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/template/lexer.h"

#include "runtime/support/text.h"
#include "tools/text/utf8.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace quant::text {

tl::unexpected<Error> failAt(int line, const std::string &message) { return fail(fmt::format("line {}: {}", line, message)); }

bool isPythonSpace(uint32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip(std::string_view text, bool start, bool end, const std::string *characters) {
  auto taken = [&](std::string_view one) {
    return characters ? characters->find(one) != std::string::npos : isPythonSpace(utf8Step(one).codePoint);
  };
  while (start && !text.empty()) {
    size_t bytes = utf8Step(text).bytes;
    if (!taken(text.substr(0, bytes)))
      break;
    text.remove_prefix(bytes);
  }
  while (end && !text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80)
      --last;
    if (!taken(text.substr(last)))
      break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

namespace {

bool isNameByte(char c, bool first) {
  return c == '_' || (first ? std::isalpha(static_cast<unsigned char>(c)) : std::isalnum(static_cast<unsigned char>(c)));
}

/// Newlines as "\n", without one at the end.
std::string normalized(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i)
    if (source[i] != '\r')
      out += source[i];
    else if (i + 1 == source.size() || source[i + 1] != '\n')
      out += '\n';
  if (out.ends_with('\n'))
    out.pop_back();
  return out;
}

class Lexer {
public:
  explicit Lexer(std::string_view given) : owned(normalized(given)), source(owned) {}

  Result<std::vector<Token>> run() {
    while (at < source.size())
      QUANT_TRY(textAndTag());
    tokens.push_back({TokenKind::End, "", line});
    return std::move(tokens);
  }

private:
  bool sees(std::string_view text) const { return source.substr(at).starts_with(text); }

  void advance(size_t bytes) {
    line += static_cast<int>(std::ranges::count(source.substr(at, bytes), '\n'));
    at += bytes;
  }

  void push(TokenKind kind, std::string text) { tokens.push_back({kind, std::move(text), line}); }

  Result<void> textAndTag() {
    size_t tag = at;
    while (true) {
      tag = source.find('{', tag);
      if (tag == source.npos ||
          (tag + 1 < source.size() && std::string_view("{%#").find(source[tag + 1]) != std::string_view::npos))
        break;
      ++tag;
    }
    std::string_view text = source.substr(at, tag == source.npos ? tag : tag - at);
    std::string_view kept = tag == source.npos ? text : beforeTag(text, tag);
    if (!kept.empty())
      push(TokenKind::Text, std::string(kept));
    advance(text.size());
    if (tag == source.npos)
      return {};
    char kind = source[at + 1];
    advance(2);
    if (at < source.size() && (source[at] == '-' || source[at] == '+'))
      advance(1);
    return kind == '#' ? comment() : this->tag(kind == '{');
  }

  /// What is printed of the text before a tag: none of its white space before `{%-`, nor what a line begins with before `{%`.
  std::string_view beforeTag(std::string_view text, size_t tag) const {
    char sign = tag + 2 < source.size() ? source[tag + 2] : '\0';
    if (sign == '-')
      return strip(text, false, true);
    if (sign == '+' || source[tag + 1] == '{')
      return text;
    size_t newline = text.rfind('\n');
    size_t lineStart = newline == text.npos ? 0 : newline + 1;
    bool starts = newline != text.npos || lineStarting;
    return starts && strip(text.substr(lineStart), true, false).empty() ? text.substr(0, lineStart) : text;
  }

  /// Behind a tag: `-` before its end takes the white space away, the end of a block or comment one newline.
  void afterTag(std::string_view end, bool trimsNewline) {
    bool minus = sees("-"), plus = sees("+");
    advance(end.size() + (minus || plus));
    size_t begin = at;
    if (minus)
      advance(source.size() - at - strip(source.substr(at), true, false).size());
    else if (trimsNewline && !plus && sees("\n"))
      advance(1);
    lineStarting = at > begin && source[at - 1] == '\n';
  }

  Result<void> comment() {
    int begin = line;
    size_t end = source.find("#}", at);
    if (end == source.npos)
      return failAt(begin, "a comment has no end");
    if (end > at && (source[end - 1] == '-' || source[end - 1] == '+'))
      --end;
    advance(end - at);
    afterTag("#}", true);
    return {};
  }

  Result<void> tag(bool print) {
    std::string_view end = print ? "}}" : "%}";
    push(print ? TokenKind::PrintBegin : TokenKind::BlockBegin, "");
    int begin = line, depth = 0;
    while (at < source.size()) {
      if (std::isspace(static_cast<unsigned char>(source[at]))) {
        advance(1);
        continue;
      }
      bool sign = source[at] == '-' || (source[at] == '+' && !print);
      if (depth == 0 && source.substr(at + sign).starts_with(end)) {
        push(print ? TokenKind::PrintEnd : TokenKind::BlockEnd, "");
        afterTag(end, !print);
        return {};
      }
      depth += std::string_view("([{").find(source[at]) != std::string_view::npos;
      depth -= std::string_view(")]}").find(source[at]) != std::string_view::npos;
      QUANT_TRY(token());
    }
    return failAt(begin, fmt::format("a tag has no end, {}", end));
  }

  Result<void> token() {
    char c = source[at];
    if (c == '\'' || c == '"')
      return string(c);
    if (isNameByte(c, true)) {
      size_t size = 1;
      while (at + size < source.size() && isNameByte(source[at + size], false))
        ++size;
      push(TokenKind::Name, std::string(source.substr(at, size)));
      advance(size);
      return {};
    }
    if (std::isdigit(static_cast<unsigned char>(c)))
      return number();
    constexpr std::array<std::string_view, 27> kOperators = {"==", "!=", "<=", ">=", "//", "**", "+", "-", "*",
                                                             "/",  "%",  "~",  "|",  ".",  ",",  ":", "(", ")",
                                                             "[",  "]",  "{",  "}",  "=",  "<",  ">", ";", "!"};
    for (std::string_view op : kOperators)
      if (sees(op)) {
        push(TokenKind::Operator, std::string(op));
        advance(op.size());
        return {};
      }
    return failAt(
        line, fmt::format("{} is no character of an expression", quote(source.substr(at, utf8Step(source.substr(at)).bytes))));
  }

  Result<void> number() {
    size_t size = 0;
    bool real = false;
    while (at + size < source.size()) {
      char c = source[at + size];
      bool point =
          c == '.' && !real && at + size + 1 < source.size() && std::isdigit(static_cast<unsigned char>(source[at + size + 1]));
      real |= point;
      if (!point && !std::isdigit(static_cast<unsigned char>(c)))
        break;
      ++size;
    }
    if (at + size < source.size() && isNameByte(source[at + size], false))
      return failAt(line, fmt::format("number {} is not read", quote(source.substr(at, size + 1))));
    push(real ? TokenKind::Float : TokenKind::Integer, std::string(source.substr(at, size)));
    advance(size);
    return {};
  }

  Result<void> string(char quoted) {
    std::string text;
    int begin = line;
    for (advance(1); at < source.size() && source[at] != quoted;) {
      if (source[at] == '\\') {
        QUANT_TRY(escape(text));
        continue;
      }
      text += source[at];
      advance(1);
    }
    if (at == source.size())
      return failAt(begin, "a string has no end");
    advance(1);
    tokens.push_back({TokenKind::String, std::move(text), begin});
    return {};
  }

  /// Python's escapes, but for octal numbers and names; a backslash before other characters stays.
  Result<void> escape(std::string &text) {
    constexpr std::string_view kKeys = "ntrbfav\\'\"\n", kValues = "\n\t\r\b\f\a\v\\'\"";
    char key = at + 1 < source.size() ? source[at + 1] : '\0';
    size_t index = kKeys.find(key);
    if (size_t digits = key == 'x' ? 2 : key == 'u' ? 4 : key == 'U' ? 8 : 0) {
      uint32_t code = 0;
      const char *first = source.data() + at + 2, *last = source.data() + std::min(source.size(), at + 2 + digits);
      auto [rest, error] = std::from_chars(first, last, code, 16);
      if (error != std::errc() || rest != first + digits || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return failAt(line, fmt::format("escape \\{} has no code point of {} hexadecimal digits", key, digits));
      appendUtf8(text, code);
      advance(2 + digits);
      return {};
    }
    if (std::isdigit(static_cast<unsigned char>(key)) || key == 'N' || key == '\0')
      return failAt(line, fmt::format("escape {} is not read", quote(source.substr(at, 2))));
    if (index == kKeys.npos)
      text += '\\';
    if (index < kValues.size())
      text += kValues[index];
    else if (index == kKeys.npos) {
      advance(1); // the character itself follows
      return {};
    }
    advance(2);
    return {};
  }

  std::string owned;
  std::string_view source;
  size_t at = 0;
  int line = 1;
  bool lineStarting = true;
  std::vector<Token> tokens;
};

} // namespace

Result<std::vector<Token>> lexTemplate(std::string_view source) { return Lexer(source).run(); }

} // namespace quant::text
