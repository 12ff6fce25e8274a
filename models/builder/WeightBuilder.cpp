//===- WeightBuilder.cpp - weights of the model stage ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/builder/WeightBuilder.h"

#include "dialects/program/Program.h"
#include "runtime/support/block_scale.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

using namespace mlir;
using namespace quant;
using namespace quant::models;

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

void WeightBuilder::complain(const std::string &message) {
  if (error.empty())
    error = message;
}

Type WeightBuilder::elementType(DType dtype) {
  switch (dtype) {
  case DType::F32:
    return builder.getF32Type();
  case DType::F16:
    return builder.getF16Type();
  case DType::BF16:
    return builder.getBF16Type();
  case DType::F8E4M3FN:
    return builder.getType<Float8E4M3FNType>();
  case DType::F8E5M2:
    return builder.getType<Float8E5M2Type>();
  case DType::F8E8M0FNU:
    return builder.getType<Float8E8M0FNUType>();
  case DType::F4E2M1FN:
    return builder.getType<Float4E2M1FNType>();
  case DType::I8:
    return builder.getI8Type();
  case DType::I32:
    return builder.getI32Type();
  case DType::U8:
    return builder.getIntegerType(8, /*isSigned=*/false);
  case DType::U4:
    return builder.getIntegerType(4, /*isSigned=*/false);
  default:
    return {};
  }
}

RankedTensorType WeightBuilder::typeOf(const std::string &name, ArrayRef<int64_t> shape, std::optional<DType> readAs) {
  auto found = tensors.find(name);
  if (found == tensors.end()) {
    complain("tensor '" + name + "' is missing: the configuration says that the model has it");
    return RankedTensorType::get(shape, builder.getF32Type());
  }
  Type element = elementType(readAs.value_or(found->second.dtype));
  if (ArrayRef(found->second.shape) != shape)
    complain(fmt::format("tensor '{}' has shape {}, the configuration says {}", name, shapeList(found->second.shape),
                         shapeList(shape)));
  if (!element || (element.isInteger(32) && !readAs))
    complain(
        fmt::format("tensor '{}' is of type {}, which the compiler does not read", name, safetensorsName(found->second.dtype)));
  return RankedTensorType::get(shape, element ? element : builder.getF32Type());
}

Value WeightBuilder::plain(const std::string &name, RankedTensorType type) { return weightOp({name, type}); }

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

std::optional<DType> WeightBuilder::dtypeOf(const std::string &name) const {
  auto found = tensors.find(name);
  return found == tensors.end() ? std::nullopt : std::optional(found->second.dtype);
}

WeightBuilder::Stored WeightBuilder::stored(const std::string &module) {
  const Scheme *scheme = config.quantization.schemeOf(module);
  Stored result{scheme ? *scheme : config.quantization.mainScheme(), module + ".weight", "", ""};
  const TensorSuffixes &suffixes = result.scheme.suffixes;
  if (!dtypeOf(result.data) && scheme)
    result.data = module + std::string(suffixes.data);
  auto dtype = dtypeOf(result.data);
  // DeepSeek-V4's routed experts stand beside its FP8 under one configuration.
  if (dtype == DType::I8 && isFp8(result.scheme.element) && result.scheme.method == "fp8")
    result.scheme = *findScheme("deepseek-v4-mxfp4");
  bool isByte = dtype == DType::U8 || dtype == DType::I8, isPairs = isByte && result.scheme.packing == Packing::Nibbles;
  if (!dtype || (!holdsCodes(*dtype) && !isPairs))
    return result;
  if (!config.isQuantized())
    complain(fmt::format("tensor '{}' is {}, but the configuration has no quantization_config, which says what its scales mean; "
                         "write it there",
                         result.data, safetensorsName(*dtype)));
  result.scale = findScaleName([&](const std::string &name) { return dtypeOf(name); }, result.data);
  if (result.scale.empty())
    result.scale = scaleNameOf(result.scheme, result.data);
  result.isPacked = *dtype == DType::I32 || isPairs;
  result.groups = module + (result.scheme.packing == Packing::WordsDown ? ".g_idx" : ".weight_g_idx");
  if (result.scheme.hasGlobalScale())
    result.global = module + std::string(suffixes.globalScale);
  if (!suffixes.zeroPoint.empty())
    result.zero = module + std::string(suffixes.zeroPoint);
  else if (*dtype == DType::I32)
    result.zeroConstant = int64_t(1) << (bitWidth(result.scheme.element) - 1);
  return result;
}

WeightBuilder::Part WeightBuilder::turned(const std::string &name, Repack repack, DType dtype, int64_t rows, int64_t columns) {
  Result<StoredShape> stored = storedShape(repack, dtype, rows, columns);
  if (!stored)
    complain(fmt::format("tensor '{}': {}", name, stored.error().message));
  else if (typeOf(name, stored->shape, dtype); dtypeOf(name).value_or(stored->dtype) != stored->dtype)
    complain(
        fmt::format("tensor '{}' is of type {}, not {}", name, safetensorsName(*dtypeOf(name)), safetensorsName(stored->dtype)));
  return {name, RankedTensorType::get({rows, columns}, elementType(dtype)), repack};
}

