//===- ExplainKernels.h - the cost model's choices as tables ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_COMPILE_EXPLAINKERNELS_H
#define QUANT_TOOLS_QUANT_COMPILE_EXPLAINKERNELS_H

#include "tools/quant-compile/KernelPlan.h"

#include <nlohmann/json.hpp>

namespace quant {

/// Two tables of one fp8_gemm: the best kernel at each of a few M with the parts of its time and why, and the kernels that are
/// compiled, by range of M. Errors: as planKernels.
Result<std::string> explainGemm(const KernelOptions &options);
/// The same as data.
Result<nlohmann::ordered_json> explainGemmJson(const KernelOptions &options);

/// A table of mla_decode: for a few numbers of tokens and keys the best number of parts, the time and its parts. Errors: as
/// planKernels.
Result<std::string> explainMlaDecode(const KernelOptions &options);
Result<nlohmann::ordered_json> explainMlaDecodeJson(const KernelOptions &options);

/// The kernels there are, with their flags.
std::string listKernels();
nlohmann::ordered_json listKernelsJson();

/// docs/reference/gpu-kernel-choices.md: explainGemm of the seven dense shapes of DeepSeek-V3.
Result<std::string> explainDenseShapes(const KernelOptions &options);

} // namespace quant

#endif // QUANT_TOOLS_QUANT_COMPILE_EXPLAINKERNELS_H
