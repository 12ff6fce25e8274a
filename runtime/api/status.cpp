//===- status.cpp - errors as statuses of the C API -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/status.h"

namespace quant::runtime {

static thread_local std::string lastError;

quant_status failed(quant_status status, const std::string &message) {
  lastError = message;
  return status;
}

quant_status failed(const Error &error, quant_status otherwise) {
  switch (error.kind) {
  case ErrorKind::OutOfMemory:
    return failed(QUANT_OUT_OF_MEMORY, error.message);
  case ErrorKind::NoDevice:
    return failed(QUANT_NO_DEVICE, error.message);
  case ErrorKind::Unsupported:
    return failed(QUANT_UNSUPPORTED, error.message);
  case ErrorKind::Device:
    return failed(QUANT_DEVICE_ERROR, error.message);
  case ErrorKind::CacheFull:
    return failed(QUANT_CONTEXT_FULL, error.message);
  case ErrorKind::Other:
    break;
  }
  return failed(otherwise, error.message);
}

quant_status caught(quant_status status, const char *message) noexcept {
  lastError.assign(message);
  return status;
}

} // namespace quant::runtime

const char *quant_last_error(void) { return quant::runtime::lastError.c_str(); }