WeightBuilder::Part WeightBuilder::pairsOf(const Stored &tensor, int64_t out, int64_t in) {
  typeOf(tensor.data, storedCodes(tensor.scheme, out, in).shape, DType::F32);
  if (in % 2 != 0)
    complain(fmt::format("tensor '{}': rows of {} codes do not fill bytes, which is not compiled", tensor.data, in));
  return {tensor.data, RankedTensorType::get({out, in}, elementType(tensor.scheme.element))};
}

WeightBuilder::Part WeightBuilder::codesOf(const Stored &tensor, int64_t out, int64_t in) {
  if (!tensor.isPacked)
    return {tensor.data, typeOf(tensor.data, {out, in})};
  if (tensor.scheme.packing == Packing::Nibbles)
    return pairsOf(tensor, out, in);
  int64_t bits = bitWidth(tensor.scheme.element);
  DType dtype = bits == 4 ? DType::U4 : DType::U8;
  if (tensor.scheme.packing == Packing::WordsDown)
    return turned(tensor.data, Repack::GptqCodes, dtype, out, in);
  if (tensor.scheme.packing == Packing::WordsAcross)
    return turned(tensor.data, Repack::AwqCodes, dtype, out, in);
  typeOf(tensor.data, storedCodes(tensor.scheme, out, in).shape, dtype);
  if (in * bits % 32 != 0)
    complain(fmt::format("tensor '{}': rows of {} codes do not fill words of 32 bits, which is not compiled", tensor.data, in));
  return {tensor.data, RankedTensorType::get({out, in}, elementType(dtype))};
}

WeightBuilder::Part WeightBuilder::scalesOf(const Stored &tensor, int64_t out, int64_t in) {
  auto shape = scaleShape(tensor.scheme.block, out, in);
  auto stored = dtypeOf(tensor.scale);
  DType dtype = stored.value_or(DType::F32) == DType::U8 ? DType::F8E8M0FNU : stored.value_or(DType::F32);
  if (!holdsScales(dtype, !tensor.global.empty())) {
    complain(fmt::format("tensor '{}' is of type {}, scales are F32, BF16, F16{} or F8_E8M0", tensor.scale,
                         safetensorsName(dtype), tensor.global.empty() ? "" : ", F8_E4M3"));
    dtype = DType::F32;
  }
  if (tensor.scheme.packing == Packing::WordsDown || tensor.scheme.packing == Packing::WordsAcross)
    return turned(tensor.scale, Repack::Transposed, dtype, shape[0], shape[1]);
  // One scale of a whole weight is stored as [1].
  bool isOne = shape == std::vector<int64_t>{1, 1} && stored && tensors.at(tensor.scale).shape == std::vector<int64_t>{1};
  return {tensor.scale, isOne ? RankedTensorType::get(shape, elementType(dtype)) : typeOf(tensor.scale, shape, dtype)};
}

WeightBuilder::Part WeightBuilder::zerosOf(const Stored &tensor, int64_t out, int64_t in) {
  auto repack = [&] {
    switch (tensor.scheme.zeroPoints) {
    case ZeroPoints::PackedDown:
      return bitWidth(tensor.scheme.element) == 4 ? Repack::WordsDown4 : Repack::WordsDown8;
    case ZeroPoints::LessOne:
      return Repack::GptqZerosLessOne;
    case ZeroPoints::AsCodes:
      return tensor.scheme.packing == Packing::WordsAcross ? Repack::AwqZeros : Repack::GptqZeros;
    case ZeroPoints::None:
      break;
    }
    return Repack::None;
  };
  auto shape = scaleShape(tensor.scheme.block, out, in);
  return turned(tensor.zero, repack(), DType::U8, shape[0], shape[1]);
}

WeightBuilder::Part WeightBuilder::globalOf(const Stored &tensor) {
  RankedTensorType stored = typeOf(tensor.global, {1});
  if (!stored.getElementType().isF32())
    complain(
        fmt::format("tensor '{}' is of type {}, a global scale is F32", tensor.global, safetensorsName(*dtypeOf(tensor.global))));
  return {tensor.global, RankedTensorType::get({1, 1}, builder.getF32Type())};
}

WeightBuilder::Part WeightBuilder::orderOf(const std::string &module, int64_t columns) {
  Stored tensor = stored(module);
  Part part = turned(tensor.groups, Repack::ColumnOrder, DType::I32, 1, columns);
  part.groupSize = tensor.scheme.block[1] ? tensor.scheme.block[1] : columns;
  return part;
}

