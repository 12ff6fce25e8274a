//===- weights.cpp - the weights that a checkpoint holds ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/weights.h"

#include "models/config/scheme_config.h"
#include "runtime/checkpoint/json_file.h"
#include "tools/quant-convert/schemes/config_json.h"

#include <algorithm>
#include <array>
#include <cstring>

using namespace quant;
using namespace quant::convert;

SchemeOfLayer convert::schemesOf(const nlohmann::json &config) {
  auto read = config.is_object() ? readSchemes(quantizedPart(config)) : fail("");
  return [config = std::move(read)](const std::string &layer) -> std::optional<Scheme> {
    const Scheme *scheme = config ? config->schemeOf(layer) : nullptr;
    return scheme ? std::optional(*scheme) : std::nullopt;
  };
}

namespace {

/// What a name has of a weight in any scheme: the ends of the names of its tensors.
struct Ends {
  std::string_view codes, scale, zeroPoint, globalScale, groupIndex, shape;
};

/// What stands where: behind the layer's name.
constexpr std::array kEnds = {
    Ends{".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_global_scale", ".weight_g_idx", ".weight_shape"},
    Ends{".qweight", ".scales", ".qzeros", "", ".g_idx", ""},
};
constexpr std::string_view kPlain = ".weight";
/// Of what inputs are multiplied with: nothing that a weight's values need.
constexpr std::array<std::string_view, 2> kInputScales = {".input_scale", ".input_global_scale"};

/// A weight before its scheme is chosen.
struct Candidate {
  std::string layer, name;
  LinearTensors tensors;
};

} // namespace

//===----------------------------------------------------------------------===//
// Which tensors are one weight
//===----------------------------------------------------------------------===//

static const Ends *packedEnds(std::string_view name) {
  auto found = std::ranges::find_if(kEnds, [&](const Ends &ends) { return name.ends_with(ends.codes); });
  return found == kEnds.end() ? nullptr : &*found;
}

bool convert::isPacked(std::string_view name) { return packedEnds(name) != nullptr; }

/// The weight whose codes `codes` is; nothing if that is stored as it is. A tensor that can only be codes is one without a scale,
/// too.
template <typename Find>
static std::optional<Candidate> findParts(const Tensor &codes, const Find &find) {
  const std::string &name = codes.info->name;
  FindDType dtypes = [&](const std::string &tensor) {
    const Tensor *found = find(tensor);
    return found ? std::optional(found->info->dtype) : std::nullopt;
  };
  const Ends *ends = packedEnds(name);
  std::string scale = findScaleName(dtypes, name);
  if (!ends && scale.empty() && !isFp8(codes.info->dtype))
    return std::nullopt;
  Candidate candidate{name, name, {&codes, scale.empty() ? nullptr : find(scale)}};
  std::string_view end = ends ? ends->codes : kPlain;
  if (name.ends_with(end))
    candidate.layer = name.substr(0, name.size() - end.size());
  if (!ends)
    return candidate;
  candidate.name = candidate.layer + std::string(kPlain);
  auto part = [&](std::string_view of) -> const Tensor * {
    return of.empty() ? nullptr : find(candidate.layer + std::string(of));
  };
  candidate.tensors.zeroPoint = part(ends->zeroPoint);
  candidate.tensors.globalScale = part(ends->globalScale);
  candidate.tensors.groupIndex = part(ends->groupIndex);
  candidate.tensors.shape = part(ends->shape);
  return candidate;
}

//===----------------------------------------------------------------------===//
// Which scheme
//===----------------------------------------------------------------------===//

/// Whether names and dtypes are those of the scheme. FP8 in any form goes as FP8.
static bool fitsNames(const Scheme &scheme, const LinearTensors &tensors) {
  const std::string &name = tensors.codes->info->name;
  DType dtype = tensors.codes->info->dtype, needed = storedCodes(scheme, 1, 1).dtype;
  bool isNibble = scheme.packing == Packing::Nibbles && dtype == DType::I8;
  bool fits = dtype == needed || isNibble || (isFp8(dtype) && isFp8(needed));
  bool isPacked = scheme.suffixes.data != kPlain;
  return fits && (!isPacked || name.ends_with(scheme.suffixes.data)) &&
         (!tensors.scale || scaleNameOf(scheme, name) == tensors.scale->info->name);
}

/// Whether weight_shape says that a word holds four codes; those of other weights hold eight.
static bool saysEightBits(const LinearTensors &tensors) {
  std::array<int64_t, 2> said{};
  if (!tensors.shape || tensors.shape->data.size() != sizeof(said))
    return false;
  std::memcpy(said.data(), tensors.shape->data.data(), sizeof(said));
  return said[1] > 0 && tensors.codes->info->shape == std::vector{said[0], (said[1] - 1) / 4 + 1};
}

/// Whether the tensors look as those of the scheme do, without a configuration to say so.
static bool looksLike(const Scheme &scheme, const LinearTensors &tensors) {
  bool isPower = tensors.scale && scaleType(tensors.scale->info->dtype) == DType::F8E8M0FNU;
  bool isWide = scheme.packing == Packing::WordsInRow && bitWidth(scheme.element) == 8;
  return fitsNames(scheme, tensors) && scheme.hasGlobalScale() == (tensors.globalScale != nullptr) &&
         (scheme.zeroPoints != ZeroPoints::None) == (tensors.zeroPoint != nullptr) &&
         isPower == (scheme.scale == DType::F8E8M0FNU) && (!isWide || saysEightBits(tensors));
}

