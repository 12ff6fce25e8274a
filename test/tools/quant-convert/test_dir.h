//===- test_dir.h - a scratch folder of one test ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_CONVERT_TEST_DIR_H
#define QUANT_TEST_TOOLS_QUANT_CONVERT_TEST_DIR_H

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>

namespace quant::test {

/// Empty at first, removed at the end.
class TestDir {
public:
  TestDir() {
    const auto *test = testing::UnitTest::GetInstance()->current_test_info();
    path = std::filesystem::path(testing::TempDir()) /
           (std::string(test->test_suite_name()) + "-" + test->name() + "-" + std::to_string(::getpid()));
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  TestDir(const TestDir &) = delete;
  TestDir &operator=(const TestDir &) = delete;
  ~TestDir() { std::filesystem::remove_all(path); }

  std::filesystem::path operator/(const std::string &name) const { return path / name; }

  std::filesystem::path path;
};

inline std::string readAll(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::filesystem::path config(const std::string &name) { return std::filesystem::path(QUANT_MODEL_CONFIGS) / name; }

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_CONVERT_TEST_DIR_H
