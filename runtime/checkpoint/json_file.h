//===- json_file.h - strict reading of JSON files ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_JSON_FILE_H
#define QUANT_RUNTIME_CHECKPOINT_JSON_FILE_H

#include "runtime/support/result.h"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace quant::checkpoint {

/// What a JSON text may cost.
struct JsonLimits {
  /// Arrays and objects within each other; `[]` is 1 deep.
  size_t maxDepth = 64;
};

/// Parses one JSON value (RFC 8259) that fills `text`. Refused, besides what is not JSON: a key given twice in an object (also
/// if spelled with escapes), nesting beyond the limit, invalid UTF-8, lone surrogates, NUL, a byte order mark, comments, and
/// integers that fit neither int64_t nor uint64_t. Errors begin with "line 3, column 14: ".
Result<nlohmann::json> parseJsonStrict(std::string_view text, const JsonLimits &limits = {});

/// parseJsonStrict of a whole file of at most `maxBytes` bytes. A FIFO, device or directory is refused without blocking; a
/// symlink is followed. Errors begin with the path.
Result<nlohmann::json> readJsonFile(const std::filesystem::path &path, uint64_t maxBytes, const JsonLimits &limits = {});

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_JSON_FILE_H
