//===- Builder.cpp - from a configuration to the model stage --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/builder/Builder.h"

#include "dialects/deepseek/LatentCache.h"
#include "dialects/program/Program.h"
#include "models/rope.h"
#include "models/tensors.h"
#include "runtime/abi/kernel_abi.h"
#include "runtime/abi/repack.h"
#include "runtime/support/block_scale.h"
#include "runtime/support/text.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

#include <fmt/core.h>

using namespace mlir;
using namespace quant;
using namespace quant::models;

models::TensorTypes models::tensorTypes(const ModelConfig &config) {
  TensorTypes result;
  for (const TensorSpec &spec : checkpointTensors(config))
    result[spec.name] = {spec.dtype, spec.shape};
  return result;
}

models::TensorTypes models::tensorTypes(const checkpoint::Checkpoint &checkpoint) {
  TensorTypes result;
  for (const auto &tensor : checkpoint.tensors())
    result[tensor.info->name] = {tensor.info->dtype, tensor.info->shape};
  return result;
}

namespace {

class ModelBuilder {
public:
  ModelBuilder(MLIRContext &context, const ModelConfig &config, const TensorTypes &tensors, deepseek::CacheFormat cacheFormat)
      : builder(UnknownLoc::get(&context), &context), config(config), tensors(tensors), cacheFormat(cacheFormat) {}

  Result<OwningOpRef<ModuleOp>> build(bool withDraft) {
    OwningOpRef<ModuleOp> module = ModuleOp::create(builder.getLoc());
    builder.setInsertionPointToEnd(module->getBody());
    buildProgram(withDraft ? kForwardOfDraft : kForward);
    if (withDraft) {
      builder.setInsertionPointToEnd(module->getBody());
      buildProgram(kDraft);
    }
    if (!error.empty())
      return fail(error);
    return module;
  }

private:
  ImplicitLocOpBuilder builder;
  const ModelConfig &config;
  const TensorTypes &tensors;
  const deepseek::CacheFormat cacheFormat;
  std::string error; // the first one
  Value idsValue, positions, sequences, pages, rope;
  int64_t firstPosition = 0; // of the keys of the layer that is built

  //===--- Programs ---===//

  enum ProgramKind {
    kForward,        ///< tokens to logits
    kForwardOfDraft, ///< and each token's state, for the draft
    kDraft           ///< tokens and the states of those before them to logits
  };

  void buildProgram(ProgramKind kind) {
    using program::Dim;
    builder.setLoc(UnknownLoc::get(builder.getContext()));
    auto ids = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
    int64_t pagesOfContext = (config.maxSeqLen + abi::kPageRows - 1) / abi::kPageRows;
    auto table = RankedTensorType::get({ShapedType::kDynamic, pagesOfContext}, builder.getI32Type());
    struct NamedValue {
      StringRef name;
      Dim dim;
      Type type;
    };
    SmallVector<NamedValue> inputs = {{"tokens", Dim::Tokens, ids},
                                      {"positions", Dim::Tokens, ids},
                                      {"sequences", Dim::Tokens, ids},
                                      {"pages", Dim::Sequences, table},
                                      {"selected", Dim::Outputs, ids}};
    SmallVector<NamedValue> outputs = {{"logits", Dim::Outputs, rows(config.vocabSize)}};
    if (kind == kDraft)
      inputs.push_back({"states", Dim::Tokens, rows(config.dim)});
    if (kind == kForwardOfDraft)
      outputs.push_back({"states", Dim::Tokens, rows(config.dim)});
    auto typesOf = [](ArrayRef<NamedValue> values) {
      return llvm::map_to_vector(values, [](const NamedValue &value) { return value.type; });
    };
    auto function = func::FuncOp::create(builder, kind == kDraft ? program::kDraftName : program::kForwardName,
                                         builder.getFunctionType(typesOf(inputs), typesOf(outputs)));
    for (auto [index, input] : llvm::enumerate(inputs)) {
      function.setArgAttr(index, program::kNameAttr, builder.getStringAttr(input.name));
      function.setArgAttr(index, program::kDimAttr, builder.getAttr<program::DimAttr>(input.dim));
    }
    for (auto [index, output] : llvm::enumerate(outputs)) {
      // A program's only result needs no name.
      if (outputs.size() > 1)
        function.setResultAttr(index, program::kNameAttr, builder.getStringAttr(output.name));
      function.setResultAttr(index, program::kDimAttr, builder.getAttr<program::DimAttr>(output.dim));
    }
    function->setAttr(program::kMaxContextAttr, builder.getI64IntegerAttr(config.maxSeqLen));
    Block *entry = function.addEntryBlock();
    builder.setInsertionPointToStart(entry);
    idsValue = entry->getArgument(0);
    positions = entry->getArgument(1);
    sequences = entry->getArgument(2);
    pages = entry->getArgument(3);
    Value selected = entry->getArgument(4);
    func::ReturnOp::create(builder, kind == kDraft ? SmallVector<Value>{emitDraft(selected, entry->getArgument(5))}
                                                   : emitForward(selected, /*withStates=*/kind == kForwardOfDraft));
  }

