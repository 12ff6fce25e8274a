//===- Sm90Target.h - H100 and H200 as a target --------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_SM90_SM90TARGET_H
#define QUANT_LOWERING_TARGET_SM90_SM90TARGET_H

#include "lowering/target/Target.h"

namespace quant::nvvm {

const Target &sm90Target();

} // namespace quant::nvvm

#endif // QUANT_LOWERING_TARGET_SM90_SM90TARGET_H
