//===- scheme_choice.cpp - --scheme, and what it means --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/quantize/scheme_choice.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

namespace {

/// Whether --group-size says something.
enum class Groups : uint8_t { Fixed, Optional };

/// Inputs as compressed-tensors is told of them.
enum class Inputs : uint8_t { Wide, IntPerToken, FloatPerToken, FloatStatic, FloatPerGroup128, Mxfp8 };

struct Known {
  std::string_view name;
  std::string_view scheme, asymmetric; ///< rows of runtime/support/scheme.cpp; "" where there is none with zero points
  std::string_view format;
  int bits;
  bool isFloat;
  Groups groups;
  Inputs inputs;
};

constexpr Known kKnown[] = {
    {"w8a8", "ct-w8a8", "", "int-quantized", 8, false, Groups::Fixed, Inputs::IntPerToken},
    {"w8a16", "ct-w8a16", "ct-w8a16-asymmetric", "pack-quantized", 8, false, Groups::Optional, Inputs::Wide},
    {"w4a16", "ct-w4a16", "ct-w4a16-asymmetric", "pack-quantized", 4, false, Groups::Optional, Inputs::Wide},
    {"w4a8", "ct-w4a8", "", "pack-quantized", 4, false, Groups::Optional, Inputs::IntPerToken},
    {"w4afp8", "ct-w4afp8", "", "pack-quantized", 4, false, Groups::Optional, Inputs::FloatPerToken},
    {"fp8-block", "ct-fp8-block", "", "float-quantized", 8, true, Groups::Fixed, Inputs::FloatPerGroup128},
    {"fp8-channel", "ct-fp8-channel", "", "float-quantized", 8, true, Groups::Fixed, Inputs::FloatPerToken},
    {"fp8-tensor", "ct-fp8-tensor-dynamic", "", "float-quantized", 8, true, Groups::Fixed, Inputs::FloatPerToken},
    {"fp8-tensor-static", "ct-fp8-tensor", "", "float-quantized", 8, true, Groups::Fixed, Inputs::FloatStatic},
    {"mxfp4", "ct-mxfp4", "", "mxfp4-pack-quantized", 4, true, Groups::Fixed, Inputs::Wide},
    {"mxfp8", "ct-mxfp8", "", "mxfp8-quantized", 8, true, Groups::Fixed, Inputs::Mxfp8},
    {"nvfp4", "ct-nvfp4", "", "nvfp4-pack-quantized", 4, true, Groups::Fixed, Inputs::Wide},
};

constexpr std::array<std::string_view, 4> kLayouts = {"compressed-tensors", "gptq", "gptq_v2", "deepseek"};
constexpr int64_t kMaxGroup = 65536;

} // namespace

Result<FileLayout> convert::parseFileLayout(const std::string &text) {
  auto found = std::ranges::find(kLayouts, text);
  if (found == kLayouts.end())
    return fail(fmt::format("{} is no layout, only {}", quote(text), layoutNames()));
  return static_cast<FileLayout>(found - kLayouts.begin());
}

template <typename List, typename Name>
static std::string joined(const List &list, Name name) {
  std::string text;
  for (const auto &item : list)
    text += (text.empty() ? "" : ", ") + std::string(name(item));
  return text;
}

std::string convert::layoutNames() {
  return joined(kLayouts, [](std::string_view name) { return name; });
}
std::string convert::schemeNames() {
  return joined(kKnown, [](const Known &known) { return known.name; });
}

std::string Target::describe() const {
  std::string words = choice.name;
  if (scheme.block[0] == 1 && scheme.block[1] > 0)
    words += fmt::format(" in groups of {}", scheme.block[1]);
  return words + (zeroPoints ? " with zero points" : "");
}

//===----------------------------------------------------------------------===//
// compressed-tensors' arguments
//===----------------------------------------------------------------------===//

static json arguments(int bits, bool isFloat, const char *strategy, bool isDynamic) {
  return {{"num_bits", bits},
          {"type", isFloat ? "float" : "int"},
          {"strategy", strategy},
          {"symmetric", true},
          {"dynamic", isDynamic}};
}

static json weightArguments(const Known &known, const Scheme &scheme) {
  const auto &block = scheme.block;
  const char *strategy = block[0] == 0 ? "tensor" : block[0] > 1 ? "block" : block[1] == 0 ? "channel" : "group";
  json result = arguments(known.bits, known.isFloat, scheme.hasGlobalScale() ? "tensor_group" : strategy, false);
  result["symmetric"] = scheme.zeroPoints == ZeroPoints::None;
  if (block[0] > 1)
    result["block_structure"] = block;
  else if (block[0] == 1 && block[1] > 0)
    result["group_size"] = block[1];
  if (scheme.scale == DType::F8E8M0FNU)
    result["scale_dtype"] = "torch.uint8";
  if (scheme.hasGlobalScale())
    result["scale_dtype"] = "torch.float8_e4m3fn";
  return result;
}

