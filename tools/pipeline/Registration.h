//===- Registration.h - what every compiler tool knows ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_PIPELINE_REGISTRATION_H
#define QUANT_TOOLS_PIPELINE_REGISTRATION_H

#include "mlir/IR/DialectRegistry.h"

namespace quant {

/// Our dialects, the upstream ones that the pipeline meets, and their external models.
void registerDialects(mlir::DialectRegistry &registry);

/// Our passes, the upstream ones that are handy beside them, and the stage pipelines.
void registerPassesAndPipelines();

} // namespace quant

#endif // QUANT_TOOLS_PIPELINE_REGISTRATION_H
