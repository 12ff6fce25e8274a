//===- run_convert.h - runs quant-convert, and makes checkpoints -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_TOOLS_QUANT_CONVERT_RUN_CONVERT_H
#define QUANT_TEST_TOOLS_QUANT_CONVERT_RUN_CONVERT_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/checkpoint/writer.h"
#include "test_dir.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstring>
#include <sys/wait.h>

namespace quant::test {

struct Outcome {
  int code;
  std::string out, err;
};

/// `quant-convert ARGUMENTS` in a shell, after `prefix`.
inline Outcome runConvert(const TestDir &dir, const std::string &arguments, const std::string &prefix = "") {
  auto err = dir.path.string() + ".stderr";
  std::FILE *pipe = ::popen((prefix + std::string(QUANT_CONVERT) + " " + arguments + " 2>'" + err + "'").c_str(), "r");
  std::string out;
  for (char buffer[4096]; size_t bytes = std::fread(buffer, 1, sizeof(buffer), pipe);)
    out.append(buffer, bytes);
  int status = ::pclose(pipe);
  Outcome outcome{WIFEXITED(status) ? WEXITSTATUS(status) : -1, out, readAll(err)};
  std::filesystem::remove(err);
  return outcome;
}

/// It has to work.
inline Outcome convertOk(const TestDir &dir, const std::string &arguments) {
  Outcome outcome = runConvert(dir, arguments);
  EXPECT_EQ(outcome.code, 0) << arguments << "\n" << outcome.err;
  return outcome;
}

/// A tensor and its bytes.
struct TensorData {
  checkpoint::TensorSpec spec;
  std::string bytes;
};

template <typename T>
std::string bytesOf(const std::vector<T> &values) {
  return {reinterpret_cast<const char *>(values.data()), values.size() * sizeof(T)};
}

/// One file of a checkpoint.
inline void writeTensors(const std::filesystem::path &path, const std::vector<TensorData> &tensors) {
  std::vector<checkpoint::TensorSpec> specs;
  for (const TensorData &tensor : tensors)
    specs.push_back(tensor.spec);
  auto writer = checkpoint::SafetensorsWriter::create(path, specs);
  ASSERT_TRUE(writer) << writer.error().message;
  for (const TensorData &tensor : tensors)
    ASSERT_TRUE(writer->append(tensor.spec.name, std::as_bytes(std::span(tensor.bytes))));
  ASSERT_TRUE(writer->finish());
}

/// One file of a checkpoint, all zeros: a hole, that takes no room on the disk whatever its size.
inline void writeHoles(const std::filesystem::path &path, const std::vector<checkpoint::TensorSpec> &tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  uint64_t end = 0;
  for (const checkpoint::TensorSpec &tensor : tensors) {
    uint64_t begin = end;
    end += *checkpoint::byteSize(tensor.dtype, tensor.shape);
    header[tensor.name] = {
        {"dtype", safetensorsName(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump();
  uint64_t length = text.size();
  std::ofstream(path, std::ios::binary) << std::string(reinterpret_cast<const char *>(&length), 8) << text;
  std::filesystem::resize_file(path, 8 + length + end);
}

/// A checkpoint of one file, without config.json.
inline void writeCheckpoint(const std::filesystem::path &dir, const std::vector<TensorData> &tensors) {
  std::filesystem::create_directories(dir);
  writeTensors(dir / "model.safetensors", tensors);
}

inline void writeText(const std::filesystem::path &path, const std::string &text) { std::ofstream(path) << text; }

/// The same tensors with the same bytes, in whatever files.
inline void expectSameTensors(const std::filesystem::path &a, const std::filesystem::path &b) {
  auto left = checkpoint::Checkpoint::open(a), right = checkpoint::Checkpoint::open(b);
  ASSERT_TRUE(left) << left.error().message;
  ASSERT_TRUE(right) << right.error().message;
  ASSERT_EQ(left->tensors().size(), right->tensors().size());
  for (const auto &tensor : left->tensors()) {
    const auto *twin = right->find(tensor.info->name);
    ASSERT_NE(twin, nullptr) << tensor.info->name;
    EXPECT_EQ(tensor.info->dtype, twin->info->dtype) << tensor.info->name;
    EXPECT_EQ(tensor.info->shape, twin->info->shape) << tensor.info->name;
    EXPECT_TRUE(std::ranges::equal(tensor.data, twin->data)) << tensor.info->name;
  }
}

/// The elements of a tensor.
template <typename T>
std::vector<T> values(const checkpoint::Checkpoint::Tensor &tensor) {
  std::vector<T> result(tensor.data.size() / sizeof(T));
  std::memcpy(result.data(), tensor.data.data(), tensor.data.size());
  return result;
}

} // namespace quant::test

#endif // QUANT_TEST_TOOLS_QUANT_CONVERT_RUN_CONVERT_H
