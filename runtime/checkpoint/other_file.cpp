//===- other_file.cpp - what a file is that is not what it should be ------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/other_file.h"

#include <algorithm>
#include <cctype>
#include <string>

namespace quant::checkpoint {

std::string_view describeOtherFile(std::string_view begin) {
  std::string text(begin.substr(0, 64));
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string_view words = text;
  words.remove_prefix(std::min(words.find_first_not_of(" \t\r\n"), words.size()));
  if (words.starts_with("version https://git-lfs"))
    return "is a git-lfs pointer, not the file itself: run 'git lfs pull' in its folder, or download the file";
  if (words.starts_with("<!doctype") || words.starts_with("<html") || words.starts_with("<?xml"))
    return "is an HTML or XML page, not the file itself: a download that was refused or wanted a login; download it again";
  if (words.starts_with("entry not found") || words.starts_with("repository not found") ||
      words.starts_with("invalid username") || words.starts_with("access to") || words.starts_with("{\"error\""))
    return "holds the text of an error of the server, not the file itself; download it again";
  if (begin.starts_with("PK\x03\x04"))
    return "is a zip archive, as PyTorch writes its .bin and .pt files; convert it to safetensors";
  if (begin.starts_with("GGUF"))
    return "is a GGUF file; the safetensors checkpoint that it was made of is needed";
  return "";
}

} // namespace quant::checkpoint
