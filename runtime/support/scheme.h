//===- scheme.h - how quantized weights are stored --------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A weight W [rows, columns] = [out, in] of a checkpoint is codes, scales that blocks of codes share, and sometimes zero points:
// W = (code - zero) * scale. A scheme says what the codes are, how they are packed, which block shares a scale, what the tensors
// are called, and how the activations that meet the weight are quantized. kSchemes in scheme.cpp is the one list of them:
// configurations, the converter, the model builder and the runtime read it. docs/extending.md adds one.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_SUPPORT_SCHEME_H
#define QUANT_RUNTIME_SUPPORT_SCHEME_H

#include "runtime/support/dtype.h"
#include "runtime/support/result.h"

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant {

/// How the codes of [rows, columns] lie in their tensor.
enum class Packing : uint8_t {
  Elements,   ///< one after the other, whole bytes each: [rows, columns] of the element type
  Nibbles,    ///< two in a byte, the first in its lower half: U8 or I8 [rows, columns / 2]
  WordsInRow, ///< 32 / bits in a word along the row, code + 2^(bits - 1), lowest bits first: I32 [rows, ceil(columns bits / 32)]
  WordsDown,  ///< the same down the transposed weight: I32 [columns bits / 32, rows] (GPTQ)
  WordsAcross ///< eight outputs of one input in a word, in the order of WordOrder::Awq: I32 [columns, rows / 8] (AWQ)
};

/// Where AWQ has the number of output i of eight: in this nibble of the word.
inline constexpr std::array<int, 8> kAwqNibble = {0, 4, 1, 5, 2, 6, 3, 7};

/// Zero points, one for each scale.
enum class ZeroPoints : uint8_t {
  None,       ///< symmetric
  PackedDown, ///< packed as WordsInRow, but down the rows: I32 [ceil(rows bits / 32), groups] (compressed-tensors)
  LessOne,    ///< unsigned, stored minus 1, outputs side by side in a word (GPTQ v1)
  AsCodes     ///< unsigned, outputs side by side in a word, in the order of the codes (AWQ, GPTQ v2)
};

/// How the inputs of a matmul with such a weight are meant to be quantized.
enum class ActivationScheme : uint8_t {
  None,       ///< not at all: weight-only
  PerToken,   ///< dynamic, one scale a row
  PerGroup,   ///< dynamic, one scale for each of a row's groups, as long as the block is wide
  StaticScale ///< one scale from the checkpoint
};

/// How a scale is rounded: kept as it is, or up to a power of two (DeepSeek-V3.1's "ue8m0", stored as f32 all the same).
enum class ScaleFmt : uint8_t { None, UE8M0 };
/// "none", "ue8m0": as in configurations.
std::string_view name(ScaleFmt value);
Result<ScaleFmt> parseScaleFmt(std::string_view text);

/// What a checkpoint calls the tensors of a linear layer, behind the layer's name; "" where it has none.
struct TensorSuffixes {
  std::string_view data, scale, zeroPoint, globalScale, inputScale;
  bool operator==(const TensorSuffixes &) const = default;
};

struct Scheme {
  std::string_view name;     ///< "deepseek-fp8": in messages, reports and module files
  std::string_view method;   ///< quant_method of a config.json: "fp8", "compressed-tensors"
  std::string_view describe; ///< in a few words
  bool compiled;             ///< quant-compile and the runtime take it

  DType element; ///< of the codes
  Packing packing;
  std::array<int64_t, 2> block; ///< rows x columns that share a scale; 0: all of them
  DType scale;                  ///< the type that scales mostly have; any that holdsScales() is read
  ZeroPoints zeroPoints;
  ActivationScheme activations;
  DType input; ///< what activations are quantized to; BF16 where they are not
  TensorSuffixes suffixes;
  ScaleFmt scaleFmt = ScaleFmt::None;

  /// A second f32 scale of the whole tensor, by which the others are divided.
  bool hasGlobalScale() const { return !suffixes.globalScale.empty(); }
  bool operator==(const Scheme &) const = default;
};

/// All schemes that are known.
std::span<const Scheme> schemes();
/// The scheme of that name, or null.
const Scheme *findScheme(std::string_view name);
/// DeepSeek-V3's: f8E4M3FN in blocks of 128x128 with f32 scales. UE8M0: V3.1's.
Scheme deepSeekFp8(ScaleFmt format = ScaleFmt::None);
/// "deepseek-fp8, deepseek-fp8-ue8m0": what is compiled, for messages.
std::string compiledSchemes();

/// What a tensor of a checkpoint looks like.
struct StoredShape {
  DType dtype;
  std::vector<int64_t> shape;
};
/// The tensor that holds the codes of a weight [rows, columns].
StoredShape storedCodes(const Scheme &scheme, int64_t rows, int64_t columns);

/// The tensors that hold its scales and its zero points.
StoredShape storedScales(const Scheme &scheme, int64_t rows, int64_t columns);
/// @pre the scheme has zero points
StoredShape storedZeros(const Scheme &scheme, int64_t rows, int64_t columns);

/// One scale for each block: [ceil(rows / block rows), ceil(columns / block columns)].
std::vector<int64_t> scaleShape(const std::array<int64_t, 2> &block, int64_t rows, int64_t columns);

/// The name of the scale of the weight (its codes) `data`: "X.weight" has "X.weight_scale_inv". A name without the scheme's
/// ending, such as "w", has "w_scale_inv"; "" where the scheme puts the scale's name in the place of the weight's.
std::string scaleNameOf(const Scheme &scheme, std::string_view data);

/// The dtype of a checkpoint's tensor of that name, nothing where there is none.
using FindDType = std::function<std::optional<DType>(const std::string &name)>;
/// That of a source whose find(name) gives a tensor with its `info`, or null.
template <typename Source>
FindDType dtypesOf(const Source &source) {
  return [&source](const std::string &name) {
    const auto *found = source.find(name);
    return found ? std::optional(found->info->dtype) : std::nullopt;
  };
}

/// The name of the tensor that holds the scales of the weight `data`, whatever scheme it is named after; "" if there is none.
/// Only what holdsCodes() has scales.
std::string findScaleName(const FindDType &find, std::string_view data);
/// The weight that a tensor of that name is the scale of, were it there: of several names that it may have, the one that is. ""
/// if the name is no scale's; "X.scale" and "X.scales" are none without their weight.
std::string findWeightName(const FindDType &find, std::string_view scale);

/// FP8 in any of its four forms: codes that mean nothing without a scale.
bool isFp8(DType dtype);
/// Elements that can be codes: FP8 and integers of 8 bits, and the words that narrower ones are packed in.
bool holdsCodes(DType dtype);

} // namespace quant

#endif // QUANT_RUNTIME_SUPPORT_SCHEME_H
