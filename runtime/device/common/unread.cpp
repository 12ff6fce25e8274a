//===- unread.cpp - tensors that a program leaves unread ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/common/unread.h"

#include "runtime/support/tensor_names.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <set>
#include <unordered_set>

namespace quant::runtime {

using checkpoint::Checkpoint;

namespace {

/// What programs name.
class ReadTensors {
public:
  void add(const Program &program) {
    for (const Value &value : program.values)
      if (value.kind == ValueKind::Weight || value.kind == ValueKind::WeightGroup)
        add(value);
  }

  bool names(const std::string &tensor) const { return tensors.contains(tensor); }
  /// A tensor of the module, such as its weight.
  bool hasModule(std::string_view module) const { return modules.contains(std::string(module)); }
  /// Any tensor of the layer.
  bool hasLayer(int64_t layer) const { return layers.contains(layer); }

private:
  void add(const Value &value) {
    addName(value, value.name);
    for (const std::string &alias : value.aliases)
      addName(value, alias);
    layers.insert(numberBehind(value.name, "layers"));
  }

  void addName(const Value &value, const std::string &pattern) {
    size_t hole = value.kind == ValueKind::WeightGroup ? pattern.find("{}") : std::string::npos;
    for (int64_t i = 0; i < (hole == std::string::npos ? 1 : value.count); ++i) {
      std::string name = pattern;
      if (hole != std::string::npos)
        name.replace(hole, 2, std::to_string(i));
      modules.emplace(moduleOf(name));
      tensors.insert(std::move(name));
    }
  }

  std::unordered_set<std::string> tensors, modules;
  std::set<int64_t> layers;
};

} // namespace

/// Whether an MTP layer stores a copy of the model's embedding or head there, which programs read instead (README_WEIGHTS.md of
/// DeepSeek-V3).
static bool isSharedCopy(std::string_view name) {
  return hasPart(name, "layers") && (name.ends_with(".embed_tokens.weight") || name.ends_with(".shared_head.head.weight"));
}

/// Whether the result is another without that tensor, which the program does not name.
static bool isMissed(const std::string &name, const ReadTensors &read, const std::set<int64_t> &mtpLayers) {
  if (harmlessTensor(name) || isSharedCopy(name))
    return false;
  std::string_view part = lastPart(name);
  if (read.hasModule(moduleOf(name)))
    return !isStorage(part) || (!changeOfWeight(part).empty() && !read.names(codesOfOrder(name)));
  int64_t layer = numberBehind(name, "layers");
  return layer >= 0 && (read.hasLayer(layer) || !mtpLayers.contains(layer));
}

Result<void> checkUnread(const Target &target, const Checkpoint &checkpoint) {
  ReadTensors read;
  read.add(target.program);
  if (target.draft)
    read.add(*target.draft);
  std::set<int64_t> mtpLayers;
  for (const Checkpoint::Tensor &tensor : checkpoint.tensors())
    if (isOfMtpLayer(tensor.info->name))
      mtpLayers.insert(numberBehind(tensor.info->name, "layers"));
  for (const Checkpoint::Tensor &tensor : checkpoint.tensors())
    if (const std::string &name = tensor.info->name; !read.names(name) && isMissed(name, read, mtpLayers))
      return fail(fmt::format("nothing in the module reads tensor {} of {}, without which the model is another; was the module "
                              "compiled for another checkpoint? compile this one",
                              quote(name), tensor.file->path().string()));
  return {};
}

} // namespace quant::runtime
