//===- header_sax.cpp - reads the JSON of a safetensors header ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/header_sax.h"

#include <fmt/core.h>

#include <limits>

namespace quant::checkpoint {

bool HeaderHandler::unexpected(const std::string &found) {
  switch (state) {
  case State::Start:
    return fail("header must be an object, found " + found);
  case State::Tensor:
    return failTensor("must be an object with dtype, shape and data_offsets, found " + found);
  case State::DType:
    return failTensor("dtype must be a string, found " + found);
  case State::Shape:
    return failTensor("shape must be an array of dimensions, found " + found);
  case State::ShapeItem:
    return failTensor(fmt::format("shape[{}] must be a non-negative integer, found {}", tensor.shape.size(), found));
  case State::Offsets:
    return failTensor("data_offsets must be an array [begin, end], found " + found);
  case State::OffsetItem:
    return failTensor(fmt::format("data_offsets[{}] must be a non-negative integer, found {}", offsetCount, found));
  case State::Metadata:
    return fail("__metadata__ must be an object of strings, found " + found);
  case State::MetadataValue:
    return fail(fmt::format("__metadata__ {} must be a string, found {}", quote(metadataKey), found));
  case State::Root:
  case State::TensorKey:
  case State::MetadataKey:
    break; // the parser itself allows only a key here
  }
  return fail("unexpected " + found);
}

bool HeaderHandler::number_integer(int64_t value) {
  // The parser calls this for what begins with a minus alone.
  return unexpected(value == 0 ? "-0" : std::to_string(value));
}

bool HeaderHandler::number_unsigned(uint64_t value) {
  if (state == State::ShapeItem) {
    if (tensor.shape.size() == maxRank)
      return failTensor(fmt::format("has more than {} dimensions", maxRank));
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return failTensor(fmt::format("shape[{}] = {} is beyond 2^63 - 1", tensor.shape.size(), value));
    tensor.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (state == State::OffsetItem) {
    if (offsetCount == 2)
      return failTensor("data_offsets must be [begin, end], found a third number");
    (offsetCount++ == 0 ? tensor.begin : tensor.end) = value;
    return true;
  }
  return unexpected(fmt::format("a number ({})", value));
}

bool HeaderHandler::string(std::string &value) {
  if (state == State::DType) {
    auto dtype = fromSafetensorsName(value);
    if (!dtype)
      return failTensor("unknown dtype " + quote(value));
    tensor.dtype = *dtype;
    state = State::TensorKey;
    return true;
  }
  if (state == State::MetadataValue) {
    auto [place, isNew] = header.metadata.try_emplace(std::move(metadataKey), std::move(value));
    if (!isNew)
      return fail("__metadata__ key " + quote(place->first) + " is given twice");
    state = State::MetadataKey;
    return true;
  }
  return unexpected("the string " + quote(value));
}

bool HeaderHandler::key(std::string &name) {
  if (state == State::TensorKey)
    return tensorKey(name);
  if (state == State::MetadataKey) {
    metadataKey = std::move(name);
    state = State::MetadataValue;
    return true;
  }
  if (name == "__metadata__") {
    if (std::exchange(hasMetadata, true))
      return fail("__metadata__ is given twice");
    state = State::Metadata;
    return true;
  }
  if (name.find('\0') != name.npos)
    return fail("tensor " + quote(name) + ": name holds a NUL character");
  tensor = TensorInfo{};
  tensor.name = std::move(name);
  state = State::Tensor;
  return true;
}

bool HeaderHandler::tensorKey(const std::string &name) {
  bool *seen = nullptr;
  if (name == "dtype") {
    seen = &hasDType;
    state = State::DType;
  } else if (name == "shape") {
    seen = &hasShape;
    state = State::Shape;
  } else if (name == "data_offsets") {
    seen = &hasOffsets;
    state = State::Offsets;
  } else {
    return failTensor("unknown key " + quote(name) + "; the format has dtype, shape and data_offsets");
  }
  if (std::exchange(*seen, true))
    return failTensor(name + " is given twice");
  return true;
}

bool HeaderHandler::start_object(size_t) {
  if (state == State::Start)
    state = State::Root;
  else if (state == State::Tensor)
    state = State::TensorKey;
  else if (state == State::Metadata)
    state = State::MetadataKey;
  else
    return unexpected("an object");
  return true;
}

bool HeaderHandler::end_object() {
  if (state == State::TensorKey)
    return finishTensor();
  state = State::Root; // from the metadata, or of the header itself, after which the parser allows nothing
  return true;
}

bool HeaderHandler::start_array(size_t) {
  if (state == State::Shape)
    state = State::ShapeItem;
  else if (state == State::Offsets)
    state = State::OffsetItem;
  else
    return unexpected("an array");
  return true;
}

bool HeaderHandler::end_array() {
  if (state == State::OffsetItem && offsetCount != 2)
    return failTensor(fmt::format("data_offsets must be [begin, end], found {} numbers", offsetCount));
  state = State::TensorKey;
  return true;
}

bool HeaderHandler::finishTensor() {
  if (!hasDType || !hasShape || !hasOffsets)
    return failTensor(std::string(!hasDType ? "dtype" : !hasShape ? "shape" : "data_offsets") + " is missing");
  if (tensor.end < tensor.begin)
    return failTensor(fmt::format("data_offsets [{}, {}] end before they begin", tensor.begin, tensor.end));
  auto bytes = byteSize(tensor.dtype, tensor.shape);
  if (!bytes)
    return failTensor(bytes.error().message);
  if (*bytes != tensor.bytes())
    return failTensor(fmt::format("dtype and shape make {} bytes, data_offsets [{}, {}] hold {}", *bytes, tensor.begin,
                                  tensor.end, tensor.bytes()));
  header.tensors.push_back(std::move(tensor));
  offsetCount = 0;
  hasDType = hasShape = hasOffsets = false;
  state = State::Root;
  return true;
}

} // namespace quant::checkpoint
