//===- index.h - the index of a sharded checkpoint --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_INDEX_H
#define QUANT_RUNTIME_CHECKPOINT_INDEX_H

#include "runtime/support/result.h"

#include <map>
#include <string>
#include <string_view>

namespace quant::checkpoint {

/// The names Hugging Face gives to the two layouts.
inline constexpr std::string_view singleFileName = "model.safetensors";
inline constexpr std::string_view indexFileName = "model.safetensors.index.json";

/// Tensor name to the name of the file, in the same folder, that holds it.
using WeightMap = std::map<std::string, std::string>;

/// Parses the text of a model.safetensors.index.json. File names must be plain: a path, absolute or relative, is refused, so that
/// an index reaches nothing outside its folder. `metadata` may be absent and `total_size` may lie: many do, and nothing reads it.
Result<WeightMap> parseIndex(std::string_view text);

/// Whether `name` is one component of a path: not empty, "." or "..", without '/', '\\' or NUL.
bool isPlainFileName(std::string_view name);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_INDEX_H
