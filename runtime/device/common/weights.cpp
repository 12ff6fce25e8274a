//===- weights.cpp - a program's weights in a checkpoint ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/weights.h"

#include "runtime/checkpoint/column_order.h"
#include "runtime/support/block_scale.h"
#include "runtime/support/scheme.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace quant::runtime {

using checkpoint::Checkpoint;

static std::string typeText(const checkpoint::TensorInfo &info) {
  return fmt::format("{}{}", info.shape.empty() ? "" : shapeText(info.shape) + "x", mlirName(info.dtype));
}

/// What to say beyond "is not there" of a tensor that holds block scales; else nothing.
static std::string scaleHint(const std::string &name, const Checkpoint &checkpoint) {
  // By names alone: a weight that is not there, or not of codes, has had that scale all the same.
  std::string weight;
  auto present = [&](const std::string &tensor) {
    return tensor == weight || checkpoint.find(tensor) ? std::optional(DType::F8E4M3FN) : std::nullopt;
  };
  weight = findWeightName(present, name);
  if (weight.empty())
    return "";
  std::string hint = fmt::format("; it holds the scales of {}, which DeepSeek names '*.weight_scale_inv' and compressed-tensors "
                                 "'*.weight_scale'",
                                 quote(weight));
  if (std::string other = findScaleName(present, weight); !other.empty())
    return fmt::format("{}: the checkpoint has {}", hint, quote(other));
  return hint + (checkpoint.find(weight) ? ": the checkpoint has the weight without any" : "");
}

static Error missingError(const std::vector<std::string> &names, const Checkpoint &checkpoint) {
  std::string text = "tensor " + quote(names[0]);
  for (size_t i = 1; i < names.size(); ++i)
    text += " or " + quote(names[i]);
  return {text + " is not in checkpoint " + checkpoint.dir().string() + scaleHint(names[0], checkpoint)};
}

/// What `value` is stored as, where it is turned when it is loaded.
static StoredShape storedAs(const Value &value) {
  return *storedShape(value.repack, value.dtype, value.shape[0].size, value.shape[1].size);
}

/// The number by which a repack needs more than the tensor: a global scale, by which is divided.
static Result<float> secondValue(Repack repack, const Checkpoint::Tensor &tensor, const Checkpoint &checkpoint) {
  std::string name = secondTensor(repack, tensor.info->name);
  if (name.empty())
    return 1.0f;
  const Checkpoint::Tensor *second = checkpoint.find(name);
  if (!second)
    return tl::unexpected(missingError({name}, checkpoint));
  std::string where = fmt::format("tensor {} in {}", quote(name), second->file->path().string());
  if (second->info->dtype != DType::F32 || second->data.size() != sizeof(float))
    return fail(fmt::format("{} is {}, a global scale is one F32", where, typeText(*second->info)));
  float value = scaleAt(DType::F32, second->data, 0);
  if (!(std::isfinite(value) && value > 0))
    return fail(fmt::format("{}: the global scale is {}, scales are divided by it", where, value));
  return value;
}

/// Whether a tensor holds the value's elements. Those that safetensors has no type for lie in others: integers of 4 bits,
/// and unsigned ones of 8, in words of 32 bits, whole words to a row; floats of 4 bits two in a byte; scales that are powers of
/// two in bytes.
static bool isStoredAs(const checkpoint::TensorInfo &info, const Value &value) {
  Shape shape = value.shape;
  DType dtype = value.dtype;
  if (value.repack != Repack::None)
    return info.shape == storedAs(value).shape && info.dtype == storedAs(value).dtype;
  if (info.dtype == DType::I32 && (dtype == DType::U4 || dtype == DType::U8) && !shape.empty()) {
    shape.back().size = shape.back().size * bitWidth(dtype) / 32;
    dtype = DType::I32;
  }
  if (shape.size() == 2 && info.shape == std::vector<int64_t>{1})
    shape.erase(shape.begin()); // one scale of a whole weight
  if (info.dtype == DType::U8 && dtype == DType::F8E8M0FNU)
    dtype = DType::U8;
  if (info.dtype == DType::U8 && dtype == DType::F4E2M1FN && !shape.empty()) {
    shape.back().size /= 2;
    dtype = DType::U8;
  }
  return dtype == info.dtype && std::ranges::equal(info.shape, shape, {}, {}, &Extent::size);
}

static Result<const Checkpoint::Tensor *> findTensor(const std::vector<std::string> &names, const Value &value,
                                                     const Checkpoint &checkpoint, RepackedTensors &repacked) {
  const Checkpoint::Tensor *tensor = nullptr;
  for (size_t i = 0; i < names.size() && !tensor; ++i)
    tensor = checkpoint.find(names[i]);
  if (!tensor)
    return tl::unexpected(missingError(names, checkpoint));
  const checkpoint::TensorInfo &info = *tensor->info;
  if (!isStoredAs(info, value))
    return fail(fmt::format("tensor {} in {} is {}, the module expects {}; was it compiled for another checkpoint?",
                            quote(info.name), tensor->file->path().string(), typeText(info), typeText(value.shape, value.dtype)));
  QUANT_TRY(checkpoint::checkColumnOrder(checkpoint, info.name));
  if (value.repack == Repack::None)
    return tensor;
  QUANT_TRY_ASSIGN(float second, secondValue(value.repack, *tensor, checkpoint));
  return repacked.add(*tensor, value, second);
}

Result<const Checkpoint::Tensor *> RepackedTensors::add(const Checkpoint::Tensor &stored, const Value &value, float second) {
  int64_t rows = value.shape[0].size, columns = value.shape[1].size;
  Entry &entry = entries.emplace_back();
  entry.info = *stored.info;
  entry.info.dtype = value.dtype;
  entry.info.shape = {rows, columns};
  QUANT_TRY_ASSIGN(entry.memory, Memory::allocate(*byteSize(value.shape, value.dtype, {}), entry.info.name.c_str()));
  repackTensor(value.repack, rows, columns, stored.data, {entry.memory.data(), entry.memory.size()}, second);
  entry.tensor = {&entry.info, stored.file, {entry.memory.data(), entry.memory.size()}};
  return &entry.tensor;
}

Result<std::vector<const Checkpoint::Tensor *>> findWeights(const Value &value, const Checkpoint &checkpoint,
                                                            RepackedTensors &repacked) {
  std::vector<std::string> patterns = {value.name};
  patterns.insert(patterns.end(), value.aliases.begin(), value.aliases.end());
  bool group = value.kind == ValueKind::WeightGroup;
  std::vector<const Checkpoint::Tensor *> result;
  for (int64_t i = 0; i < (group ? value.count : 1); ++i) {
    std::vector<std::string> names = patterns;
    if (group)
      for (std::string &name : names)
        name.replace(name.find("{}"), 2, std::to_string(i));
    QUANT_TRY_ASSIGN(const auto *tensor, findTensor(names, value, checkpoint, repacked));
    result.push_back(tensor);
  }
  return result;
}

} // namespace quant::runtime
