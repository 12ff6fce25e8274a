//===- Builder.cpp - from a configuration to the model stage --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/builder/WeightBuilder.h"

#include "dialects/deepseek/LatentCache.h"
#include "dialects/program/Program.h"
#include "models/rope.h"
#include "models/tensors.h"
#include "runtime/abi/kernel_abi.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

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

class ModelBuilder : WeightBuilder {
public:
  ModelBuilder(MLIRContext &context, const ModelConfig &config, const TensorTypes &tensors, const BuildOptions &options)
      : WeightBuilder(context, config, tensors, options) {}

  Result<OwningOpRef<ModuleOp>> build() {
    OwningOpRef<ModuleOp> module = ModuleOp::create(builder.getLoc());
    builder.setInsertionPointToEnd(module->getBody());
    buildProgram(options.withDraft ? kForwardOfDraft : kForward);
    if (options.withDraft) {
      builder.setInsertionPointToEnd(module->getBody());
      buildProgram(kDraft);
    }
    if (!error.empty())
      return fail(error);
    if (apart && options.notes)
      options.notes->push_back(
          fmt::format("{} projection(s), as {}, have columns in another order than those that read the same: "
                      "they are multiplied apart",
                      apart, firstApart));
    return module;
  }

private:
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

  Value linear(const std::string &module, Value x, int64_t out, int64_t in) {
    at(module);
    auto [input, order] = inputOf(module, x, in);
    return qblock::MatmulOp::create(builder, rows(out), input, weight(module, out, in, order));
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
    // The latents may stand in any order: in that of kv_b's columns.
    auto [latents, order] = inputOf(prefix + "kv_b_proj", kvA, latent);
    std::string gammaName = prefix + "kv_a_layernorm.weight";
    Value gamma = weightOp({gammaName, typeOf(gammaName, {latent}), Repack::None, order});
    Value kvB = weight(prefix + "kv_b_proj", heads * (nope + v), latent, order);
    MemRefType cacheType = deepseek::cacheType(builder.getContext(), options.cache, latent, ropeDim);
    auto format = cacheType.getElementType().isInteger() ? builder.getAttr<deepseek::CacheFormatAttr>(options.cache)
                                                         : deepseek::CacheFormatAttr();
    Value cache = program::CacheOp::create(builder, cacheType, fmt::format("kv.{}", layer));
    Value attended = deepseek::MlaAttentionOp::create(
        builder, rows(heads * v), q, latents, gamma, kvB, rope, cache, positions, sequences, pages, heads, nope, ropeDim, v,
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
    Ordered gateWeights = expertWeights(experts, "gate_proj", inner, config.dim),
            upWeights = expertWeights(experts, "up_proj", inner, config.dim, &gateWeights),
            downWeights = expertWeights(experts, "down_proj", config.dim, inner);
    Value routed =
        deepseek::ExpertsOp::create(builder, rows(config.dim), x, gate.getIds(), gate.getWeights(), gateWeights.weight,
                                    upWeights.weight, downWeights.weight, gateWeights.order, upWeights.order, downWeights.order);
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
  return ModelBuilder(context, config, tensors, options).build();
}
