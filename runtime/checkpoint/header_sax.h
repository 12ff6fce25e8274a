//===- header_sax.h - reads the JSON of a safetensors header ----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_CHECKPOINT_HEADER_SAX_H
#define QUANT_RUNTIME_CHECKPOINT_HEADER_SAX_H

#include "runtime/checkpoint/header.h"
#include "runtime/checkpoint/json_sax.h"

#include <fmt/core.h>

namespace quant::checkpoint {

/// Fills a Header's metadata and tensors straight from the parser's events: no DOM, whatever the number of tensors. Checks all
/// that can be said of one tensor alone.
class HeaderHandler : public SaxHandler {
public:
  explicit HeaderHandler(Header &header) : header(header) {}

  bool null() { return unexpected("null"); }
  bool boolean(bool value) { return unexpected(value ? "true" : "false"); }
  bool number_integer(int64_t value);
  bool number_unsigned(uint64_t value);
  bool number_float(double, const std::string &digits) { return unexpected(describeFloat(digits)); }
  bool string(std::string &value);
  bool key(std::string &name);
  bool start_object(size_t);
  bool end_object();
  bool start_array(size_t);
  bool end_array();

private:
  /// What the parser is in, or what it must meet next.
  enum class State {
    Start,
    Root,
    Tensor,
    TensorKey,
    DType,
    Shape,
    ShapeItem,
    Offsets,
    OffsetItem,
    Metadata,
    MetadataKey,
    MetadataValue
  };

  bool unexpected(const std::string &found);
  bool tensorKey(const std::string &name);
  bool finishTensor();
  bool failTensor(const std::string &text) { return fail(fmt::format("tensor {}: {}", quote(tensor.name), text)); }

  Header &header;
  State state = State::Start;
  TensorInfo tensor;
  std::string metadataKey;
  size_t offsetCount = 0;
  bool hasMetadata = false, hasDType = false, hasShape = false, hasOffsets = false;
};

} // namespace quant::checkpoint

#endif // QUANT_RUNTIME_CHECKPOINT_HEADER_SAX_H
