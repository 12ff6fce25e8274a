//===- scheme_config.cpp - the scheme that a config.json names ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/scheme_config.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>

namespace quant {

using nlohmann::json;

/// Two integers of 1 .. kMaxBlockSide.
static void readBlock(ObjectReader &fields, std::string_view key, std::array<int64_t, 2> &block) {
  const json *value = fields.find(key);
  if (!value)
    return;
  auto isWhole = [](const json &side) { return side.is_number_integer() || wholeNumber(side); };
  if (!value->is_array() || value->size() != 2 || !isWhole((*value)[0]) || !isWhole((*value)[1]))
    return fields.refuse(key, shortText(*value) + " is not two integers, rows and columns");
  // What does not fit i64 is out of range as -1 is.
  block = {wholeNumber((*value)[0]).value_or(-1), wholeNumber((*value)[1]).value_or(-1)};
  for (int64_t side : block)
    if (side < 1 || side > kMaxBlockSide)
      fields.refuse(key, fmt::format("{} is not in 1 .. {}", side, kMaxBlockSide));
}

void readWeightBlock(ObjectReader &fields, std::array<int64_t, 2> &block) { readBlock(fields, "weight_block_size", block); }

//===----------------------------------------------------------------------===//
// DeepSeek's style: blocks
//===----------------------------------------------------------------------===//

/// Two names of one list: transformers reads the first, vLLM the second.
static std::vector<std::string> readNotConverted(ObjectReader &fields) {
  std::vector<std::string> modules, ignored;
  fields.read("modules_to_not_convert", modules);
  fields.read("ignored_layers", ignored);
  for (std::string &module : ignored)
    if (std::ranges::find(modules, module) == modules.end())
      modules.push_back(std::move(module));
  return modules;
}

/// The scheme with that `fmt` and `scale_fmt`.
static Scheme readDeepSeekFormat(ObjectReader &fields) {
  std::string format = "e4m3";
  ScaleFmt scaleFmt = ScaleFmt::None;
  fields.read("fmt", format);
  bool e4m3 = format == "e4m3" || format == "float8_e4m3fn", e5m2 = format == "e5m2" || format == "float8_e5m2";
  if (!e4m3 && !e5m2)
    fields.refuse("fmt", "\"" + format + "\" is not supported, only e4m3, e5m2");
  fields.readEnum("scale_fmt", scaleFmt, parseScaleFmt);
  Scheme scheme = e5m2 ? *findScheme("deepseek-fp8-e5m2") : deepSeekFp8(scaleFmt);
  scheme.scaleFmt = scaleFmt;
  return scheme;
}

static QuantizationConfig readBlocks(ObjectReader &fields, const std::string &method) {
  Scheme scheme = method == "fp8" ? readDeepSeekFormat(fields) : *std::ranges::find(schemes(), method, &Scheme::method);
  std::string activations = "dynamic";
  fields.read("activation_scheme", activations);
  if (activations != "dynamic")
    fields.refuse("activation_scheme", "\"" + activations + "\" is not supported, only dynamic");
  if (!fields.find("weight_block_size"))
    fields.refuse("weight_block_size", "is missing; one scale a tensor is not supported, only blocks such as [128, 128]");
  readWeightBlock(fields, scheme.block);
  return {everyLinear(scheme), readNotConverted(fields)};
}

/// Older vLLM reads ignored_layers, transformers modules_to_not_convert: both are written.
json toQuantizationConfig(const Scheme &scheme, const std::vector<std::string> &notQuantized) {
  json result = {{"activation_scheme", "dynamic"},
                 {"quant_method", scheme.method},
                 {"weight_block_size", scheme.block},
                 {"modules_to_not_convert", notQuantized},
                 {"ignored_layers", notQuantized}};
  if (isFp8(scheme.element))
    result["fmt"] = scheme.element == DType::F8E5M2 ? "e5m2" : "e4m3";
  if (scheme.scaleFmt != ScaleFmt::None)
    result["scale_fmt"] = name(scheme.scaleFmt);
  return result;
}

//===----------------------------------------------------------------------===//
// compressed-tensors
//===----------------------------------------------------------------------===//

namespace {
/// The weights or inputs of a group.
struct QuantizationArgs {
  int64_t bits = 8, groupSize = 0;
  std::string type = "int", strategy = "tensor";
  bool symmetric = true, dynamic = false;
  std::array<int64_t, 2> block = {0, 0};

