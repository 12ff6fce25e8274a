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
  return fmt::format("sm90_mla_decode_h{}_p{}_s{:08x}{}", heads, pages, std::bit_cast<uint32_t>(static_cast<float>(softmaxScale)),
                     lse ? "_lse" : "");
}

Result<void> checkMlaDecode(const MlaDecodeConfig &config) {
  // Positions are i32.
  constexpr int64_t kMaxHeads = 1024, kMaxPages = (int64_t(1) << 31) / MlaDecodeConfig::kBlock - 1;
  if (config.heads < 1 || config.heads > kMaxHeads)
    return fail(fmt::format("{} heads: there are kernels for 1 to {}", config.heads, kMaxHeads));
  if (config.pages < 1 || config.pages > kMaxPages)
    return fail(fmt::format("{} pages for a sequence: there are kernels for 1 to {}", config.pages, kMaxPages));
  if (!(config.softmaxScale > 0) || !std::isfinite(static_cast<float>(config.softmaxScale)))
    return fail(fmt::format("a softmax scale of {}: it must be a positive number", config.softmaxScale));
  return {};
}

} // namespace quant::machine
