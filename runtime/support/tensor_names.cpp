//===- tensor_names.cpp - what names of tensors say -----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/tensor_names.h"

#include <algorithm>
#include <charconv>
#include <string>

namespace quant {

std::string_view lastPart(std::string_view name) { return name.substr(name.rfind('.') + 1); }

std::string_view moduleOf(std::string_view name) { return name.substr(0, std::min(name.rfind('.'), name.size())); }

/// Where the dotted part `part` begins in `name`, npos if it has none.
static size_t findPart(std::string_view name, std::string_view part) {
  for (size_t at = name.find(part); at != std::string_view::npos; at = name.find(part, at + 1)) {
    size_t end = at + part.size();
    if ((at == 0 || name[at - 1] == '.') && (end == name.size() || name[end] == '.'))
      return at;
  }
  return std::string_view::npos;
}

bool hasPart(std::string_view name, std::string_view part) { return findPart(name, part) != std::string_view::npos; }

int64_t numberBehind(std::string_view name, std::string_view part) {
  size_t at = findPart(name, part);
  int64_t number = -1;
  if (at != std::string_view::npos && at + part.size() < name.size())
    std::from_chars(name.data() + at + part.size() + 1, name.data() + name.size(), number);
  return number;
}

bool isOfMtpLayer(std::string_view name) { return hasPart(name, "eh_proj") || hasPart(name, "enorm"); }

bool isStorage(std::string_view part) {
  return part.starts_with("weight") || part.find("scale") != part.npos || part.find("zero_point") != part.npos ||
         part == "qweight" || part == "qzeros" || part == "g_idx";
}

std::string_view changeOfWeight(std::string_view part) {
  if (part == "weight_zero_point" || part == "qzeros")
    return "zero points are";
  if (part == "weight_g_idx" || part == "g_idx")
    return "columns in another order (actorder) are";
  if (part == "weight_global_scale" || part == "weight_scale_2")
    return "a second scale of the whole weight is";
  return "";
}

std::string codesOfOrder(std::string_view name) {
  std::string_view part = lastPart(name);
  std::string module(name.substr(0, name.size() - part.size()));
  return part == "g_idx" ? module + "qweight" : part == "weight_g_idx" ? module + "weight_packed" : "";
}

std::optional<HarmlessTensor> harmlessTensor(std::string_view name) {
  std::string_view part = lastPart(name);
  if (part == "inv_freq" || part == "cos_cached" || part == "sin_cached" || part == "masked_bias")
    return HarmlessTensor{part, "is a buffer that is computed, not read"};
  for (std::string_view tower : {"vision_tower", "vision_model", "visual", "vision", "audio_tower", "multi_modal_projector",
                                 "mm_projector", "projector", "image_newline", "view_seperator"})
    if (name.starts_with(tower) && (name.size() == tower.size() || name[tower.size()] == '.'))
      return HarmlessTensor{tower, "is of a part of the model that takes no text, and is not read"};
  if (part == "k_scale" || part == "v_scale" || part == "kv_scale")
    return HarmlessTensor{"cache scale", "is the scale of a quantized KV cache, which is not used"};
  return std::nullopt;
}

} // namespace quant
