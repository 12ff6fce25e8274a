//===- shard_plan.h - which tensor goes into which file ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SHARD_PLAN_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SHARD_PLAN_H

#include "models/tensors.h"

#include <cstdint>
#include <string>
#include <vector>

namespace quant::convert {

/// One file of a checkpoint: tensors [begin, end) of the list.
struct Shard {
  std::string file; ///< "model-00001-of-00163.safetensors"
  size_t begin, end;
  uint64_t bytes; ///< of the tensors, without the header
};

/// Cuts the list, in its order, into files of at most `maxBytes`. A weight and its scale stay together; a file holds at least
/// one weight however large that is.
std::vector<Shard> planShards(const std::vector<models::TensorSpec> &tensors, uint64_t maxBytes);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_SHARD_PLAN_H
