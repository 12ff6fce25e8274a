//===- byte_level.cpp - bytes as printable characters ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/text/byte_level.h"

#include "tools/text/utf8.h"

#include <array>

namespace quant::text {

/// Code points of the 256 bytes.
static const std::array<uint16_t, 256> kCodePoints = [] {
  std::array<uint16_t, 256> points{};
  uint16_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    points[byte] = printable ? static_cast<uint16_t>(byte) : next++;
  }
  return points;
}();

/// The byte that a code point below 0x144 stands for; -1: none.
static const std::array<int16_t, 0x144> kBytes = [] {
  std::array<int16_t, 0x144> bytes;
  bytes.fill(-1);
  for (unsigned byte = 0; byte < 256; ++byte)
    bytes[kCodePoints[byte]] = static_cast<int16_t>(byte);
  return bytes;
}();

std::string byteLevelCharacter(uint8_t byte) {
  std::string out;
  appendUtf8(out, kCodePoints[byte]);
  return out;
}

std::optional<std::string> byteLevelBytes(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    Utf8Step step = utf8Step(token);
    if (step.codePoint >= kBytes.size() || kBytes[step.codePoint] < 0)
      return std::nullopt;
    bytes += static_cast<char>(kBytes[step.codePoint]);
    token.remove_prefix(step.bytes);
  }
  return bytes;
}

} // namespace quant::text
