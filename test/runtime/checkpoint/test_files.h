//===- test_files.h - files for the checkpoint tests ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_RUNTIME_CHECKPOINT_TEST_FILES_H
#define QUANT_TEST_RUNTIME_CHECKPOINT_TEST_FILES_H

#include "runtime/support/result.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <string_view>

namespace quant::checkpoint::test {

namespace fs = std::filesystem;

/// A folder of the test's own, removed with it.
class TempDir {
public:
  TempDir() {
    std::string pattern = (fs::temp_directory_path() / "quant-checkpoint-XXXXXX").native();
    folder = ::mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  const fs::path &path() const { return folder; }
  fs::path operator/(std::string_view name) const { return folder / name; }

private:
  fs::path folder;
};

inline std::span<const std::byte> bytesOf(std::string_view text) { return std::as_bytes(std::span(text)); }

inline std::string textOf(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char *>(bytes.data()), bytes.size());
}

/// The bytes of a safetensors file: the length of `header`, `header`, `data`.
inline std::string safetensors(std::string_view header, std::string_view data = "") {
  std::string file;
  for (int i = 0; i < 8; ++i)
    file += static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  return file.append(header).append(data);
}

/// One U8 tensor of that name, with 4 bytes of data.
inline std::string oneTensor(const std::string &name, std::string_view data = "data") {
  return safetensors("{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", data);
}

inline void put(const fs::path &path, std::string_view content) {
  std::ofstream(path, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
}

inline std::string get(const fs::path &path) {
  std::ostringstream content;
  content << std::ifstream(path, std::ios::binary).rdbuf();
  return content.str();
}

/// The error's text, or that there was none.
template <typename T>
std::string errorOf(const Result<T> &result) {
  return result ? "(no error)" : result.error().message;
}

} // namespace quant::checkpoint::test

/// That `result` is an error and that its text holds `text`.
#define EXPECT_ERROR(result, text)                                                                                               \
  EXPECT_PRED2([](const std::string &message, const std::string &part) { return message.find(part) != message.npos; },           \
               ::quant::checkpoint::test::errorOf(result), text)

#endif // QUANT_TEST_RUNTIME_CHECKPOINT_TEST_FILES_H
