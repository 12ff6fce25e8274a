//===- MlaDecodeSchedule.cpp - attention that tensor cores compute --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/MlaDecodeSchedule.h"

using namespace mlir;
using namespace quant;
using machine::MlaDecodeConfig;

Result<MlaDecodeConfig> hopper::getMlaDecodeConfig(int64_t heads, int64_t rope, MemRefType cache, ShapedType pages,
                                                   double softmaxScale) {
  if (!cache.getElementType().isBF16())
    return fail("the KV cache is not bf16 (--kv-cache=bf16)");
  int64_t latent = cache.getDimSize(1) - rope;
  if (latent != MlaDecodeConfig::kLatent || rope != MlaDecodeConfig::kRope)
    return fail("latents of " + std::to_string(latent) + " and a rope part of " + std::to_string(rope) + ": the kernel is for " +
                std::to_string(MlaDecodeConfig::kLatent) + " and " + std::to_string(MlaDecodeConfig::kRope));
  MlaDecodeConfig config{.heads = heads, .pages = pages.getDimSize(1), .softmaxScale = softmaxScale};
  QUANT_TRY(machine::checkMlaDecode(config));
  return config;
}
