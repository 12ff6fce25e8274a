//===- Quantize.h - quantize and dequantize as kernels of their own *- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Two memory-bound kernels, one pass each.
//
//   quantize    q[m, k] = e4m3(x[m, k] / s),  s = max(amax_floor, largest |x[m, j]| of k's group of 128) / 448
//   dequantize  x[n, k] = q[n, k] * scale[n / 128, k / 128]
//
// quantize's q and scale are a and scale_a of the FP8 matmul (Gemm.h). Rounding is to nearest even and saturates; a NaN
// becomes a NaN code and does not touch its group's scale. Both are DeepSeek's act_quant and weight_dequant.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SIMT_QUANTIZE_H
#define QUANT_LOWERING_TARGET_SM90_SIMT_QUANTIZE_H

#include "lowering/target/sm90/CompileAlone.h"

namespace quant::nvvm {

/// The unquantized side of a kernel.
enum class FloatKind { bf16, f32 };

/// Operands of the recipe, in its order: x [M, K] (bf16 or f32), q f8E4M3FN [M, K], scale f32 [ceil(K/128), Mpad] with
/// Mpad = M rounded up to 4. M is a kernel argument.
struct QuantizeConfig {
  /// Any K > 0. Rows of q lie as far apart as the matmul wants those of its a: roundUp(K, 16) bytes.
  int64_t k = 0;
  FloatKind input = FloatKind::bf16;
  /// Scales are rounded up to powers of two ("ue8m0"); they are stored as f32 all the same, as the matmul reads them.
  bool powerOfTwo = false;
  double amaxFloor = 1e-4;

  /// sm90_fp8_quantize_bf16_k7168, ..._ue8m0
  std::string symbolName() const;
};

/// Operands of the recipe, in its order: q f8E4M3FN [N, K], scale f32 [ceil(N/128), ceil(K/128)], x [N, K] (bf16 or f32).
struct DequantizeConfig {
  /// Any N, K > 0.
  int64_t n = 0, k = 0;
  FloatKind output = FloatKind::bf16;

  /// sm90_fp8_dequantize_bf16_n7168_k2048
  std::string symbolName() const;
};

/// Why there is no such kernel, if so.
Result<void> checkQuantize(const QuantizeConfig &config);
Result<void> checkDequantize(const DequantizeConfig &config);

/// The kernel, compiled to PTX and assembled, with its recipe. Errors: as check..., those of compileAlone.
Result<CompiledKernel> compileQuantize(const QuantizeConfig &config, const AssemblerOptions &options = {});
Result<CompiledKernel> compileDequantize(const DequantizeConfig &config, const AssemblerOptions &options = {});

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SIMT_QUANTIZE_H
