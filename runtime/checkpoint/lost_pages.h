//===- lost_pages.h - mapped files that are cut short -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_LOST_PAGES_H
#define QUANT_RUNTIME_CHECKPOINT_LOST_PAGES_H

#include <cstddef>
#include <filesystem>
#include <span>

namespace quant::checkpoint {

/// From now on a page of a mapped SafetensorsFile that is not there any more (the file was cut short, or the disk fails) ends the
/// process with exit code 1 and "PROGRAM: error: PATH: ..." on stderr, not with SIGBUS. What to do with signals is a program's to
/// decide: called by main(), before any file is opened. `program` has to live as long as the process.
void exitOnLostPages(const char *program);

/// A mapping that exitOnLostPages() knows. Kept for ever: a signal handler may be looking at it.
struct WatchedMapping;

/// Null where exitOnLostPages() was not called.
WatchedMapping *watchMapping(const std::filesystem::path &path, std::span<const std::byte> bytes);
/// To be called before the unmapping; null is allowed.
void unwatchMapping(WatchedMapping *mapping);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_LOST_PAGES_H
