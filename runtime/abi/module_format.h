//===- module_format.h - the container of a compiled module -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_ABI_MODULE_FORMAT_H
#define QUANT_RUNTIME_ABI_MODULE_FORMAT_H

#include <cstddef>
#include <cstdint>

namespace quant::abi {

inline constexpr char kMagic[4] = {'Q', 'M', 'O', 'D'};
inline constexpr uint32_t kContainerVersion = 1;
inline constexpr uint32_t kMaxSections = 1024;
inline constexpr uint64_t kSectionAlignment = 4096;
/// Version of the manifest's and the programs' JSON.
inline constexpr int kFormatVersion = 3;

/// First 64 bytes of the file; little-endian.
struct ModuleHeader {
  char magic[4];
  uint32_t version;
  uint64_t fileBytes;
  uint32_t sectionCount;
  uint32_t zero;
  uint64_t tableFnv1a;
  uint8_t reserved[32];
};
static_assert(sizeof(ModuleHeader) == 64);

/// One entry of the section table that follows the header.
struct SectionEntry {
  char name[48];
  uint64_t offset;
  uint64_t bytes;
  uint64_t fnv1a;
};
static_assert(sizeof(SectionEntry) == 72);

/// 64-bit FNV-1a, against accidental damage (not against an attacker: a module is code, trust it as you trust a shared library).
inline uint64_t fnv1a(const void *data, size_t bytes) {
  const auto *p = static_cast<const uint8_t *>(data);
  uint64_t hash = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < bytes; ++i)
    hash = (hash ^ p[i]) * 0x100000001b3ull;
  return hash;
}

} // namespace quant::abi

#endif // QUANT_RUNTIME_ABI_MODULE_FORMAT_H
