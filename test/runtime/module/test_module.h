//===- test_module.h - module files made by hand ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_RUNTIME_MODULE_TEST_MODULE_H
#define QUANT_TEST_RUNTIME_MODULE_TEST_MODULE_H

#include <nlohmann/json.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace quant::runtime::test {

/// The parts of a module file, to be spoilt one at a time.
struct TestModule {
  nlohmann::json manifest, program;
  std::vector<std::pair<std::string, std::string>> code; ///< sections by name

  /// The whole file.
  std::string build() const;
};

/// Sections in a container with correct offsets and hashes.
std::string buildContainer(const std::vector<std::pair<std::string, std::string>> &sections);

/// Makes the hashes of a container true again, as far as its header and table can be read at all.
void repairHashes(std::string &file);

/// A model whose next token is the sum of all tokens so far, modulo 16, times the sum of three expert vectors (1 in toyWeights).
/// Kernels, in this order: embed, mix, store, logits; `kernelCode` is their machine code.
TestModule toyModule(const std::vector<std::string> &kernelCode = std::vector<std::string>(4, "\xc3"));

inline constexpr int kToyVocab = 16, kToyWidth = 8, kToyMaxTokens = 4, kToyMaxContext = 256, kToyExperts = 3;

inline std::span<const std::byte> bytesOf(const std::string &text) { return std::as_bytes(std::span(text)); }

} // namespace quant::runtime::test

#endif // QUANT_TEST_RUNTIME_MODULE_TEST_MODULE_H