Value WeightBuilder::assemble(const Stored &tensor, int64_t out, int64_t in, int64_t experts, const std::string &order,
                              function_ref<Value(const Part &)> load) {
  Part codes = codesOf(tensor, out, in);
  codes.order = order;
  if (dtypeOf(tensor.groups))
    typeOf(tensor.groups, {in}, DType::I32);
  Value data = load(codes);
  if (tensor.scale.empty())
    return data;
  Value scale = load(scalesOf(tensor, out, in)), zero = tensor.zero.empty() ? Value() : load(zerosOf(tensor, out, in)),
        global = tensor.global.empty() ? Value() : load(globalOf(tensor));
  auto elementOf = [](Value value) { return value ? cast<RankedTensorType>(value.getType()).getElementType() : Type(); };
  SmallVector<int64_t> block;
  for (int64_t side : tensor.scheme.block)
    block.push_back(side ? side : ShapedType::kDynamic);
  if (experts)
    block.insert(block.begin(), 1);
  ArrayRef<int64_t> shape = cast<RankedTensorType>(data.getType()).getShape();
  auto type = qblock::BlockTensorType::get(shape, elementOf(data), block, elementOf(scale), elementOf(zero),
                                           /*kMajorScales=*/false, tensor.zeroConstant, elementOf(global));
  Value assembled = qblock::AssembleOp::create(builder, type, data, scale, zero, global);
  return qblock::DequantizeOp::create(builder, RankedTensorType::get(shape, builder.getF32Type()), assembled);
}

std::tuple<StringAttr, StringAttr, IntegerAttr> WeightBuilder::turningOf(const Part &part, const std::string &order) {
  return {part.repack == Repack::None ? StringAttr() : builder.getStringAttr(quant::name(part.repack)),
          order.empty() ? StringAttr() : builder.getStringAttr(order),
          part.groupSize ? builder.getI64IntegerAttr(part.groupSize) : IntegerAttr()};
}

Value WeightBuilder::weightOp(const Part &part) {
  auto [repack, order, groupSize] = turningOf(part, part.order);
  return program::WeightOp::create(builder, part.type, part.name, ArrayAttr(), repack, order, groupSize);
}

Value WeightBuilder::weightGroupOp(const Part &part, const std::string &experts, const std::string &first) {
  SmallVector<int64_t> shape{config.nRoutedExperts};
  llvm::append_range(shape, part.type.getShape());
  auto ofAll = [&](const std::string &name) { return name.empty() ? name : experts + "{}." + name.substr(first.size()); };
  auto [repack, order, groupSize] = turningOf(part, ofAll(part.order));
  return program::WeightGroupOp::create(builder, RankedTensorType::get(shape, part.type.getElementType()), ofAll(part.name),
                                        repack, order, groupSize);
}

Value WeightBuilder::weight(const std::string &module, int64_t out, int64_t in, const std::string &order) {
  return assemble(stored(module), out, in, 0, order, [&](const Part &part) { return weightOp(part); });
}

WeightBuilder::Ordered WeightBuilder::expertWeights(const std::string &experts, const std::string &projection, int64_t out,
                                                    int64_t in, const Ordered *other) {
  std::string first = experts + "0.";
  auto load = [&](const Part &part) { return weightGroupOp(part, experts, first); };
  Stored tensor = stored(first + projection);
  Ordered result;
  for (int64_t expert = 0; expert < config.nRoutedExperts; ++expert)
    if (size_t hash = columnOrder(fmt::format("{}{}.{}", experts, expert, projection)))
      result.hash = llvm::hash_combine(result.hash, expert, hash);
  if (result.hash) {
    bool hasOther = other && other->order, isSame = hasOther && other->hash == result.hash;
    if (hasOther && !isSame)
      sayApart(experts + projection);
    result.name = isSame ? other->name : tensor.groups;
    result.order = isSame ? other->order : load(orderOf(first + projection, in));
  }
  result.weight = assemble(tensor, out, in, config.nRoutedExperts, result.name, load);
  return result;
}

size_t WeightBuilder::columnOrder(const std::string &module) const {
  auto found = options.columnOrders.find(module);
  return found == options.columnOrders.end() ? 0 : found->second;
}

void WeightBuilder::sayApart(const std::string &module) {
  if (apart++ == 0)
    firstApart = module;
}

std::pair<Value, std::string> WeightBuilder::inputOf(const std::string &module, Value x, int64_t in) {
  size_t hash = columnOrder(module);
  if (!hash)
    return {x, ""};
  auto readsSame = [&](const Gathered &other) { return other.source == x; };
  auto found = llvm::find_if(gathered, [&](const Gathered &other) { return readsSame(other) && other.hash == hash; });
  if (found != gathered.end())
    return {found->value, found->order};
  if (llvm::any_of(gathered, readsSame))
    sayApart(module);
  Part order = orderOf(module, in);
  Value value = qblock::GatherColumnsOp::create(builder, x.getType(), x, weightOp(order), ValueRange());
  gathered.push_back({x, value, hash, order.name});
  return {value, order.name};
}
