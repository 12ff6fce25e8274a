//===- fuzz_config.cpp - fuzzes the model configuration -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/print.h"
#include "models/config/read.h"
#include "models/config/validate.h"
#include "models/rope.h"
#include "models/tensors.h"
#include "runtime/checkpoint/json_file.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>

using namespace quant::models;

static void require(bool condition, const char *what) {
  if (condition)
    return;
  std::fprintf(stderr, "fuzz_config: %s\n", what);
  std::abort();
}

/// What is computed from an accepted configuration must not overflow. Models of millions of tensors would only take time.
static void useConfig(const ModelConfig &config) {
  constexpr int64_t kLarge = 1 << 12;
  if ((config.nLayers + config.nMtpLayers) * (config.nRoutedExperts + 1) <= kLarge) {
    for (const TensorSpec &tensor : checkpointTensors(config))
      require(tensor.bytes() > 0, "a tensor has no bytes");
    totals(config);
  }
  if (config.qkRopeHeadDim <= kLarge) {
    yarnInverseFrequencies(config);
    softmaxScale(config);
    yarnCosSinFactor(config);
  }
}

/// What is accepted is valid, and prints and reads again to the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto json = quant::checkpoint::parseJsonStrict({reinterpret_cast<const char *>(data), size});
  if (!json)
    return 0;
  auto config = parseConfig(*json);
  if (!config)
    return 0;
  require(validateConfig(*config).has_value(), "an accepted configuration is not valid");
  auto again = parseConfig(toJson(*config));
  require(again && *again == *config, "toJson does not read back");
  auto huggingFace = parseConfig(toHuggingFaceJson(*config));
  require(huggingFace.has_value(), "toHuggingFaceJson is refused");
  auto huggingFaceAgain = parseConfig(toHuggingFaceJson(*huggingFace));
  require(huggingFaceAgain && *huggingFaceAgain == *huggingFace, "toHuggingFaceJson does not read back");
  useConfig(*config);
  return 0;
}
