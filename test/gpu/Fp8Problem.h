//===- Fp8Problem.h - random inputs and the f64 reference ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_GPU_FP8PROBLEM_H
#define QUANT_TEST_GPU_FP8PROBLEM_H

#include <cstdint>
#include <string>
#include <vector>

namespace quant::test {

/// One block-scaled FP8 matmul with inputs on the CPU, in the layouts of lowering/target/sm90/Gemm.h. A and B are normally
/// distributed e4m3 (the tensor core's speed depends on the data: never time on zeros), scales vary by a factor of 4 from block
/// to block, so that a wrong one shows. Padding of scale_a is NaN: a kernel must not let it through.
class Fp8Problem {
public:
  Fp8Problem(int64_t m, int64_t n, int64_t k, uint64_t seed);

  const int64_t m, n, k;
  std::vector<uint8_t> a, b;
  std::vector<float> scaleA, scaleB;

  /// Checks D (bf16 bits, row-major) and says what is wrong, or nothing: no element is NaN or infinite, and those of a sample
  /// (all, if the product is small; else borders of the matrix and random ones) agree with the f64 sum.
  std::string check(const std::vector<uint16_t> &d) const;
  /// Largest error found by check, relative to its tolerance.
  mutable double worst = 0;
  /// Elements the last check compared.
  mutable int64_t compared = 0;

private:
  bool agrees(int64_t row, int64_t column, uint16_t got, std::string &why) const;
};

} // namespace quant::test

#endif // QUANT_TEST_GPU_FP8PROBLEM_H
