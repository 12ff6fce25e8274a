//===- toy_model.h - a model on disk ----------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_RUNTIME_DEVICE_TOY_MODEL_H
#define QUANT_TEST_RUNTIME_DEVICE_TOY_MODEL_H

#include "runtime/checkpoint/header.h"
#include "test_module.h"

#include <filesystem>
#include <functional>
#include <vector>

namespace quant::runtime::test {

/// A folder in the system's temporary folder, removed at the end, with the toy model in it: module and checkpoint.
class ToyModel {
public:
  using Tensors = std::vector<std::pair<checkpoint::TensorInfo, std::vector<float>>>;

  /// `spoilModule` and `spoilWeights` change what is written.
  explicit ToyModel(
      const std::function<void(TestModule &)> &spoilModule = [](TestModule &) {},
      const std::function<void(Tensors &)> &spoilWeights = [](Tensors &) {});
  ToyModel(const ToyModel &) = delete;
  ~ToyModel();

  std::string module() const { return folder / "toy.qmod"; }
  std::string weights() const { return folder / "weights"; }
  const std::filesystem::path &dir() const { return folder; }

private:
  std::filesystem::path folder;
};

} // namespace quant::runtime::test

#endif // QUANT_TEST_RUNTIME_DEVICE_TOY_MODEL_H