  //===--- Small helpers ---===//

  /// What is built next belongs to this part of the model; kernels and profiles show the name.
  void at(const std::string &name) { builder.setLoc(NameLoc::get(builder.getStringAttr(name))); }

  RankedTensorType rows(int64_t columns) { return RankedTensorType::get({ShapedType::kDynamic, columns}, builder.getF32Type()); }
  void complain(const std::string &message) {
    if (error.empty())
      error = message;
  }

  Type elementType(DType dtype) {
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
    case DType::U8:
      return builder.getIntegerType(8, /*isSigned=*/false);
    case DType::U4:
      return builder.getIntegerType(4, /*isSigned=*/false);
    default:
      return {};
    }
  }

  /// The type of the tensor `name`, which must have this shape. `readAs`, if there is one, is what its elements are.
  RankedTensorType typeOf(const std::string &name, ArrayRef<int64_t> shape, std::optional<DType> readAs = {}) {
    auto found = tensors.find(name);
    if (found == tensors.end()) {
      complain("tensor '" + name + "' is missing: the configuration says that the model has it");
      return RankedTensorType::get(shape, builder.getF32Type());
    }
    Type element = elementType(readAs.value_or(found->second.dtype));
    if (ArrayRef(found->second.shape) != shape)
      complain(fmt::format("tensor '{}' has shape {}, the configuration says {}", name, shapeList(found->second.shape),
                           shapeList(shape)));
    if (!element)
      complain(
          fmt::format("tensor '{}' is of type {}, which the compiler does not read", name, safetensorsName(found->second.dtype)));
    return RankedTensorType::get(shape, element ? element : builder.getF32Type());
  }

  Value plain(const std::string &name, RankedTensorType type) {
    return program::WeightOp::create(builder, type, name, ArrayAttr(), StringAttr());
  }
  Value vector(const std::string &name, int64_t size) { return plain(name, typeOf(name, {size})); }

  //===--- Weights ---===//

  /// One tensor of a linear layer's weight, and what kernels see of it.
  struct Part {
    std::string name;
    RankedTensorType type;
    Repack repack = Repack::None;
  };

  /// How a linear layer is stored.
  struct Stored {
    Scheme scheme;
    std::string data, scale, zero; ///< names of the tensors; no scale: the weight is not quantized
    bool isPacked = false;         ///< codes of fewer bits, or unsigned ones, in words of 32 bits or two in a byte
    int64_t zeroConstant = 0;      ///< what packed codes of signed numbers are more than these
  };

  std::optional<DType> dtypeOf(const std::string &name) const {
    auto found = tensors.find(name);
    return found == tensors.end() ? std::nullopt : std::optional(found->second.dtype);
  }

