//===- kernel_abi.h - what a compiled host kernel looks like ------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The only contract, with module_format.h, that the compiler and the runtime share. docs/module-format.md explains both.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_ABI_KERNEL_ABI_H
#define QUANT_RUNTIME_ABI_KERNEL_ABI_H

#include <array>
#include <cstdint>
#include <string_view>

namespace quant::abi {

/// Runs blocks [begin, end) of a dispatch's 1-D grid. `operands` are addresses in dispatch order, `dims` the run-time sizes in
/// the order of `Dim`, `scratch` the calling worker's own memory (64-byte aligned, as long as the kernel's `scratch_bytes`).
using HostKernel = void (*)(void *const *operands, const int64_t *dims, void *scratch, int64_t begin, int64_t end);

/// The run-time sizes. Every call has those before M, and host kernels get them in this order: its tokens, the sequences that
/// they are of, the tokens that get logits, the rows of the KV caches. Launch recipes have two more: M, which is the one of the
/// others that the recipe calls `rows`, and Sms, the multiprocessors to use.
enum class Dim : uint8_t { Tokens = 0, Sequences = 1, Outputs = 2, Context = 3, M = 4, Sms = 5 };

/// Sizes of a call, and all of them.
inline constexpr int kNumDims = 4, kNumSizes = 6;
inline constexpr std::array<std::string_view, kNumDims> kDimNames = {"tokens", "sequences", "outputs", "context"};

/// A call holds at most so many tokens of each of its sequences, or it is of one sequence. A host kernel that sums in another
/// order where there are many tokens does so only in calls of the second kind, so that a token's result does not depend on what
/// other sequences are in the call.
inline constexpr int64_t kShortStep = 4;

/// Alignment of workspace values, caches, inputs, outputs and scratch, in bytes.
inline constexpr int64_t kBufferAlignment = 64;

/// KV caches are handed out to sequences in pages of so many rows.
inline constexpr int64_t kPageRows = 64;

/// Of k_major scales, [rows, groups]: the scales of a group lie side by side, with room for this multiple of rows.
inline constexpr int64_t kKMajorRowMultiple = 4;

} // namespace quant::abi

#endif // QUANT_RUNTIME_ABI_KERNEL_ABI_H
