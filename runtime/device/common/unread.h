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

/// Whether the program computes with all that it must of a checkpoint. Errors: a tensor of a layer, or of a module that the
/// program has, that nothing reads, so that the checkpoint is another model; it is named. Fine are other tensors outside the
/// layers, what quant::harmlessTensor() knows, and MTP layers that the program leaves out.
Result<void> checkUnread(const Program &program, const checkpoint::Checkpoint &checkpoint);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_COMMON_UNREAD_H