static Layout<LinearWeight> tryScheme(Scheme scheme, const Block &block, const LinearTensors &tensors) {
  scheme.block = block;
  if (isFp8(tensors.codes->info->dtype))
    scheme.element = tensors.codes->info->dtype;
  return LinearWeight::create(scheme, tensors);
}

/// Blocks that a weight may have whose configuration does not say.
static std::vector<Block> likelyBlocks(const std::optional<Scheme> &configured, const Scheme &scheme) {
  if (scheme.packing == Packing::Nibbles) // MXFP4 and NVFP4 have one size of groups
    return {scheme.block};
  std::vector<Block> blocks = {scheme.block, {1, 0}, {1, 16}, {1, 32}, {1, 64}, {1, 128}, {1, 256}};
  if (configured)
    blocks.insert(blocks.begin(), configured->block);
  return blocks;
}

/// The first scheme of the table that fits; of several blocks the one that says the shape of the scales as it is.
static Layout<LinearWeight> chooseByLook(const std::optional<Scheme> &configured, const LinearTensors &tensors) {
  std::optional<Layout<LinearWeight>> first;
  for (bool isLikely : {true, false})
    for (const Scheme &scheme : schemes()) {
      if (isLikely ? !looksLike(scheme, tensors) : !fitsNames(scheme, tensors))
        continue;
      for (const Block &block : likelyBlocks(configured, scheme)) {
        auto weight = tryScheme(scheme, block, tensors);
        if (weight)
          return weight;
        if (!first)
          first = std::move(weight);
      }
    }
  return first ? std::move(*first) : tryScheme(deepSeekFp8(), deepSeekFp8().block, tensors);
}

static Layout<LinearWeight> chooseScheme(const Candidate &candidate, const SchemeOfLayer &configured) {
  std::optional<Scheme> scheme = configured ? configured(candidate.layer) : std::nullopt;
  if (scheme && fitsNames(*scheme, candidate.tensors))
    return tryScheme(*scheme, scheme->block, candidate.tensors);
  return chooseByLook(scheme, candidate.tensors);
}

//===----------------------------------------------------------------------===//
// All weights
//===----------------------------------------------------------------------===//

/// Makes weights of candidates: those with a small tensor to read side by side.
static void chooseSchemes(std::span<const Candidate> candidates, std::span<Weight *const> weights,
                          const SchemeOfLayer &configured, unsigned threads) {
  auto choose = [&](size_t i) {
    auto chosen = chooseScheme(candidates[i], configured);
    if (chosen)
      weights[i]->linear = *chosen;
    else
      weights[i]->fault = chosen.error();
  };
  std::vector<const Tensor *> small;
  std::vector<size_t> scattered;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const LinearTensors &tensors = candidates[i].tensors;
    const Tensor *read = tensors.shape ? tensors.shape : tensors.globalScale;
    if (!read) {
      choose(i);
      continue;
    }
    small.push_back(read);
    scattered.push_back(i);
  }
  tools::forScattered(small, threads, [&](size_t i) { choose(scattered[i]); });
}

/// What goes with the codes of a candidate.
template <typename Find>
static std::vector<const Tensor *> partsOf(const Candidate &candidate, const Find &find) {
  const LinearTensors &found = candidate.tensors;
  std::vector<const Tensor *> parts = {found.scale, found.zeroPoint, found.globalScale, found.groupIndex, found.shape};
  for (std::string_view end : kInputScales)
    parts.push_back(find(candidate.layer + std::string(end)));
  std::erase(parts, nullptr);
  return parts;
}

Weights::Weights(std::span<const Tensor> tensors, const Find &find, const SchemeOfLayer &configured, unsigned threads)
    : first(tensors.data()), owners(tensors.size()) {
  constexpr uint32_t kNone = UINT32_MAX;
  std::vector<std::optional<Candidate>> candidates;
  std::vector<uint32_t> codesOf(tensors.size(), kNone);
  for (const Tensor &tensor : tensors) {
    candidates.push_back(findParts(tensor, find));
    if (candidates.back())
      for (const Tensor *part : partsOf(*candidates.back(), find))
        codesOf[indexOf(*part)] = static_cast<uint32_t>(indexOf(tensor));
  }
  std::vector<Candidate> quantized;
  std::vector<uint32_t> numbers;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (codesOf[i] != kNone)
      continue;
    owners[i] = static_cast<uint32_t>(weights.size());
    weights.push_back({candidates[i] ? candidates[i]->name : tensors[i].info->name, &tensors[i], {}, {}});
    if (!candidates[i])
      continue;
    quantized.push_back(std::move(*candidates[i]));
    numbers.push_back(owners[i]);
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    size_t codes = i; // a part may be named as codes with a scale of their own
    while (codesOf[codes] != kNone)
      codes = codesOf[codes];
    owners[i] = owners[codes];
  }
  std::vector<Weight *> targets;
  targets.reserve(numbers.size());
  for (uint32_t number : numbers)
    targets.push_back(&weights[number]);
  for (const Weight &weight : weights)
    byName.emplace(weight.name, static_cast<uint32_t>(&weight - weights.data()));
  chooseSchemes(quantized, targets, configured, threads);
}

const Weight *Weights::find(const std::string &name) const {
  auto found = byName.find(name);
  return found == byName.end() ? nullptr : &weights[found->second];
}

Result<Weights> convert::readWeights(const tools::TensorSource &source, unsigned threads) {
  std::error_code ignored;
  if (std::filesystem::symlink_status(source.configPath(), ignored).type() == std::filesystem::file_type::not_found)
    return Weights::of(source, nullptr, threads);
  QUANT_TRY_ASSIGN(auto config, checkpoint::readJsonFile(source.configPath(), 16u << 20));
  return Weights::of(source, schemesOf(config), threads);
}
