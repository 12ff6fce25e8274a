//===- test_seed.h - the seed of a test's random inputs ---------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_LOWERING_TEST_SEED_H
#define QUANT_TEST_LOWERING_TEST_SEED_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace quant {

/// Fresh in every process and printed; the environment's QUANT_TEST_SEED repeats one.
inline uint64_t testSeed() {
  static const uint64_t value = [] {
    const char *given = std::getenv("QUANT_TEST_SEED");
    uint64_t chosen = given ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::printf("QUANT_TEST_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return value;
}

} // namespace quant

#endif // QUANT_TEST_LOWERING_TEST_SEED_H
