//===- DeepSeek.h - the ops of DeepSeek-V2/V3 ---------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_DEEPSEEK_DEEPSEEK_H
#define QUANT_DIALECTS_DEEPSEEK_DEEPSEEK_H

#include "dialects/qblock/QBlock.h"
#include "dialects/rows/RowOps.h"

#include "dialects/deepseek/DeepSeekDialect.h.inc"
#include "dialects/deepseek/DeepSeekEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/deepseek/DeepSeekAttrs.h.inc"

#define GET_OP_CLASSES
#include "dialects/deepseek/DeepSeekOps.h.inc"

#endif // QUANT_DIALECTS_DEEPSEEK_DEEPSEEK_H
