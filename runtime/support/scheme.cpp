//===- scheme.cpp - how quantized weights are stored ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/scheme.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant {

namespace {

constexpr std::array<int64_t, 2> kBlock128 = {128, 128}, kGroup128 = {1, 128}, kGroup32 = {1, 32}, kGroup16 = {1, 16},
                                 kChannel = {1, 0}, kTensor = {0, 0};

constexpr TensorSuffixes kDeepSeek = {".weight", ".weight_scale_inv", "", "", ""};
constexpr TensorSuffixes kDeepSeekV4 = {".weight", ".scale", "", "", ""};
constexpr TensorSuffixes kPlain = {".weight", ".weight_scale", "", "", ""};
constexpr TensorSuffixes kStatic = {".weight", ".weight_scale", "", "", ".input_scale"};
constexpr TensorSuffixes kPacked = {".weight_packed", ".weight_scale", "", "", ""};
constexpr TensorSuffixes kPackedZero = {".weight_packed", ".weight_scale", ".weight_zero_point", "", ""};
constexpr TensorSuffixes kNvfp4 = {".weight_packed", ".weight_scale", "", ".weight_global_scale", ".input_global_scale"};
constexpr TensorSuffixes kGptq = {".qweight", ".scales", ".qzeros", "", ""};

constexpr bool kCompiled = true; // false: only quant-convert reads it
constexpr auto kE4M3 = DType::F8E4M3FN, kE5M2 = DType::F8E5M2, kE2M1 = DType::F4E2M1FN, kE8M0 = DType::F8E8M0FNU;
constexpr auto kF32 = DType::F32, kBF16 = DType::BF16, kF16 = DType::F16, kI8 = DType::I8, kI4 = DType::I4, kU4 = DType::U4;
constexpr auto kElements = Packing::Elements, kNibbles = Packing::Nibbles, kWords = Packing::WordsInRow;
constexpr ZeroPoints kSymmetric = ZeroPoints::None;
using enum ActivationScheme;

// clang-format off
/// Name, quant_method, what it is; whether it is compiled; element, packing, block, scale, zero points, activations and
/// their element, names of tensors.
constexpr Scheme kSchemes[] = {
    {"deepseek-fp8", "fp8", "FP8 in blocks of 128x128",
     kCompiled, kE4M3, kElements, kBlock128, kF32, kSymmetric, PerGroup, kE4M3, kDeepSeek},
    {"deepseek-fp8-ue8m0", "fp8", "FP8 in blocks of 128x128, f32 scales that are powers of two",
     kCompiled, kE4M3, kElements, kBlock128, kF32, kSymmetric, PerGroup, kE4M3, kDeepSeek, ScaleFmt::UE8M0},
    {"deepseek-fp8-e5m2", "fp8", "FP8 of two fraction bits in blocks of 128x128",
     kCompiled, kE5M2, kElements, kBlock128, kF32, kSymmetric, PerGroup, kE4M3, kDeepSeek},
    {"deepseek-v4-fp8", "fp8", "FP8 in blocks of 128x128 (of 32x32 in V4.1), E8M0 scales",
     kCompiled, kE4M3, kElements, kBlock128, kE8M0, kSymmetric, PerGroup, kE4M3, kDeepSeekV4},
    {"deepseek-v4-mxfp4", "fp8", "FP4 in groups of 32, E8M0 scales: routed experts",
     kCompiled, kE2M1, kNibbles, kGroup32, kE8M0, kSymmetric, PerGroup, kE4M3, kDeepSeekV4},

    {"ct-fp8-block", "compressed-tensors", "FP8 in blocks of 128x128",
     kCompiled, kE4M3, kElements, kBlock128, kF32, kSymmetric, PerGroup, kE4M3, kPlain},
    {"ct-fp8-channel", "compressed-tensors", "FP8 with a scale for each row, inputs FP8 per token",
     kCompiled, kE4M3, kElements, kChannel, kBF16, kSymmetric, PerToken, kE4M3, kPlain},
    {"ct-fp8-tensor", "compressed-tensors", "FP8 with one scale, inputs with one from the checkpoint",
     kCompiled, kE4M3, kElements, kTensor, kBF16, kSymmetric, StaticScale, kE4M3, kStatic},
    {"ct-fp8-tensor-dynamic", "compressed-tensors", "FP8 with one scale, inputs FP8 per token",
     kCompiled, kE4M3, kElements, kTensor, kBF16, kSymmetric, PerToken, kE4M3, kPlain},
    {"ct-w8a8", "compressed-tensors", "INT8 with a scale for each row, inputs INT8 per token",
     kCompiled, kI8, kElements, kChannel, kBF16, kSymmetric, PerToken, kI8, kPlain},
    {"ct-w8a16", "compressed-tensors", "INT8 in words, a scale for each row or group, weight only",
     kCompiled, kI8, kWords, kChannel, kBF16, kSymmetric, None, kBF16, kPacked},
    {"ct-w4a16", "compressed-tensors", "INT4 in groups, weight only",
     kCompiled, kI4, kWords, kGroup128, kBF16, kSymmetric, None, kBF16, kPacked},
    {"ct-w4a16-asymmetric", "compressed-tensors", "INT4 with zero points in groups, weight only",
     kCompiled, kI4, kWords, kGroup128, kBF16, ZeroPoints::PackedDown, None, kBF16, kPackedZero},
    {"ct-w8a16-asymmetric", "compressed-tensors", "INT8 with zero points in words, weight only",
     kCompiled, kI8, kWords, kChannel, kBF16, ZeroPoints::PackedDown, None, kBF16, kPackedZero},
    {"ct-w4a8", "compressed-tensors", "INT4 in groups, inputs INT8 per token",
     kCompiled, kI4, kWords, kGroup128, kBF16, kSymmetric, PerToken, kI8, kPacked},
    {"ct-w4afp8", "compressed-tensors", "INT4 in groups, inputs FP8 per token",
     kCompiled, kI4, kWords, kGroup128, kBF16, kSymmetric, PerToken, kE4M3, kPacked},
    {"ct-mxfp4", "compressed-tensors", "MXFP4: FP4 in groups of 32, E8M0 scales",
     kCompiled, kE2M1, kNibbles, kGroup32, kE8M0, kSymmetric, PerGroup, kE2M1, kPacked},
    {"ct-mxfp8", "compressed-tensors", "MXFP8: FP8 in groups of 32, E8M0 scales",
     kCompiled, kE4M3, kElements, kGroup32, kE8M0, kSymmetric, PerGroup, kE4M3, kPlain},
    {"ct-nvfp4", "compressed-tensors", "NVFP4: FP4 in groups of 16, E4M3 scales under a global one",
     kCompiled, kE2M1, kNibbles, kGroup16, kE4M3, kSymmetric, PerGroup, kE2M1, kNvfp4},

    {"gptq-w4", "gptq", "INT4 in groups, weight only",
     kCompiled, kU4, Packing::WordsDown, kGroup128, kF16, ZeroPoints::LessOne, None, kBF16, kGptq},
    {"gptq-v2-w4", "gptq", "INT4 in groups, weight only, zero points as they are",
     kCompiled, kU4, Packing::WordsDown, kGroup128, kF16, ZeroPoints::AsCodes, None, kBF16, kGptq},
    {"awq-w4", "awq", "INT4 in groups, weight only",
     kCompiled, kU4, Packing::WordsAcross, kGroup128, kF16, ZeroPoints::AsCodes, None, kBF16, kGptq},
    {"blockwise-int8", "blockwise_int8", "INT8 in blocks of 128x128, in DeepSeek's layout",
     kCompiled, kI8, kElements, kBlock128, kF32, kSymmetric, PerGroup, kI8, kDeepSeek},
};
// clang-format on

} // namespace

