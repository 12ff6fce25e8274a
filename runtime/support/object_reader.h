//===- object_reader.h - strict reading of JSON objects ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_OBJECT_READER_H
#define QUANT_RUNTIME_SUPPORT_OBJECT_READER_H

#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace quant {

/// Takes the fields of one JSON object. The first thing wrong is kept; later reads give empty values or leave their variables as
/// they are, so that a reader is a plain list of keys and callers ask once, at the end.
class ObjectReader {
public:
  /// `where` begins every message: "manifest.json: target 0", or "quantization_config.", a path that keys continue. `json` must
  /// outlive the reader.
  ObjectReader(const nlohmann::json &json, std::string where = {});
  /// Keeps the error in `shared`, which readers of one document have in common and which must outlive them.
  ObjectReader(const nlohmann::json &json, std::string where, std::optional<Error> &shared);
  ObjectReader(const ObjectReader &) = delete;

  const std::string &where() const { return location; }
  bool has(std::string_view key) const { return object->contains(key); }

  //===--- Keys that must be there ---===//

  /// An integer in [min, max]; `min` where there is none.
  int64_t integer(std::string_view key, int64_t min, int64_t max);
  /// A string of at most 4096 bytes.
  std::string text(std::string_view key);
  /// An array of such strings.
  std::vector<std::string> texts(std::string_view key);
  /// An array of integers.
  std::vector<int64_t> integers(std::string_view key);
  /// An array; an empty one on error.
  const nlohmann::json &array(std::string_view key);
  /// Any value; null on error.
  const nlohmann::json &any(std::string_view key);

  //===--- Keys that may be there: one that is absent or null leaves its variable as it is ---===//

  /// The value of `key`; null when it is absent, is null, or something went wrong before.
  const nlohmann::json *find(std::string_view key);
  /// As find, and an error when there is none.
  const nlohmann::json *require(std::string_view key);
  /// An integer, which may be written as a float of that value (64.0).
  void read(std::string_view key, int64_t &out);
  void read(std::string_view key, double &out);
  void read(std::string_view key, bool &out);
  void read(std::string_view key, std::string &out);
  void read(std::string_view key, std::vector<std::string> &out);
  template <typename T>
  void read(std::string_view key, std::optional<T> &out) {
    if (T value{}; find(key)) {
      read(key, value);
      out = value;
    }
  }
  /// A string that `parse` turns into a T.
  template <typename T>
  void readEnum(std::string_view key, T &out, Result<T> (*parse)(std::string_view)) {
    std::string text;
    read(key, text);
    if (failed() || !find(key))
      return;
    if (auto value = parse(text))
      out = *value;
    else
      refuse(key, value.error().message);
  }
  /// The key, when it is there, must be `value`; `why` ends the sentence.
  void expect(std::string_view key, const nlohmann::json &value, std::string_view why);

  //===--- Errors ---===//

  /// Keeps "where: message".
  void report(const std::string &message);
  /// Keeps "where: key: rule".
  void refuse(std::string_view key, std::string_view rule);
  /// Reports keys that nobody asked for.
  void finish();
  bool failed() const { return error.has_value(); }
  /// Fails with the first error there was.
  Result<void> result() const { return error ? Result<void>(tl::unexpected(*error)) : Result<void>(); }

private:
  const nlohmann::json *object;
  std::string location;
  std::optional<Error> own;
  std::optional<Error> &error;
  std::vector<std::string> known;
};

/// An integer of 64 bits, which may be written as a float of that value (64.0); nothing where `value` is none.
std::optional<int64_t> wholeNumber(const nlohmann::json &value);

/// `value` as JSON text for an error message: short, and printable whatever is in it.
std::string shortText(const nlohmann::json &value);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_OBJECT_READER_H
