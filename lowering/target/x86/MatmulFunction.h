//===- MatmulFunction.h - products that kernels share ------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_MATMULFUNCTION_H
#define QUANT_LOWERING_TARGET_X86_MATMULFUNCTION_H

#include "lowering/target/x86/Kernels.h"
#include "lowering/target/x86/RangeMatmul.h"

namespace quant::host {

/// Calls the product of a range of weight rows with all rows of x. It is a function of the module, one for all kernels whose
/// weights have the same form and that cut them alike: its body is long, and the kernels of a model differ in numbers of rows and
/// columns only. It is made at its first call. `range.scratch` is the function's own affair, as are null addresses of what the
/// form does not have.
///
/// The function picks one of three forms of code by the rows of x: one (DotMatmul, bound by memory), 2, 4, ... up to
/// dotTokens (DotMatmul with several results for each weight row), more (dotPieces times that, then PanelMatmul or PackedMatmul).
/// In calls that several sequences may share, more rows than dotTokens are computed as several times dotTokens: a row's sums are
/// those that it would have alone.
void callMatmul(KernelContext &context, const Weight &weight, const MatmulSchedule &sizes, RowRange range);

/// Whether several sequences may share the call: it has few tokens of each (abi::kShortStep).
Value isSharedCall(KernelContext &context);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_MATMULFUNCTION_H
