//===- mapped_pages.h - which pages of a mapped file are read ---*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A page fault in a mapped file reads what lies around the page as well: 128 KB to many MB, as read_ahead_kb of the disk says.
// That is right for a walk through all weights and wrong for scales, norms and gate biases, some KB every few MB: of a shard of
// 17 GB they would read most. Who reads such a part says so first.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_MAPPED_PAGES_H
#define QUANT_RUNTIME_CHECKPOINT_MAPPED_PAGES_H

#include <cstddef>
#include <span>

namespace quant::checkpoint {

/// The pages of these bytes of a mapped file are about to be read: the system starts to read them and no others. Does not wait.
void willRead(std::span<const std::byte> bytes);

/// The pages of these bytes of a mapped file were read and are not needed for now: they no longer count as this process's memory,
/// and come back when touched. This keeps a walk through a checkpoint in constant memory.
void doneReading(std::span<const std::byte> bytes);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_MAPPED_PAGES_H
