//===- memory.cpp - a program's values on a GPU --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/memory.h"

#include "runtime/checkpoint/finite.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

namespace quant::runtime {

using checkpoint::Checkpoint;

GpuMemory::GpuMemory(const Program &program, int64_t cacheRows) : program(program), cacheRows(cacheRows) {
  // The caller may write and read these, whether kernels do or not.
  for (size_t i = 0; i < program.values.size(); ++i)
    if (program.values[i].kind == ValueKind::Input || program.values[i].kind == ValueKind::Output)
      places[{{static_cast<int>(i)}}];
}

Result<void> GpuMemory::checkStacked(const std::vector<int> &values) const {
  const Value &first = value(values[0]);
  for (int index : values) {
    const Value &group = value(index);
    if (group.kind != ValueKind::WeightGroup)
      return fail(
          fmt::format("the launch recipe stacks {} {}, which is no weight group", kindName(group.kind), quote(group.name)));
    if (group.count != first.count)
      return fail(fmt::format("the launch recipe stacks weight groups of {} and {} experts, {} and {}", first.count, group.count,
                              quote(first.name), quote(group.name)));
  }
  return {};
}

Result<void> GpuMemory::use(const Use &use) {
  if (use.stacked)
    QUANT_TRY(checkStacked(use.values));
  for (int index : use.values)
    if (!use.stacked && use.values.size() > 1 && value(index).kind != ValueKind::Weight)
      return fail(fmt::format("the launch recipe joins {} {}, which is no weight", kindName(value(index).kind),
                              quote(value(index).name)));
  places[use];
  return {};
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

Result<void> GpuMemory::findWeights(const Checkpoint &checkpoint) {
  for (size_t i = 0; i < program.values.size(); ++i) {
    const Value &value = program.values[i];
    if (value.kind != ValueKind::Weight && value.kind != ValueKind::WeightGroup)
      continue;
    Result<Tensors> found = runtime::findWeights(value, checkpoint, repacked);
    if (!found)
      return tl::unexpected(found.error().in(fmt::format("value {}", i)));
    weights[static_cast<int>(i)] = std::move(*found);
  }
  return {};
}

std::vector<const Checkpoint::Tensor *> GpuMemory::scales() const {
  Tensors scales;
  for (const auto &[index, tensors] : weights)
    if (value(index).isScale)
      scales.insert(scales.end(), tensors.begin(), tensors.end());
  return scales;
}

Result<void> GpuMemory::checkVectors() const {
  for (const auto &[index, tensors] : weights)
    for (const Checkpoint::Tensor *tensor : tensors)
      QUANT_TRY(checkpoint::checkFinite(*tensor));
  return {};
}

/// Of weights, and of groups that are stacked, what stands in their buffer.
GpuMemory::Tensors GpuMemory::tensorsOf(const Use &use) const {
  Tensors tensors;
  size_t experts = use.stacked ? weights.at(use.values[0]).size() : 1;
  for (size_t expert = 0; expert < experts; ++expert)
    for (int index : use.values)
      tensors.push_back(weights.at(index)[expert]);
  return tensors;
}

Result<Region> GpuMemory::constant(GpuDevice &device, const Tensors &parts) {
  if (auto known = constants.find(parts); known != constants.end())
    return known->second;
  std::vector<std::span<const std::byte>> bytes;
  for (const Checkpoint::Tensor *tensor : parts)
    bytes.push_back(tensor->data);
  Result<Region> region = device.constant(bytes);
  if (!region)
    return tl::unexpected(region.error().in(
        fmt::format("tensor {} in {}", quote(parts[0]->info->name), printable(parts[0]->file->path().native()))));
  return constants[parts] = *region;
}

Result<GpuMemory::Place> GpuMemory::placeGroup(GpuDevice &device, int index) {
  Place place;
  std::vector<uint64_t> &table = tables.emplace_back();
  for (const Checkpoint::Tensor *tensor : weights.at(index)) {
    QUANT_TRY_ASSIGN(Region region, constant(device, {tensor}));
    place.pointees.push_back(region);
    table.push_back(region.address);
  }
  std::span<const std::byte> bytes = std::as_bytes(std::span(table));
  QUANT_TRY_ASSIGN(place.region, device.constant({&bytes, 1}));
  return place;
}

//===----------------------------------------------------------------------===//
// Everything
//===----------------------------------------------------------------------===//

uint64_t GpuMemory::largestBytes(const Value &value) const {
  Dims sizes = program.limits.largest();
  sizes[static_cast<size_t>(abi::Dim::Context)] = cacheRows;
  return static_cast<uint64_t>(*byteSize(value, sizes)); // checked with the module
}

MemoryNeeds GpuMemory::needs() const {
  MemoryNeeds needs;
  needs.workspace = gpuAligned(static_cast<uint64_t>(program.workspaceBytes));
  std::set<Tensors> copied;
  for (const auto &[use, place] : places) {
    const Value &first = value(use.values[0]);
    if (first.kind == ValueKind::Cache)
      needs.caches += gpuAligned(largestBytes(first));
    else if (first.kind == ValueKind::Input || first.kind == ValueKind::Output)
      needs.inputsAndOutputs += gpuAligned(largestBytes(first));
    else if (first.kind == ValueKind::Weight || use.stacked)
      copied.insert(tensorsOf(use));
    else if (first.kind == ValueKind::WeightGroup) {
      needs.constants += gpuAligned(weights.at(use.values[0]).size() * sizeof(uint64_t));
      for (const Checkpoint::Tensor *tensor : weights.at(use.values[0]))
        copied.insert({tensor});
    }
  }
  for (const Tensors &tensors : copied) {
    uint64_t bytes = 0;
    for (const Checkpoint::Tensor *tensor : tensors)
      bytes += tensor->data.size();
    needs.constants += gpuAligned(bytes);
  }
  return needs;
}

Result<GpuMemory::Place> GpuMemory::placeUse(GpuDevice &device, const Use &use) {
  const Value &first = value(use.values[0]);
  auto placed = [](Region region) { return Place{region, {}}; };
  if (first.kind == ValueKind::Weight || use.stacked)
    return constant(device, tensorsOf(use)).map(placed);
  if (first.kind == ValueKind::WeightGroup)
    return placeGroup(device, use.values[0]);
  if (first.kind == ValueKind::Workspace) {
    auto offset = static_cast<uint64_t>(first.offset);
    return Place{{arena.address + offset, arena.bytes - offset}, {}};
  }
  return device.allocate(largestBytes(first), first.name).map(placed);
}

Result<void> GpuMemory::place(GpuDevice &device) {
  QUANT_TRY(device.reserve(needs()));
  QUANT_TRY_ASSIGN(arena, device.allocate(static_cast<uint64_t>(program.workspaceBytes), "workspace"));
  for (auto &[use, place] : places) {
    QUANT_TRY_ASSIGN(place, placeUse(device, use));
  }
  return {};
}

} // namespace quant::runtime
