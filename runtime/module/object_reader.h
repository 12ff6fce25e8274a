//===- object_reader.h - strict reading of JSON objects ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_MODULE_OBJECT_READER_H
#define QUANT_RUNTIME_MODULE_OBJECT_READER_H

#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace quant::runtime {

/// Takes the fields of one JSON object. The first thing wrong is kept in `error` (shared by all readers of a document) and later
/// reads return empty values, so that callers ask once, at the end. Every key must be asked for: finish() reports unknown ones.
class ObjectReader {
public:
  /// `where` begins every message: "manifest.json: target 0". `json` and `error` must outlive the reader.
  ObjectReader(const nlohmann::json &json, std::string where, std::optional<Error> &error);

  bool has(const char *key) const { return object->contains(key); }

  /// An integer in [min, max]; `min` where there is none.
  int64_t integer(const char *key, int64_t min, int64_t max);

  /// A string of at most 4096 bytes.
  std::string text(const char *key);

  /// An array of such strings.
  std::vector<std::string> texts(const char *key);

  /// An array; an empty one on error.
  const nlohmann::json &array(const char *key);

  /// Any value; null on error.
  const nlohmann::json &any(const char *key);

  /// Reports keys that nobody asked for.
  void finish();

  /// Reports "where: message" unless something was reported before.
  void report(const std::string &message);

  const std::string &where() const { return location; }

private:
  const nlohmann::json *object;
  std::string location;
  std::optional<Error> &error;
  std::vector<std::string> known;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_MODULE_OBJECT_READER_H
