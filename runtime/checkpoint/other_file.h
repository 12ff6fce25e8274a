//===- other_file.h - what a file is that is not what it should be -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_OTHER_FILE_H
#define QUANT_RUNTIME_CHECKPOINT_OTHER_FILE_H

#include <string_view>

namespace quant::checkpoint {

/// What a file that begins with `begin` (64 bytes are enough) is, and the way out, where a failed download or clone often leaves
/// such a one: a git-lfs pointer, an HTML page, the text of an error, another format. "" when it looks like none of them.
std::string_view describeOtherFile(std::string_view begin);

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_OTHER_FILE_H