std::span<const Scheme> schemes() { return kSchemes; }

const Scheme *findScheme(std::string_view name) {
  const auto *found = std::ranges::find(kSchemes, name, &Scheme::name);
  return found == std::end(kSchemes) ? nullptr : found;
}

Scheme deepSeekFp8(ScaleFmt format) { return kSchemes[format == ScaleFmt::UE8M0]; }

std::string_view name(ScaleFmt value) { return value == ScaleFmt::UE8M0 ? "ue8m0" : "none"; }

Result<ScaleFmt> parseScaleFmt(std::string_view text) {
  if (text == "none" || text == "ue8m0")
    return text == "ue8m0" ? ScaleFmt::UE8M0 : ScaleFmt::None;
  return fail(fmt::format("\"{}\" is not supported, only none, ue8m0", text));
}

std::string compiledSchemes() {
  std::string names;
  for (const Scheme &scheme : kSchemes)
    if (scheme.compiled)
      names += (names.empty() ? "" : ", ") + std::string(scheme.name);
  return names;
}

std::vector<int64_t> scaleShape(const std::array<int64_t, 2> &block, int64_t rows, int64_t columns) {
  auto blocks = [](int64_t size, int64_t side) { return side == 0 ? 1 : size / side + (size % side != 0); };
  return {blocks(rows, block[0]), blocks(columns, block[1])};
}