  /// How the linear layer `module` is stored.
  Stored stored(const std::string &module) {
    const Scheme *scheme = config.quantization.schemeOf(module);
    Stored result{scheme ? *scheme : config.quantization.mainScheme(), module + ".weight", "", ""};
    const TensorSuffixes &suffixes = result.scheme.suffixes;
    if (!dtypeOf(result.data) && scheme)
      result.data = module + std::string(suffixes.data);
    auto dtype = dtypeOf(result.data);
    bool isPairs = dtype == DType::U8 && scheme && scheme->packing == Packing::Nibbles;
    if (!dtype || (!holdsCodes(*dtype) && !isPairs))
      return result;
    if (!config.isQuantized())
      complain(
          fmt::format("tensor '{}' is {}, but the configuration has no quantization_config, which says what its scales mean; "
                      "write it there",
                      result.data, safetensorsName(*dtype)));
    result.scale = findScaleName([&](const std::string &name) { return dtypeOf(name); }, result.data);
    if (result.scale.empty())
      result.scale = scaleNameOf(result.scheme, result.data);
    result.isPacked = *dtype == DType::I32 || isPairs;
    if (!suffixes.zeroPoint.empty())
      result.zero = module + std::string(suffixes.zeroPoint);
    else if (*dtype == DType::I32)
      result.zeroConstant = int64_t(1) << (bitWidth(result.scheme.element) - 1);
    return result;
  }

  /// The tensor `name`, which becomes `dtype` [rows, columns] when it is loaded.
  Part turned(const std::string &name, Repack repack, DType dtype, int64_t rows, int64_t columns) {
    Result<StoredShape> stored = storedShape(repack, dtype, rows, columns);
    if (!stored)
      complain(fmt::format("tensor '{}': {}", name, stored.error().message));
    else if (typeOf(name, stored->shape, dtype); dtypeOf(name).value_or(stored->dtype) != stored->dtype)
      complain(fmt::format("tensor '{}' is of type {}, not {}", name, safetensorsName(*dtypeOf(name)),
                           safetensorsName(stored->dtype)));
    return {name, RankedTensorType::get({rows, columns}, elementType(dtype)), repack};
  }

  /// Codes that lie two in a byte.
  Part pairsOf(const Stored &tensor, int64_t out, int64_t in) {
    typeOf(tensor.data, storedCodes(tensor.scheme, out, in).shape, DType::F32);
    if (in % 2 != 0)
      complain(fmt::format("tensor '{}': rows of {} codes do not fill bytes, which is not compiled", tensor.data, in));
    return {tensor.data, RankedTensorType::get({out, in}, elementType(tensor.scheme.element))};
  }

