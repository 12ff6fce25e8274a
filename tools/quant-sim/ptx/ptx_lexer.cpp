//===- ptx_lexer.cpp - PTX text to tokens ---------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/ptx/ptx.h"

#include <fmt/core.h>

#include <bit>
#include <cctype>
#include <charconv>

namespace quant::sim {

namespace {

constexpr struct {
  Type type;
  std::string_view name;
  int bits;
} kTypes[] = {
    {Type::Pred, "pred", 1},      {Type::B8, "b8", 8},          {Type::B16, "b16", 16},  {Type::B32, "b32", 32},
    {Type::B64, "b64", 64},       {Type::B128, "b128", 128},    {Type::U8, "u8", 8},     {Type::U16, "u16", 16},
    {Type::U32, "u32", 32},       {Type::U64, "u64", 64},       {Type::S8, "s8", 8},     {Type::S16, "s16", 16},
    {Type::S32, "s32", 32},       {Type::S64, "s64", 64},       {Type::F16, "f16", 16},  {Type::F16x2, "f16x2", 32},
    {Type::BF16, "bf16", 16},     {Type::BF16x2, "bf16x2", 32}, {Type::F32, "f32", 32},  {Type::F64, "f64", 64},
    {Type::TF32, "tf32", 32},     {Type::E4M3, "e4m3", 8},      {Type::E5M2, "e5m2", 8}, {Type::E4M3x2, "e4m3x2", 16},
    {Type::E5M2x2, "e5m2x2", 16},
};

bool isWordStart(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.'; }
bool isWordPart(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '.'; }

/// Cuts tokens off the front of `text`.
class Lexer {
public:
  explicit Lexer(std::string_view text) : text(text) {}
  Result<std::vector<Token>> run();

private:
  tl::unexpected<Error> error(const std::string &what) const { return fail(fmt::format("line {}: {}", line, what)); }
  bool skipBlank();
  char peek(size_t ahead = 0) const { return at + ahead < text.size() ? text[at + ahead] : '\0'; }
  void word();
  Result<void> number();
  Result<void> decimal();
  Result<void> string();
  void push(Token::Kind kind, size_t begin, uint64_t value = 0) {
    tokens.push_back({kind, text.substr(begin, at - begin), value, line});
  }

  std::string_view text;
  size_t at = 0;
  int line = 1;
  std::vector<Token> tokens;
};

/// Skips blanks and comments; false if a comment does not end.
bool Lexer::skipBlank() {
  while (at < text.size()) {
    if (peek() == '\n')
      ++line;
    if (std::isspace(static_cast<unsigned char>(peek()))) {
      ++at;
    } else if (peek() == '/' && peek(1) == '/') {
      while (at < text.size() && peek() != '\n')
        ++at;
    } else if (peek() == '/' && peek(1) == '*') {
      size_t end = text.find("*/", at + 2);
      if (end == std::string_view::npos)
        return false;
      for (; at < end + 2; ++at)
        line += peek() == '\n';
    } else {
      break;
    }
  }
  return true;
}

void Lexer::word() {
  size_t begin = at++;
  while (true) {
    if (isWordPart(peek()))
      ++at;
    else if (peek() == ':' && peek(1) == ':')
      at += 2;
    else
      break;
  }
  push(Token::Kind::Word, begin);
}

Result<void> Lexer::decimal() {
  size_t begin = at;
  double value = 0;
  auto [end, status] = std::from_chars(text.data() + at, text.data() + text.size(), value);
  if (status != std::errc())
    return error("not a number");
  at = end - text.data();
  push(Token::Kind::Float64, begin, std::bit_cast<uint64_t>(value));
  return {};
}

Result<void> Lexer::number() {
  size_t begin = at, digits = 0;
  int base = 10;
  Token::Kind kind = Token::Kind::Integer;
  char prefix = peek() == '0' ? static_cast<char>(std::tolower(static_cast<unsigned char>(peek(1)))) : '\0';
  if (prefix == 'f' || prefix == 'd') {
    kind = prefix == 'f' ? Token::Kind::Float32 : Token::Kind::Float64;
    digits = prefix == 'f' ? 8 : 16;
  }
  if (prefix == 'x' || digits)
    base = 16, at += 2;
  else if (prefix == 'b')
    base = 2, at += 2;
  else if (std::isdigit(static_cast<unsigned char>(prefix)))
    base = 8, at += 1;
  uint64_t value = 0;
  auto [end, status] = std::from_chars(text.data() + at, text.data() + text.size(), value, base);
  size_t length = end - (text.data() + at);
  if (status != std::errc() || (digits && length != digits))
    return error("not a number that fits 64 bits");
  if (base == 10 && at + length < text.size() && (*end == '.' || *end == 'e' || *end == 'E'))
    return decimal();
  at += length;
  push(kind, begin, value);
  if (peek() == 'U')
    ++at;
  if (isWordPart(peek()) && peek() != '.')
    return error("a letter within a number");
  return {};
}

Result<void> Lexer::string() {
  size_t begin = at, end = text.find('"', at + 1);
  if (end == std::string_view::npos || text.substr(at, end - at).find('\n') != std::string_view::npos)
    return error("a string without an end");
  at = end + 1;
  push(Token::Kind::String, begin);
  return {};
}

Result<std::vector<Token>> Lexer::run() {
  while (true) {
    if (!skipBlank())
      return error("a comment without an end");
    if (at >= text.size())
      break;
    Result<void> done;
    if (isWordStart(peek()))
      word();
    else if (std::isdigit(static_cast<unsigned char>(peek())))
      done = number();
    else if (peek() == '"')
      done = string();
    else if (std::string_view("{}[]()<>,;:+-!|@=*").find(peek()) != std::string_view::npos)
      push(Token::Kind::Punctuation, at++), tokens.back().text = text.substr(at - 1, 1);
    else
      return error("a character that PTX does not have");
    if (!done)
      return tl::unexpected(done.error());
  }
  tokens.push_back({Token::Kind::End, {}, 0, line});
  return std::move(tokens);
}

} // namespace

Type typeNamed(std::string_view name) {
  for (const auto &entry : kTypes)
    if (entry.name == name)
      return entry.type;
  return Type::None;
}

std::string_view nameOf(Type type) {
  for (const auto &entry : kTypes)
    if (entry.type == type)
      return entry.name;
  return "none";
}

int bitsOf(Type type) {
  for (const auto &entry : kTypes)
    if (entry.type == type)
      return entry.bits;
  return 0;
}

bool isSigned(Type type) { return type >= Type::S8 && type <= Type::S64; }
bool isFloat(Type type) { return type >= Type::F16; }

Result<std::vector<Token>> tokenize(std::string_view text) { return Lexer(text).run(); }

} // namespace quant::sim
