//===- MlaDecodePlan.cpp - attention over a latent cache on tensor cores ---===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/machine/MlaDecodePlan.h"

#include <fmt/core.h>

#include <bit>
#include <cmath>

namespace quant::machine {

std::string MlaDecodeConfig::symbolName() const {
  auto scale = std::bit_cast<uint32_t>(static_cast<float>(softmaxScale));
  std::string name = fmt::format("sm90_mla_decode_h{}_p{}_s{:08x}", heads, pages, scale);
  return name + (splits > 1 ? fmt::format("_sk{}", splits) : lse ? "_lse" : "");
}

std::string MlaCombineConfig::symbolName() const {
  return fmt::format("sm90_mla_combine_h{}_sk{}{}", heads, splits, lse ? "_lse" : "");
}

static Result<void> checkHeads(int64_t heads) {
  constexpr int64_t kMaxHeads = 1024;
  if (heads < 1 || heads > kMaxHeads)
    return fail(fmt::format("{} heads: there are kernels for 1 to {}", heads, kMaxHeads));
  return {};
}

Result<void> checkMlaDecode(const MlaDecodeConfig &config) {
  // Positions are i32.
  constexpr int64_t kMaxPages = (int64_t(1) << 31) / MlaDecodeConfig::kBlock - 1;
  QUANT_TRY(checkHeads(config.heads));
  if (config.pages < 1 || config.pages > kMaxPages)
    return fail(fmt::format("{} pages for a sequence: there are kernels for 1 to {}", config.pages, kMaxPages));
  if (!(config.softmaxScale > 0) || !std::isfinite(static_cast<float>(config.softmaxScale)))
    return fail(fmt::format("a softmax scale of {}: it must be a positive number", config.softmaxScale));
  if (config.splits < 1 || config.splits > kMaxKeySplits)
    return fail(fmt::format("{} parts of the keys: there are kernels for 1 to {}", config.splits, kMaxKeySplits));
  return {};
}

Result<void> checkMlaCombine(const MlaCombineConfig &config) {
  QUANT_TRY(checkHeads(config.heads));
  if (config.splits < 2 || config.splits > kMaxKeySplits)
    return fail(fmt::format("{} parts of the keys: there are kernels that merge 2 to {}", config.splits, kMaxKeySplits));
  return {};
}

} // namespace quant::machine
