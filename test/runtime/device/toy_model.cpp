//===- toy_model.cpp - a model on disk ------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "toy_model.h"

#include "runtime/checkpoint/writer.h"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>

namespace quant::runtime::test {

static void require(bool condition, const std::string &what) {
  if (condition)
    return;
  std::cerr << "toy model: " << what << '\n';
  std::abort();
}

/// What CMakeLists.txt compiled kernels.cpp to.
static std::vector<std::string> kernelCode() {
  std::vector<std::string> code;
  for (const char *kernel : {"embed", "mix", "store", "logits"}) {
    std::string path = std::string(QUANT_TEST_KERNELS "/") + kernel + ".bin";
    std::ifstream file(path, std::ios::binary);
    code.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    require(!code.back().empty(), "cannot read " + path);
  }
  return code;
}

/// Row i of the table is i; the experts add up to 1.
static ToyModel::Tensors toyTensors() {
  ToyModel::Tensors tensors;
  auto add = [&](const std::string &name, std::vector<int64_t> shape, std::vector<float> data) {
    checkpoint::TensorInfo info;
    info.name = name;
    info.shape = std::move(shape);
    tensors.emplace_back(info, std::move(data));
  };
  std::vector<float> table;
  for (int id = 0; id < kToyVocab; ++id)
    table.insert(table.end(), kToyWidth, static_cast<float>(id));
  add("embed.weight", {kToyVocab, kToyWidth}, table);
  for (int expert = 0; expert < kToyExperts; ++expert)
    add("experts." + std::to_string(expert) + ".weight_scale_inv", {kToyWidth},
        std::vector<float>(kToyWidth, expert == 0 ? 0.5f : 0.25f));
  return tensors;
}

static void writeWeights(const std::filesystem::path &path, const ToyModel::Tensors &tensors) {
  std::vector<checkpoint::TensorSpec> specs;
  for (const auto &[info, data] : tensors)
    specs.push_back({info.name, info.dtype, info.shape});
  auto writer = checkpoint::SafetensorsWriter::create(path, specs);
  require(writer.has_value(), writer ? "" : writer.error().message);
  for (const auto &[info, data] : tensors)
    require(writer->append(info.name, std::as_bytes(std::span(data)).first(*checkpoint::byteSize(info.dtype, info.shape)))
                .has_value(),
            "cannot write " + info.name);
  require(writer->finish().has_value(), "cannot finish " + path.string());
}

ToyModel::ToyModel(const std::function<void(TestModule &)> &spoilModule, const std::function<void(Tensors &)> &spoilWeights) {
  std::string pattern = std::filesystem::temp_directory_path() / "quant_toy_XXXXXX";
  require(mkdtemp(pattern.data()) != nullptr, "cannot make " + pattern);
  folder = pattern;
  TestModule parts = toyModule(kernelCode());
  spoilModule(parts);
  std::ofstream(module(), std::ios::binary) << parts.build();
  Tensors tensors = toyTensors();
  spoilWeights(tensors);
  std::filesystem::create_directory(weights());
  writeWeights(weights() + "/model.safetensors", tensors);
}

ToyModel::~ToyModel() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

} // namespace quant::runtime::test