  /// A layer's codes, out x in, which may be packed in words.
  Part codesOf(const Stored &tensor, int64_t out, int64_t in) {
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

  /// A layer's scales. Those that are stored as U8 are powers of two (MX formats).
  Part scalesOf(const Stored &tensor, int64_t out, int64_t in) {
    auto shape = scaleShape(tensor.scheme.block, out, in);
    if (tensor.scheme.hasGlobalScale())
      return turned(tensor.scale, Repack::Nvfp4Scales, DType::F32, shape[0], shape[1]);
    auto stored = dtypeOf(tensor.scale);
    DType dtype = stored.value_or(DType::F32) == DType::U8 ? DType::F8E8M0FNU : stored.value_or(DType::F32);
    if (!holdsScales(dtype)) {
      complain(
          fmt::format("tensor '{}' is of type {}, scales are F32, BF16, F16 or F8_E8M0", tensor.scale, safetensorsName(dtype)));
      dtype = DType::F32;
    }
    if (tensor.scheme.packing == Packing::WordsDown || tensor.scheme.packing == Packing::WordsAcross)
      return turned(tensor.scale, Repack::Transposed, dtype, shape[0], shape[1]);
    // One scale of a whole weight is stored as [1].
    bool isOne = shape == std::vector<int64_t>{1, 1} && stored && tensors.at(tensor.scale).shape == std::vector<int64_t>{1};
    return {tensor.scale, isOne ? RankedTensorType::get(shape, elementType(dtype)) : typeOf(tensor.scale, shape, dtype)};
  }

  /// The zero points of a layer that has any.
  Part zerosOf(const Stored &tensor, int64_t out, int64_t in) {
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

  /// The layer's weight, from what `load` makes of its parts. `experts` is 0 for a single one.
  Value assemble(const Stored &tensor, int64_t out, int64_t in, int64_t experts, function_ref<Value(const Part &)> load) {
    Value data = load(codesOf(tensor, out, in));
    if (tensor.scale.empty())
      return data;
    Value scale = load(scalesOf(tensor, out, in)), zero = tensor.zero.empty() ? Value() : load(zerosOf(tensor, out, in));
    auto elementOf = [](Value value) { return value ? cast<RankedTensorType>(value.getType()).getElementType() : Type(); };
    SmallVector<int64_t> block;
    for (int64_t side : tensor.scheme.block)
      block.push_back(side ? side : ShapedType::kDynamic);
    if (experts)
      block.insert(block.begin(), 1);
    ArrayRef<int64_t> shape = cast<RankedTensorType>(data.getType()).getShape();
    auto type = qblock::BlockTensorType::get(shape, elementOf(data), block, elementOf(scale), elementOf(zero),
                                             /*kMajorScales=*/false, tensor.zeroConstant);
    Value assembled = qblock::AssembleOp::create(builder, type, data, scale, zero);
    return qblock::DequantizeOp::create(builder, RankedTensorType::get(shape, builder.getF32Type()), assembled);
  }

  StringAttr repackAttr(const Part &part) {
    return part.repack == Repack::None ? StringAttr() : builder.getStringAttr(quant::name(part.repack));
  }

  /// The weight of a linear layer, out x in.
  Value weight(const std::string &module, int64_t out, int64_t in) {
    return assemble(stored(module), out, in, 0, [&](const Part &part) -> Value {
      return program::WeightOp::create(builder, part.type, part.name, ArrayAttr(), repackAttr(part));
    });
  }

  /// The same weight of all experts, experts x out x in; they are stored as the first one is.
  Value expertWeights(const std::string &experts, const std::string &projection, int64_t out, int64_t in) {
    std::string first = experts + "0.";
    return assemble(stored(first + projection), out, in, config.nRoutedExperts, [&](const Part &part) -> Value {
      SmallVector<int64_t> shape{config.nRoutedExperts};
      llvm::append_range(shape, part.type.getShape());
      return program::WeightGroupOp::create(builder, RankedTensorType::get(shape, part.type.getElementType()),
                                            experts + "{}." + part.name.substr(first.size()), repackAttr(part));
    });
  }

  Value linear(const std::string &module, Value x, int64_t out, int64_t in) {
    at(module);
    return qblock::MatmulOp::create(builder, rows(out), x, weight(module, out, in));
  }

  Value norm(const std::string &module, Value x, int64_t size, double eps) {
    at(module);
    return deepseek::RmsNormOp::create(builder, x, vector(module + ".weight", size), eps).getResult();
  }

  Value addResidual(const std::string &name, Value x, Value residual) {
    at(name);
    return arith::AddFOp::create(builder, residual, x);
  }

  //===--- The model ---===//

  Value emitEmbedding() {
    at("embed_tokens");
    return deepseek::EmbedOp::create(builder, rows(config.dim), idsValue, embeddingTable());
  }

  Value embeddingTable() {
    std::string table = "model.embed_tokens.weight";
    return plain(table, typeOf(table, {config.vocabSize, config.dim}));
  }

  void emitRope() {
    at("rope");
    rope = deepseek::RopeTableOp::create(builder, rows(config.qkRopeHeadDim), positions,
                                         builder.getDenseF64ArrayAttr(yarnInverseFrequencies(config)),
                                         builder.getF64FloatAttr(yarnCosSinFactor(config)));
  }

  Value emitSelection(Value hidden, Value selected) {
    at("select_tokens");
    return deepseek::SelectTokensOp::create(builder, rows(config.dim), hidden, selected);
  }

  Value emitHead(Value hidden) {
    if (!config.tieWordEmbeddings)
      return linear("lm_head", hidden, config.vocabSize, config.dim);
    at("lm_head");
    return qblock::MatmulOp::create(builder, rows(config.vocabSize), hidden, embeddingTable());
  }

  /// The logits of the selected tokens; with states, also what the last norm makes of each token, which the draft goes on from.
  SmallVector<Value> emitForward(Value selected, bool withStates) {
    firstPosition = 0;
    Value hidden = emitEmbedding();
    emitRope();
    for (int64_t layer = 0; layer < config.nLayers; ++layer)
      hidden = emitLayer(layer, hidden);
    auto lastNorm = [&](Value x) { return norm("model.norm", x, config.dim, config.rmsNormEps); };
    if (!withStates)
      return {emitHead(lastNorm(emitSelection(hidden, selected)))};
    Value states = lastNorm(hidden);
    return {emitHead(emitSelection(states, selected)), states};
  }

  /// The multi-token prediction layer (DeepSeek-V3, arXiv:2412.19437, 2.2): from a token and the state of the one before it, the
  /// logits of the next token. Embedding and head are the model's.
  Value emitDraft(Value selected, Value states) {
    firstPosition = 1;
    std::string prefix = fmt::format("model.layers.{}.", config.nLayers);
    Value embedded = norm(prefix + "enorm", emitEmbedding(), config.dim, config.rmsNormEps);
    Value before = norm(prefix + "hnorm", states, config.dim, config.rmsNormEps);
    at(prefix + "concat");
    Value both = deepseek::ConcatOp::create(builder, rows(2 * config.dim), embedded, before);
    Value hidden = linear(prefix + "eh_proj", both, config.dim, 2 * config.dim);
    emitRope();
    hidden = emitSelection(emitLayer(config.nLayers, hidden), selected);
    return emitHead(norm(prefix + "shared_head.norm", hidden, config.dim, config.rmsNormEps));
  }

  Value emitLayer(int64_t layer, Value hidden) {
    std::string prefix = fmt::format("model.layers.{}.", layer);
    Value normed = norm(prefix + "input_layernorm", hidden, config.dim, config.rmsNormEps);
    hidden = addResidual(prefix + "attention_residual", emitAttention(layer, prefix + "self_attn.", normed), hidden);
    normed = norm(prefix + "post_attention_layernorm", hidden, config.dim, config.rmsNormEps);
    Value ffn =
        config.isMoeLayer(layer) ? emitExperts(prefix + "mlp.", normed) : emitMlp(prefix + "mlp.", normed, config.interDim);
    return addResidual(prefix + "mlp_residual", ffn, hidden);
  }

  Value emitAttention(int64_t layer, const std::string &prefix, Value x) {
    int64_t heads = config.nHeads, nope = config.qkNopeHeadDim, ropeDim = config.qkRopeHeadDim, v = config.vHeadDim;
    int64_t latent = config.kvLoraRank;
    Value q;
    if (config.qLoraRank) {
      Value qA = linear(prefix + "q_a_proj", x, config.qLoraRank, config.dim);
      qA = norm(prefix + "q_a_layernorm", qA, config.qLoraRank, kLatentNormEps);
      q = linear(prefix + "q_b_proj", qA, heads * (nope + ropeDim), config.qLoraRank);
    } else {
      q = linear(prefix + "q_proj", x, heads * (nope + ropeDim), config.dim);
    }
    Value kvA = linear(prefix + "kv_a_proj_with_mqa", x, latent + ropeDim, config.dim);
    at(prefix + "attention");
    Value gamma = vector(prefix + "kv_a_layernorm.weight", latent);
    Value kvB = weight(prefix + "kv_b_proj", heads * (nope + v), latent);
    MemRefType cacheType = deepseek::cacheType(builder.getContext(), cacheFormat, latent, ropeDim);
    auto format = cacheType.getElementType().isInteger() ? builder.getAttr<deepseek::CacheFormatAttr>(cacheFormat)
                                                         : deepseek::CacheFormatAttr();
    Value cache = program::CacheOp::create(builder, cacheType, fmt::format("kv.{}", layer));
    Value attended = deepseek::MlaAttentionOp::create(
        builder, rows(heads * v), q, kvA, gamma, kvB, rope, cache, positions, sequences, pages, heads, nope, ropeDim, v,
        llvm::APFloat(kLatentNormEps), llvm::APFloat(softmaxScale(config)), config.ropeInterleave, format, firstPosition);
    return linear(prefix + "o_proj", attended, config.dim, heads * v);
  }

  Value emitMlp(const std::string &prefix, Value x, int64_t inner) {
    Value gate = linear(prefix + "gate_proj", x, inner, config.dim);
    Value up = linear(prefix + "up_proj", x, inner, config.dim);
    at(prefix + "swiglu");
    Value h = deepseek::SwigluOp::create(builder, gate, up).getResult();
    return linear(prefix + "down_proj", h, config.dim, inner);
  }

  Value emitExperts(const std::string &prefix, Value x) {
    int64_t topK = config.nActivatedExperts, inner = config.moeInterDim;
    Value logits = linear(prefix + "gate", x, config.nRoutedExperts, config.dim);
    at(prefix + "gate");
    Value bias = config.hasGateBias() ? vector(prefix + "gate.e_score_correction_bias", config.nRoutedExperts) : Value();
    auto ids = RankedTensorType::get({ShapedType::kDynamic, topK}, builder.getI32Type());
    bool sigmoid = config.scoreFunc == ScoreFunc::Sigmoid, sums = config.groupScore() == GroupScore::SumOfTop2;
    auto gate = deepseek::MoeGateOp::create(
        builder, ids, rows(topK), logits, bias, topK, config.nExpertGroups, config.nLimitedGroups,
        sigmoid ? deepseek::ScoreFunc::Sigmoid : deepseek::ScoreFunc::Softmax,
        sums ? deepseek::GroupScore::Top2Sum : deepseek::GroupScore::Max, config.normTopkProb, llvm::APFloat(config.routeScale));
    at(prefix + "experts");
    std::string experts = prefix + "experts.";
    Value gateWeights = expertWeights(experts, "gate_proj", inner, config.dim),
          upWeights = expertWeights(experts, "up_proj", inner, config.dim),
          downWeights = expertWeights(experts, "down_proj", config.dim, inner);
    Value routed = deepseek::ExpertsOp::create(builder, rows(config.dim), x, gate.getIds(), gate.getWeights(), gateWeights,
                                               upWeights, downWeights);
    if (config.nSharedExperts == 0)
      return routed;
    Value shared = emitMlp(prefix + "shared_experts.", x, config.nSharedExperts * inner);
    return addResidual(prefix + "shared_experts_sum", shared, routed);
  }
};

} // namespace

Result<OwningOpRef<ModuleOp>> models::buildModel(MLIRContext &context, const ModelConfig &config, const TensorTypes &tensors,
                                                 const BuildOptions &options) {
  context.loadDialect<arith::ArithDialect, func::FuncDialect, qblock::QBlockDialect, deepseek::DeepSeekDialect,
                      program::ProgramDialect>();
  return ModelBuilder(context, config, tensors, options.cache).build(options.withDraft);
}
