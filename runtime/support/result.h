//===- result.h - a value or an error with a message --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_RESULT_H
#define QUANT_RUNTIME_SUPPORT_RESULT_H

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace quant {

/// What an error is to a program, where that matters (quant_status of runtime/api/quant.h).
enum class ErrorKind : uint8_t {
  Other,
  OutOfMemory, ///< memory or threads that the system or the device does not give
  NoDevice,    ///< the machine has no such device, or its driver is missing or too old
  Unsupported, ///< a module has no code for some of its kernels
  Device,      ///< the device failed
  CacheFull    ///< the KV cache has no page left
};

/// What went wrong, in words a user can act on: the file, the tensor, the value and the way out. Lowercase, no full stop.
struct Error {
  std::string message;
  ErrorKind kind = ErrorKind::Other;

  /// The same error seen from further out: "outer: inner".
  Error in(const std::string &context) const { return {context + ": " + message, kind}; }
};

/// A T, or why there is none. The runtime throws no exceptions of its own. tl::expected (Debian's libexpected-dev) is
/// std::expected for C++20, which MLIR's headers hold us to; its `unexpected` is tl::unexpected.
template <typename T>
using Result = tl::expected<T, Error>;

/// `return fail("...")` in a function that returns a Result.
inline tl::unexpected<Error> fail(std::string message, ErrorKind kind = ErrorKind::Other) {
  return tl::unexpected<Error>(Error{std::move(message), kind});
}

} // namespace quant

/// `QUANT_TRY(expression);` evaluates an expression of any Result type and returns its error, if it has one, from the enclosing
/// function, which returns any Result. A value is dropped.
#define QUANT_TRY(...)                                                                                                           \
  do {                                                                                                                           \
    if (auto quantTried = (__VA_ARGS__); !quantTried) [[unlikely]]                                                               \
      return ::tl::unexpected(std::move(quantTried).error());                                                                    \
  } while (false)

/// `QUANT_TRY_ASSIGN(auto file, openFile(path));` returns the error of the Result as QUANT_TRY does, or moves its value into what
/// the first argument declares or names (`auto x`, `const auto &x`, `x`, `member`). Two statements: it cannot stand alone under
/// an `if`. Once a line.
#define QUANT_TRY_ASSIGN(declaration, ...) QUANT_TRY_ASSIGN_IN(QUANT_JOINED(quantTried, __LINE__), declaration, __VA_ARGS__)
#define QUANT_TRY_ASSIGN_IN(result, declaration, ...)                                                                            \
  auto result = (__VA_ARGS__);                                                                                                   \
  if (!result) [[unlikely]]                                                                                                      \
    return ::tl::unexpected(std::move(result).error());                                                                          \
  declaration = std::move(*result)
#define QUANT_JOINED(first, second) QUANT_JOINED_NOW(first, second)
#define QUANT_JOINED_NOW(first, second) first##second

#endif // QUANT_RUNTIME_SUPPORT_RESULT_H
