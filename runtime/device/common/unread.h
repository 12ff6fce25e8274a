//===- unread.h - tensors that a program leaves unread ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_COMMON_UNREAD_H
#define QUANT_RUNTIME_DEVICE_COMMON_UNREAD_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/module/program.h"

namespace quant::runtime {

/// Whether a target's programs compute with all that they must of a checkpoint. Errors: a tensor of a layer, or of a module that
/// they have, that nothing reads, so that the checkpoint is another model; it is named. Fine are other tensors outside the
/// layers, what quant::harmlessTensor() knows, and MTP layers that are left out.
Result<void> checkUnread(const Target &target, const checkpoint::Checkpoint &checkpoint);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_UNREAD_H
