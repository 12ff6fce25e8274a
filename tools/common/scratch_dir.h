//===- scratch_dir.h - a folder for the time ---------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_COMMON_SCRATCH_DIR_H
#define QUANT_TOOLS_COMMON_SCRATCH_DIR_H

#include <filesystem>
#include <string>
#include <unistd.h>

namespace quant {

/// A folder that is gone with this object.
class ScratchDir {
public:
  /// Makes `parent`/`name`-PID; an empty parent is the system's folder for temporary files.
  explicit ScratchDir(const std::string &name, const std::filesystem::path &parent = {})
      : dir((parent.empty() ? std::filesystem::temp_directory_path() : parent) / (name + "-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(dir);
  }
  ScratchDir(const ScratchDir &) = delete;
  ScratchDir &operator=(const ScratchDir &) = delete;
  ~ScratchDir() {
    std::error_code ignored;
    std::filesystem::remove_all(dir, ignored);
  }

  const std::filesystem::path &path() const { return dir; }

private:
  std::filesystem::path dir;
};

} // namespace quant

#endif // QUANT_TOOLS_COMMON_SCRATCH_DIR_H
