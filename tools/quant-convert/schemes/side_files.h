//===- side_files.h - what goes along with the weights ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SIDE_FILES_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SIDE_FILES_H

#include "tools/quant-convert/schemes/jobs.h"

#include <nlohmann/json.hpp>

#include <optional>

namespace quant::convert {

/// Which files of a checkpoint's folder go along.
enum class Companions {
  All,       ///< code (*.py), generation_config.json, tokenizer, vocabulary, chat template, licence; not config.json
  Tokenizer, ///< *token*, as DeepSeek's convert.py
};

/// Adds copies of the files of `dir` that go along and that `files` does not hold yet, in the order of their names. Symlinks are
/// followed, as in the Hugging Face cache; a FIFO or device is refused.
Result<void> addCompanions(const std::filesystem::path &dir, Companions which, std::vector<SideFile> &files);

/// The checkpoint's config.json, nothing if it has none.
Result<std::optional<nlohmann::json>> findConfig(const checkpoint::Checkpoint &checkpoint);

/// config.json with that content.
SideFile configFile(const nlohmann::json &config);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SIDE_FILES_H