static json inputArguments(Inputs inputs) {
  switch (inputs) {
  case Inputs::Wide:
    return nullptr;
  case Inputs::IntPerToken:
    return arguments(8, false, "token", true);
  case Inputs::FloatPerToken:
    return arguments(8, true, "token", true);
  case Inputs::FloatStatic:
    return arguments(8, true, "tensor", false);
  case Inputs::FloatPerGroup128:
  case Inputs::Mxfp8:
    break;
  }
  json result = arguments(8, true, "group", true);
  result["group_size"] = inputs == Inputs::Mxfp8 ? 32 : 128;
  if (inputs == Inputs::Mxfp8)
    result["scale_dtype"] = "torch.uint8";
  return result;
}

//===----------------------------------------------------------------------===//
// Choosing
//===----------------------------------------------------------------------===//

/// The row of the schemes' table that the layout has for it; "" where it has none.
static std::string_view schemeRow(const Known &known, bool zeroPoints, FileLayout layout) {
  switch (layout) {
  case FileLayout::CompressedTensors:
    return zeroPoints ? known.asymmetric : known.scheme;
  case FileLayout::Gptq:
    return known.name == "w4a16" ? "gptq-w4" : "";
  case FileLayout::GptqV2:
    return known.name == "w4a16" ? "gptq-v2-w4" : "";
  case FileLayout::DeepSeek:
    return known.name == "fp8-block" && !zeroPoints ? "deepseek-fp8" : "";
  }
  return "";
}

Result<Target> convert::chooseTarget(SchemeChoice choice, FileLayout layout) {
  const auto *known = std::ranges::find(kKnown, choice.name, &Known::name);
  if (known == std::end(kKnown))
    return fail(fmt::format("{} is no scheme, only {}", quote(choice.name), schemeNames()));
  if (choice.zeroPoints && known->asymmetric.empty())
    return fail(fmt::format("{} has no form with zero points; w4a16 and w8a16 have", choice.name));
  if (choice.groupSize != 0 && known->groups == Groups::Fixed)
    return fail(fmt::format("{} has no group size of its own; leave it out", choice.name));
  if (choice.groupSize < -1 || choice.groupSize > kMaxGroup)
    return fail(fmt::format("group size {} is not in 1 .. {}, nor -1 for whole rows", choice.groupSize, kMaxGroup));
  std::string_view row = schemeRow(*known, choice.zeroPoints, layout);
  if (row.empty())
    return fail(fmt::format("{} has no form in the layout {}: it holds {}", choice.name, kLayouts[static_cast<size_t>(layout)],
                            layout == FileLayout::DeepSeek ? "fp8-block" : "w4a16"));
  Target target{choice, *findScheme(row), choice.zeroPoints, std::string(known->format), {}, {}};
  if (choice.groupSize != 0)
    target.scheme.block = {1, std::max<int64_t>(0, choice.groupSize)};
  target.weights = weightArguments(*known, target.scheme);
  target.inputs = inputArguments(known->inputs);
  return target;
}

//===----------------------------------------------------------------------===//
// As one word
//===----------------------------------------------------------------------===//

static constexpr std::string_view kZeroPoints = "zero-points";

std::string SchemeChoice::text() const {
  return name + (groupSize ? fmt::format(":{}", groupSize) : "") + (zeroPoints ? ":" + std::string(kZeroPoints) : "");
}

Result<SchemeChoice> convert::parseChoice(const std::string &text) {
  size_t at = text.find(':');
  SchemeChoice choice{text.substr(0, at)};
  while (at != text.npos) {
    size_t next = text.find(':', at + 1);
    std::string part = text.substr(at + 1, next == text.npos ? next : next - at - 1);
    const char *end = part.data() + part.size();
    if (part == kZeroPoints)
      choice.zeroPoints = true;
    else if (auto [to, code] = std::from_chars(part.data(), end, choice.groupSize); code != std::errc() || to != end)
      return fail(fmt::format("{} is no scheme with a group size and zero-points, as in w4a16:32:zero-points", quote(text)));
    at = next;
  }
  QUANT_TRY(chooseTarget(choice, FileLayout::CompressedTensors));
  return choice;
}