  DType element() const {
    bool isFloat = type == "float";
    return bits == 8 ? (isFloat ? DType::F8E4M3FN : DType::I8) : isFloat ? DType::F4E2M1FN : DType::I4;
  }
  bool isKnown() const { return (bits == 4 || bits == 8) && (type == "int" || type == "float"); }
};
} // namespace

/// The block that a strategy means; `fields` keeps what is wrong.
static std::array<int64_t, 2> blockOf(ObjectReader &fields, const QuantizationArgs &args) {
  if (args.strategy == "tensor")
    return {0, 0};
  if (args.strategy == "channel" || args.strategy == "token")
    return {1, 0};
  if (args.strategy == "group" || args.strategy == "tensor_group") {
    if (args.groupSize < 1 || args.groupSize > kMaxBlockSide)
      fields.refuse("group_size", fmt::format("{} is not in 1 .. {}", args.groupSize, kMaxBlockSide));
    return {1, args.groupSize};
  }
  std::array<int64_t, 2> block = {0, 0};
  if (args.strategy != "block")
    fields.refuse("strategy", fmt::format("\"{}\" is not supported, only tensor, channel, group, tensor_group, block, token",
                                          printable(args.strategy)));
  else if (fields.require("block_structure"))
    readBlock(fields, "block_structure", block);
  return block;
}

/// The first thing wrong is kept in `config`.
static QuantizationArgs readArgs(const json &object, ObjectReader &config) {
  ObjectReader fields(object);
  QuantizationArgs args;
  fields.read("num_bits", args.bits);
  fields.read("group_size", args.groupSize);
  fields.read("type", args.type);
  fields.read("strategy", args.strategy);
  fields.read("symmetric", args.symmetric);
  const json *dynamic = fields.find("dynamic"); // also "local"
  args.dynamic = dynamic && *dynamic != false;
  args.block = blockOf(fields, args);
  if (fields.failed())
    config.refuse("config_groups", fields.result().error().message);
  return args;
}

static ActivationScheme activationsOf(const QuantizationArgs &args) {
  if (!args.dynamic)
    return ActivationScheme::StaticScale;
  return args.strategy == "token" ? ActivationScheme::PerToken : ActivationScheme::PerGroup;
}

/// Blocks of rows, of one row, or the whole weight.
static int shapeClass(const std::array<int64_t, 2> &block) { return block[0] == 0 ? 0 : block[0] == 1 ? 1 : 2; }

/// The known scheme of a format with such weights and inputs, or null.
static const Scheme *findCompressed(const std::string &format, const QuantizationArgs &weights, const json *inputs,
                                    ObjectReader &config) {
  Packing packing = format == "pack-quantized"               ? Packing::WordsInRow
                    : format.ends_with("fp4-pack-quantized") ? Packing::Nibbles
                                                             : Packing::Elements;
  // Without packing each code of 4 bits has a byte.
  DType element = packing == Packing::Elements && weights.element() == DType::I4 ? DType::I8 : weights.element();
  auto weightsFit = [&](const Scheme &scheme) {
    return scheme.method == "compressed-tensors" && scheme.element == element && scheme.packing == packing &&
           shapeClass(scheme.block) == shapeClass(weights.block) &&
           (scheme.zeroPoints == ZeroPoints::None) == weights.symmetric && scheme.hasGlobalScale() == format.starts_with("nvfp4");
  };
  auto inputsFit = [&](const Scheme &scheme) {
    if (!inputs)
      return scheme.activations == ActivationScheme::None;
    QuantizationArgs args = readArgs(*inputs, config);
    return scheme.activations == activationsOf(args) && scheme.input == args.element();
  };
  auto both = [&](const Scheme &scheme) { return weightsFit(scheme) && inputsFit(scheme); };
  auto found = std::ranges::find_if(schemes(), both);
  // FP4 is read with and without quantized inputs.
  if (found == schemes().end() && !inputs && packing == Packing::Nibbles)
    found = std::ranges::find_if(schemes(), weightsFit);
  return found == schemes().end() || !weights.isKnown() ? nullptr : &*found;
}

/// Class names other than "Linear" name no layer that is multiplied with a weight.
static std::vector<std::string> readTargets(const json &group, const std::string &name, ObjectReader &config) {
  ObjectReader fields(group, name + ": ");
  std::vector<std::string> targets;
  fields.read("targets", targets);
  if (targets.empty() && !fields.failed())
    targets.emplace_back(kEveryLinear);
  for (const std::string &target : targets)
    if (!target.starts_with(kExpression) && target != kEveryLinear && target.find('.') == target.npos)
      fields.refuse("targets", fmt::format("\"{}\" is not supported, only \"Linear\", names of layers and \"re:\" expressions",
                                           printable(target)));
  if (fields.failed())
    config.refuse("config_groups", fields.result().error().message);
  return targets;
}

/// A group of that `name`; `format` where it has none of its own. Nothing where its weights are in no known scheme.
static std::optional<SchemeGroup> readGroup(const json &group, const std::string &name, std::string format,
                                            ObjectReader &config) {
  auto part = [&](const char *key) { return group.contains(key) && group[key].is_object() ? &group[key] : nullptr; };
  if (!group.is_object() || !part("weights"))
    return std::nullopt;
  if (auto own = group.find("format"); own != group.end() && own->is_string())
    format = *own;
  SchemeGroup result{readTargets(group, name, config), {}};
  QuantizationArgs args = readArgs(*part("weights"), config);
  const Scheme *scheme = findCompressed(format, args, part("input_activations"), config);
  if (!scheme) {
    config.refuse("config_groups",
                  fmt::format("{}: format \"{}\" with weights of {} bits, type {}, strategy {}{} is no scheme that is known",
                              name, printable(format), args.bits, printable(args.type), args.strategy,
                              args.symmetric ? "" : ", asymmetric"));
    return std::nullopt;
  }
  result.scheme = *scheme;
  result.scheme.block = args.block;
  return result;
}

static std::optional<QuantizationConfig> readCompressedTensors(ObjectReader &fields) {
  std::string format;
  fields.read("format", format);
  const json *groups = fields.find("config_groups");
  if (!groups || !groups->is_object() || groups->empty())
    return std::nullopt;
  QuantizationConfig config;
  for (const auto &[name, group] : groups->items()) {
    std::optional<SchemeGroup> read = readGroup(group, name, format, fields);
    if (!read) {
      fields.refuse("config_groups", fmt::format("{}: {} has no weights", name, shortText(group)));
      return std::nullopt;
    }
    config.groups.push_back(std::move(*read));
  }
  fields.read("ignore", config.notQuantized);
  return config;
}

//===----------------------------------------------------------------------===//
// GPTQ and AWQ
//===----------------------------------------------------------------------===//

/// Layers that `dynamic` of GPTQ takes out: {"-:regex": {}}. It may also give layers other bits, which is refused.
static void readDynamic(ObjectReader &fields, std::vector<std::string> &notQuantized) {
  const json *dynamic = fields.find("dynamic");
  if (!dynamic || dynamic->is_boolean())
    return;
  if (!dynamic->is_object())
    return fields.refuse("dynamic", shortText(*dynamic) + " is not an object");
  for (const auto &[pattern, change] : dynamic->items())
    if (pattern.starts_with("-:"))
      notQuantized.push_back(std::string(kExpression) + pattern.substr(2));
    else
      fields.refuse("dynamic", fmt::format("\"{}\": layers with parameters of their own are not supported", printable(pattern)));
}

static std::optional<QuantizationConfig> readInt4Groups(ObjectReader &fields, const std::string &method) {
  int64_t bits = 4, groupSize = 128;
  std::string format = method == "gptq" ? "gptq" : "gemm";
  std::string_view formatKey = method == "gptq" ? "checkpoint_format" : "version";
  bool zeroPoint = true;
  fields.read(method == "gptq" ? "bits" : fields.find("w_bit") ? "w_bit" : "bits", bits);
  fields.read("group_size", groupSize);
  fields.read(formatKey, format);
  fields.read("zero_point", zeroPoint);
  if (bits != 4)
    fields.refuse("bits", fmt::format("{} is not supported, only 4", bits));
  if (groupSize != -1 && (groupSize < 1 || groupSize > kMaxBlockSide))
    fields.refuse("group_size", fmt::format("{} is not in 1 .. {}, nor -1 for whole rows", groupSize, kMaxBlockSide));
  if (method == "awq" && !zeroPoint)
    fields.refuse("zero_point", "false is not supported: AWQ's checkpoints have zero points");
  bool isV2 = format == "gptq_v2";
  if (format != (method == "gptq" ? "gptq" : "gemm") && !(method == "gptq" && isV2))
    fields.refuse(formatKey, fmt::format("\"{}\" is not supported, only {}", printable(format),
                                         method == "gptq" ? "gptq, gptq_v2" : "gemm"));
  Scheme scheme = *findScheme(method == "awq" ? "awq-w4" : isV2 ? "gptq-v2-w4" : "gptq-w4");
  scheme.block = {1, std::max<int64_t>(groupSize, 0)};
  QuantizationConfig config = {everyLinear(scheme), {}};
  fields.read("modules_to_not_convert", config.notQuantized);
  if (method == "gptq")
    readDynamic(fields, config.notQuantized);
  return config;
}

//===----------------------------------------------------------------------===//
// Which one it is
//===----------------------------------------------------------------------===//

std::optional<QuantizationConfig> readQuantization(ObjectReader &fields) {
  std::string method;
  fields.require("quant_method");
  fields.read("quant_method", method);
  std::optional<QuantizationConfig> config;
  if (method == "compressed-tensors")
    config = readCompressedTensors(fields);
  else if (method == "gptq" || method == "awq")
    config = readInt4Groups(fields, method);
  else if (std::ranges::find(schemes(), method, &Scheme::method) != schemes().end())
    config = readBlocks(fields, method);
  if (!config && method == "compressed-tensors")
    fields.refuse("config_groups", "is not supported, only groups with weights of 4 or 8 bits in a known `format`");
  else if (!config)
    fields.refuse(
        "quant_method",
        fmt::format("\"{}\" is not supported, only fp8, blockwise_int8, compressed-tensors, gptq and awq", printable(method)));
  else if (auto checked = config->checkExpressions(); !checked)
    fields.refuse("quant_method", checked.error().message);
  return fields.failed() ? std::nullopt : config;
}

Result<QuantizationConfig> readSchemes(const json &config) {
  auto found = config.find("quantization_config");
  bool isNested = found != config.end() && !found->is_null();
  json quantization = isNested ? *found : json::object();
  if (!quantization.is_object())
    return fail(fmt::format("quantization_config: {} is not an object", shortText(quantization)));
  if (!isNested && config.contains("weight_block_size"))
    quantization["weight_block_size"] = config["weight_block_size"];
  if (quantization.empty())
    return QuantizationConfig{everyLinear(deepSeekFp8()), {}};
  quantization.emplace("quant_method", "fp8");
  ObjectReader fields(quantization, isNested ? "quantization_config." : "");
  std::optional<QuantizationConfig> read = readQuantization(fields);
  if (!read)
    return tl::unexpected(fields.result().error());
  return *read;
}

Result<Scheme> readScheme(const json &config) {
  QUANT_TRY_ASSIGN(QuantizationConfig read, readSchemes(config));
  return read.mainScheme();
}

} // namespace quant
