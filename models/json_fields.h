//===- json_fields.h - typed access to a JSON object's keys -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Private to models/.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_JSON_FIELDS_H
#define QUANT_MODELS_JSON_FIELDS_H

#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace quant::models {

/// Reads keys of one JSON object into variables. A key that is absent or null leaves its variable as it is. The first thing
/// that is wrong is kept, with the key's name, and everything after it is skipped, so that a reader is a plain list of keys.
class JsonFields {
public:
  /// `path` stands before the keys in errors: "" or "quantization_config.".
  JsonFields(const nlohmann::json &object, std::string path = {}) : object(object), path(std::move(path)) {}

  /// The value of `key`; null when it is absent, is null, or something went wrong before.
  const nlohmann::json *find(std::string_view key) const;
  /// As find, and an error when there is none.
  const nlohmann::json *require(std::string_view key);

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

  /// Keeps "path.key: rule", unless there is an error already.
  void refuse(std::string_view key, std::string rule);
  bool failed() const { return error.has_value(); }
  /// Fails with the first error there was.
  Result<void> finish() const { return error ? Result<void>(tl::unexpected(*error)) : Result<void>(); }

private:
  const nlohmann::json &object;
  std::string path;
  std::optional<Error> error;
};

/// `value` as JSON text for an error message: short, and printable whatever is in it.
std::string shortText(const nlohmann::json &value);

} // namespace quant::models

#endif // QUANT_MODELS_JSON_FIELDS_H
