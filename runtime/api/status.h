//===- status.h - errors as statuses of the C API ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the functions of quant.h, and of C APIs on top of it, do where they fail.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_API_STATUS_H
#define QUANT_RUNTIME_API_STATUS_H

#include "runtime/api/quant.h"
#include "runtime/support/result.h"

#include <exception>
#include <new>
#include <string>

namespace quant::runtime {

/// Keeps `message` for quant_last_error; gives `status`.
quant_status failed(quant_status status, const std::string &message);

/// The same of an error: the status that its kind says, or else `otherwise`.
quant_status failed(const Error &error, quant_status otherwise);

/// failed() with a message so short that keeping it needs no memory.
quant_status caught(quant_status status, const char *message) noexcept;

/// Runs an entry point's body and keeps exceptions of the standard library (memory) inside.
template <typename Body>
quant_status guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return caught(QUANT_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception &) {
    return caught(QUANT_INTERNAL_ERROR, "internal error");
  }
}

} // namespace quant::runtime

#endif // QUANT_RUNTIME_API_STATUS_H
