//===- weights.cpp - a program's weights in a checkpoint ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/weights.h"

#include "runtime/checkpoint/column_order.h"
#include "runtime/checkpoint/mapped_pages.h"
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

/// Of a value that is one: by it is divided.
static Result<void> checkGlobalScale(const Value &value, const Checkpoint::Tensor &tensor) {
  float scale = value.isGlobalScale ? scaleAt(DType::F32, tensor.data, 0) : 1.0F;
  if (std::isfinite(scale) && scale > 0)
    return {};
  return fail(fmt::format("tensor {} in {}: the global scale is {}, scales are divided by it", quote(tensor.info->name),
                          tensor.file->path().string(), scale));
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
  if ((info.dtype == DType::U8 || info.dtype == DType::I8) && dtype == DType::F4E2M1FN && !shape.empty()) {
    shape.back().size /= 2;
    dtype = info.dtype;
  }
  return dtype == info.dtype && std::ranges::equal(info.shape, shape, {}, {}, &Extent::size);
}

/// The tensor `name`, whose groups sort the columns of `tensor`: those of the tensor itself, or equal to them.
static Result<const Checkpoint::Tensor *> findOrder(const Value &value, const Checkpoint::Tensor &tensor, const std::string &name,
                                                    const Checkpoint &checkpoint) {
  const Checkpoint::Tensor *groups = checkpoint.find(name);
  if (!groups)
    return tl::unexpected(missingError({name}, checkpoint));
  const Checkpoint::Tensor *own = checkpoint::findColumnGroups(checkpoint, tensor.info->name);
  if (own && !std::ranges::equal(own->data, groups->data))
    return fail(fmt::format("tensor {} in {} is not equal to {}, as in the checkpoint that the module was compiled for; compile "
                            "this one",
                            quote(own->info->name), own->file->path().string(), quote(name)));
  QUANT_TRY(checkpoint::sortColumns(*groups, value.shape.back().size));
  return groups;
}

static Result<void> checkColumns(const Value &value, const Checkpoint::Tensor &tensor, const Checkpoint &checkpoint) {
  if (value.repack == Repack::ColumnOrder)
    return checkpoint::checkColumnGroups(tensor, value.shape.back().size, value.groupSize);
  return value.order.empty() ? checkpoint::checkColumnOrder(checkpoint, tensor.info->name, value.shape.back().size)
                             : Result<void>();
}

/// `expert` is the number of a tensor in a group.
static Result<const Checkpoint::Tensor *> findTensor(const Value &value, int64_t expert, const Checkpoint &checkpoint,
                                                     RepackedTensors &repacked) {
  auto nameOf = [&](std::string name) {
    if (value.kind == ValueKind::WeightGroup)
      name.replace(name.find("{}"), 2, std::to_string(expert));
    return name;
  };
  std::vector<std::string> names = {nameOf(value.name)};
  for (const std::string &alias : value.aliases)
    names.push_back(nameOf(alias));
  const Checkpoint::Tensor *tensor = nullptr;
  for (size_t i = 0; i < names.size() && !tensor; ++i)
    tensor = checkpoint.find(names[i]);
  if (!tensor)
    return tl::unexpected(missingError(names, checkpoint));
  const checkpoint::TensorInfo &info = *tensor->info;
  if (!isStoredAs(info, value))
    return fail(fmt::format("tensor {} in {} is {}, the module expects {}; was it compiled for another checkpoint?",
                            quote(info.name), tensor->file->path().string(), typeText(info), typeText(value.shape, value.dtype)));
  QUANT_TRY(checkGlobalScale(value, *tensor));
  QUANT_TRY(checkColumns(value, *tensor, checkpoint));
  if (!value.isTurned())
    return tensor;
  const Checkpoint::Tensor *groups = nullptr;
  if (!value.order.empty()) {
    QUANT_TRY_ASSIGN(groups, findOrder(value, *tensor, nameOf(value.order), checkpoint));
  }
  return repacked.add(*tensor, value, groups);
}

Result<const Checkpoint::Tensor *> RepackedTensors::add(const Checkpoint::Tensor &stored, const Value &value,
                                                        const Checkpoint::Tensor *groups) {
  Entry &entry = entries.emplace_back();
  entry.info = *stored.info;
  entry.info.dtype = value.dtype;
  entry.info.shape.clear();
  for (const Extent &extent : value.shape)
    entry.info.shape.push_back(extent.size);
  int64_t bytes = *byteSize(value.shape, value.dtype, {});
  QUANT_TRY_ASSIGN(entry.memory, Memory::allocate(bytes, entry.info.name.c_str()));
  entry.tensor = {&entry.info, stored.file, {entry.memory.data(), static_cast<size_t>(bytes)}};
  entry.stored = &stored;
  entry.groups = groups;
  entry.repack = value.repack;
  return &entry.tensor;
}

void RepackedTensors::Entry::turn() {
  int64_t columns = info.shape.back(), rows = info.shape.size() == 1 ? 1 : info.shape[0];
  std::span<std::byte> out{memory.data(), tensor.data.size()};
  std::vector<std::byte> between(groups && repack != Repack::None ? out.size() : 0);
  if (repack != Repack::None)
    repackTensor(repack, rows, columns, stored->data, groups ? std::span(between) : out);
  if (groups)
    orderColumns(*checkpoint::sortColumns(*groups, columns), rows, bitWidth(info.dtype),
                 repack == Repack::None ? stored->data : std::span<const std::byte>(between), out);
  checkpoint::doneReading(stored->data);
}

void RepackedTensors::turn(ThreadPool &pool) {
  pool.run(static_cast<int64_t>(entries.size() - turned), [&](int /*worker*/, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      entries[turned + static_cast<size_t>(i)].turn();
  });
  turned = entries.size();
}

Result<std::vector<const Checkpoint::Tensor *>> findWeights(const Value &value, const Checkpoint &checkpoint,
                                                            RepackedTensors &repacked) {
  std::vector<const Checkpoint::Tensor *> result;
  for (int64_t i = 0; i < (value.kind == ValueKind::WeightGroup ? value.count : 1); ++i) {
    QUANT_TRY_ASSIGN(const auto *tensor, findTensor(value, i, checkpoint, repacked));
    result.push_back(tensor);
  }
  return result;
}

} // namespace quant::runtime