StoredShape storedCodes(const Scheme &scheme, int64_t rows, int64_t columns) {
  int64_t bits = bitWidth(scheme.element);
  auto words = [&](int64_t codes) { return (codes * bits + 31) / 32; };
  switch (scheme.packing) {
  case Packing::Elements:
    return {scheme.element, {rows, columns}};
  case Packing::Nibbles:
    return {DType::U8, {rows, (columns + 1) / 2}};
  case Packing::WordsInRow:
    return {DType::I32, {rows, words(columns)}};
  case Packing::WordsDown:
    return {DType::I32, {words(columns), rows}};
  case Packing::WordsAcross:
    return {DType::I32, {columns, words(rows)}};
  }
  return {scheme.element, {rows, columns}};
}

StoredShape storedScales(const Scheme &scheme, int64_t rows, int64_t columns) {
  std::vector<int64_t> shape = scaleShape(scheme.block, rows, columns);
  if (scheme.packing == Packing::WordsDown || scheme.packing == Packing::WordsAcross)
    std::swap(shape[0], shape[1]);
  return {scheme.scale, shape};
}

StoredShape storedZeros(const Scheme &scheme, int64_t rows, int64_t columns) {
  std::vector<int64_t> shape = scaleShape(scheme.block, rows, columns);
  int64_t words = (shape[0] * bitWidth(scheme.element) + 31) / 32;
  if (scheme.zeroPoints == ZeroPoints::PackedDown)
    return {DType::I32, {words, shape[1]}};
  return {DType::I32, {shape[1], words}};
}

/// What stands behind the weight's name in the scale's: "_scale_inv"; "" if the scale's name is not longer.
static std::string_view scaleEnding(const TensorSuffixes &suffixes) {
  return suffixes.scale.starts_with(suffixes.data) ? suffixes.scale.substr(suffixes.data.size()) : "";
}

std::string scaleNameOf(const Scheme &scheme, std::string_view data) {
  const TensorSuffixes &suffixes = scheme.suffixes;
  std::string name(data);
  if (name.ends_with(suffixes.data))
    return name.substr(0, name.size() - suffixes.data.size()).append(suffixes.scale);
  std::string_view ending = scaleEnding(suffixes);
  return ending.empty() ? "" : name.append(ending);
}

//===----------------------------------------------------------------------===//
// Scales by name
//===----------------------------------------------------------------------===//

bool isFp8(DType dtype) {
  return dtype == DType::F8E4M3FN || dtype == DType::F8E5M2 || dtype == DType::F8E4M3FNUZ || dtype == DType::F8E5M2FNUZ;
}

bool holdsCodes(DType dtype) { return isFp8(dtype) || dtype == DType::I8 || dtype == DType::I32; }

/// Whether a tensor that is called so and is of that type can be the codes of the scheme.
static bool canBeCodes(const TensorSuffixes &suffixes, std::string_view data, DType dtype) {
  bool packed = suffixes.data != ".weight";
  return packed ? data.ends_with(suffixes.data) : dtype != DType::I32 && holdsCodes(dtype);
}

std::string findScaleName(const FindDType &find, std::string_view data) {
  std::optional<DType> dtype = find(std::string(data));
  for (const Scheme &scheme : kSchemes)
    if (dtype && canBeCodes(scheme.suffixes, data, *dtype))
      if (std::string scale = scaleNameOf(scheme, data); !scale.empty() && find(scale))
        return scale;
  return "";
}

/// The weight that `scale` belongs to by its name; "" if it is none of this scheme.
static std::string weightOfScale(const TensorSuffixes &suffixes, std::string_view scale) {
  std::string name(scale);
  if (name.ends_with(suffixes.scale))
    return name.substr(0, name.size() - suffixes.scale.size()).append(suffixes.data);
  std::string_view ending = scaleEnding(suffixes);
  return !ending.empty() && name.ends_with(ending) ? name.substr(0, name.size() - ending.size()) : "";
}

std::string findWeightName(const FindDType &find, std::string_view scale) {
  std::string absent;
  for (const Scheme &scheme : kSchemes) {
    const TensorSuffixes &suffixes = scheme.suffixes;
    std::string weight = weightOfScale(suffixes, scale);
    if (weight.empty())
      continue;
    // "X.weight_scale" and "x_scale_inv" say of themselves what they are; "X.scale", "x_scale" and "X.scales" do not.
    bool isPlain = scaleEnding(suffixes) == "_scale_inv" || (suffixes.data == ".weight" && scale.ends_with(".weight_scale"));
    std::optional<DType> dtype = find(weight);
    if (dtype && (isPlain || canBeCodes(suffixes, weight, *dtype)))
      return weight;
    if (isPlain && absent.empty())
      absent = weight;
  }
  return absent;
}

} // namespace quant
