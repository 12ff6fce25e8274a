//===- X86Target.h - the host as a target --------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_X86TARGET_H
#define QUANT_LOWERING_TARGET_X86_X86TARGET_H

#include "lowering/target/Target.h"

namespace quant::host {

const Target &x86Target();

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_X86TARGET_H
