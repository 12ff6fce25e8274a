//===- result.h - a value or an error with a message --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_ABI_RESULT_H
#define QUANT_RUNTIME_ABI_RESULT_H

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace quant {

/// What went wrong, in words a user can act on: the file, the tensor, the value and the way out. Lowercase, no full stop.
struct Error {
  std::string message;

  /// The same error seen from further out: "outer: inner".
  Error in(const std::string &context) const { return {context + ": " + message}; }
};

/// A T, or why there is none. The runtime throws no exceptions of its own. tl::expected (Debian's libexpected-dev) is
/// std::expected for C++20, which MLIR's headers hold us to; its `unexpected` is tl::unexpected.
template <typename T>
using Result = tl::expected<T, Error>;

/// `return fail("...")` in a function that returns a Result.
inline tl::unexpected<Error> fail(std::string message) { return tl::unexpected<Error>(Error{std::move(message)}); }

} // namespace quant

#endif // QUANT_RUNTIME_ABI_RESULT_H
