//===- shard_plan.cpp - which tensor goes into which file -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/shard_plan.h"

#include <fmt/core.h>

using namespace quant;
using namespace quant::convert;
using models::TensorRole;
using models::TensorSpec;

std::vector<Shard> convert::planShards(const std::vector<TensorSpec> &tensors, uint64_t maxBytes) {
  std::vector<Shard> shards;
  for (size_t i = 0; i < tensors.size();) {
    size_t end = i + 1;
    uint64_t bytes = tensors[i].bytes();
    while (end < tensors.size() && (tensors[end].role == TensorRole::Scale || tensors[end].role == TensorRole::ZeroPoint))
      bytes += tensors[end++].bytes();
    if (shards.empty() || shards.back().bytes + bytes > maxBytes)
      shards.push_back({"", i, i, 0});
    shards.back().end = end;
    shards.back().bytes += bytes;
    i = end;
  }
  for (size_t i = 0; i < shards.size(); ++i)
    shards[i].file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  return shards;
}
