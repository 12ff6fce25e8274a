//===- text.h - sentences out of values -------------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Private to models/. (std::format is not in the C++ library we build with.)
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_TEXT_H
#define QUANT_MODELS_TEXT_H

#include <sstream>
#include <string>

namespace quant::models {

/// The values written one behind the other, numbers with six significant digits.
template <typename... Ts>
std::string text(const Ts &...values) {
  std::ostringstream stream;
  (stream << ... << values);
  return stream.str();
}

} // namespace quant::models

#endif // QUANT_MODELS_TEXT_H
