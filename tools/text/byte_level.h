//===- byte_level.h - bytes as printable characters ----------- -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_TEXT_BYTE_LEVEL_H
#define QUANT_TOOLS_TEXT_BYTE_LEVEL_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quant::text {

/// The character that stands for a byte in the vocabulary of a byte-level BPE, in UTF-8 (GPT-2's bytes_to_unicode: printable
/// Latin-1 stands for itself, the other 68 bytes are U+0100 and on).
std::string byteLevelCharacter(uint8_t byte);

/// The bytes that a token of such a vocabulary stands for; nothing where a character stands for none.
std::optional<std::string> byteLevelBytes(std::string_view token);

} // namespace quant::text

#endif // QUANT_TOOLS_TEXT_BYTE_LEVEL_H
