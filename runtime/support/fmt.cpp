//===- fmt.cpp - the compiled part of the formatting library ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Debian has fmt as a shared library, which a machine that only runs models may lack, and header-only, which costs every file two
// seconds of compile time. Here its code is compiled once and linked statically; <fmt/core.h> declares what others call.
//
//===----------------------------------------------------------------------===//

#include <fmt/format-inl.h>

// What <fmt/format.h> declares extern.
template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl<char>(fmt::detail::locale_ref);
template char fmt::detail::decimal_point_impl<char>(fmt::detail::locale_ref);
