//===- CompiledMatmul.h - one matrix product, compiled and loaded -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The way of a model's matmul, and nothing beside it: qblock.matmul in IR, the stages up to a module file, the runtime's reader,
// loader and pool.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_COMPILEDMATMUL_H
#define QUANT_TOOLS_QUANT_BENCH_COMPILEDMATMUL_H

#include "runtime/device/common/thread_pool.h"
#include "runtime/device/host/code_image.h"
#include "runtime/support/result.h"

#include <string>

namespace quant::bench {

/// How x is multiplied: as it is, rounded to bf16 where the unit has such products, or int8 with a scale for each row.
enum class Inputs { F32, Bf16, Int8 };

/// W of `y = x · Wᵀ`, N x K. Element types carry MLIR's names.
struct WeightSpec {
  int64_t rows = 0, columns = 0;
  std::string storage = "f8E4M3FN";
  std::string scale = "f32"; ///< empty: W is plain floating point, without blocks
  std::string zero;          ///< i8 or ui8: a zero point for each block
  int64_t blockRows = 128, blockColumns = 128;
  int64_t zeroConstant = 0;    ///< the zero point of all blocks, of unsigned storage
  bool hasGlobalScale = false; ///< scales are divided by an f32
  Inputs inputs = Inputs::F32;

  int64_t scaleRows() const { return (rows + blockRows - 1) / blockRows; }
  int64_t scaleColumns() const { return (columns + blockColumns - 1) / blockColumns; }
  int64_t scales() const { return scale.empty() ? 0 : scaleRows() * scaleColumns(); }
  int64_t dataBytes() const;
  int64_t scaleBytes() const;
};

/// Addresses of one call; those of what the spec has not are null.
struct MatmulOperands {
  const float *x; ///< M x K; as many codes in int8 where inputs are those
  const std::byte *data, *scale, *zero;
  float *out;                     ///< M x N
  const float *xScales = nullptr; ///< M, of int8
  const float *global = nullptr;
};

class CompiledMatmul {
public:
  /// `threads` is the size of the largest pool that runs it. `assembly`, if given, receives the kernel as text. Errors: the
  /// compiler's, or the CPU cannot run `isa`.
  static Result<CompiledMatmul> compile(const WeightSpec &spec, const std::string &isa, int threads,
                                        std::string *assembly = nullptr);

  /// `rows` rows of x, by the pool's threads.
  void run(runtime::ThreadPool &pool, const MatmulOperands &operands, int64_t rows) const;

private:
  runtime::CodeImage code;
  runtime::Memory scratch;
  abi::HostKernel kernel = nullptr;
  int64_t blocks = 0, scratchStride = 0;
};

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_COMPILEDMATMUL_H
