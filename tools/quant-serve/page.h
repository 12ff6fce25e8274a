//===- page.h - the page to chat ------------------------------ -*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SERVE_PAGE_H
#define QUANT_TOOLS_QUANT_SERVE_PAGE_H

#include <string_view>

namespace quant::serve {

/// page.html, which loads nothing from elsewhere.
extern const std::string_view kPage;

} // namespace quant::serve

#endif // QUANT_TOOLS_QUANT_SERVE_PAGE_H
