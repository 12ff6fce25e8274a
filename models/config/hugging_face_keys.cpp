//===- hugging_face_keys.cpp - which keys of config.json are read ---------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/hugging_face_keys.h"

#include "models/config/fields.h"
#include "runtime/support/object_reader.h"

#include <fmt/core.h>

#include <algorithm>

using namespace quant;
using namespace quant::models;

using nlohmann::json;

/// Keys that are read beside the numbers of the tables.
static constexpr std::string_view kOtherKeys[] = {"model_type",
                                                  "scoring_func",
                                                  "topk_method",
                                                  "norm_topk_prob",
                                                  "tie_word_embeddings",
                                                  "rope_interleave",
                                                  "bos_token_id",
                                                  "eos_token_id",
                                                  "hidden_act",
                                                  "attention_bias",
                                                  "mlp_bias",
                                                  "moe_layer_freq",
                                                  "num_key_value_heads",
                                                  "rope_scaling",
                                                  "rope_parameters",
                                                  "torch_dtype",
                                                  "dtype",
                                                  "partial_rotary_factor",
                                                  "use_mla",
                                                  "qk_head_dim",
                                                  "quantization_config",
                                                  "num_local_experts"};

/// What does not change the logits: names and versions, training, generation, how other programs run it. head_dim is derived
/// (DeepseekV3Config sets it to qk_rope_head_dim).
static constexpr std::string_view kHarmlessKeys[] = {
    // Names and versions.
    "architectures", "auto_map", "transformers_version", "name_or_path", "tokenizer_class", "id2label", "label2id", "num_labels",
    "finetuning_task", "problem_type", "task_specific_params", "unsloth_fixed", "unsloth_version", "model_name", "license",
    // Training.
    "attention_dropout", "hidden_dropout", "initializer_range", "aux_loss_alpha", "seq_aux", "router_aux_loss_coef",
    "router_z_loss_coef", "output_router_logits", "gradient_checkpointing", "moe_aux_loss_coeff",
    // How it is run.
    "ep_size", "pretraining_tp", "use_cache", "head_dim", "attn_implementation", "max_window_layers", "use_bfloat16",
    "torchscript", "tf_legacy_loss", "return_dict", "output_attentions", "output_hidden_states", "pruned_heads",
    "chunk_size_feed_forward", "is_decoder", "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size",
    "tie_encoder_decoder",
    // Tokens and generation.
    "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id", "prefix",
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature",
    "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids", "num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id",
    "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens"};

static constexpr std::string_view kIndexer = "is of DeepSeek's sparse attention (the indexer of V3.2), which is not supported: "
                                             "each token attends to index_topk rows only, and "
                                             "dense attention is another function from there on";

/// What is known to change the model, and why it is not read.
static constexpr std::pair<std::string_view, std::string_view> kRefusedKeys[] = {
    {"index_topk", kIndexer},
    {"index_n_heads", kIndexer},
    {"index_head_dim", kIndexer},
    {"sliding_window", "limits attention to a window, which is not supported; remove it if the model does not use it"},
    {"compression_config", "is the older name of quantization_config; rename it, so that it is read"}};

/// Parts of names by which an unknown key may belong to attention, routing or norms.
static constexpr std::string_view kTellingParts[] = {
    "attn",     "attention", "expert", "moe",        "rout", "gate", "gating",      "topk",  "group", "rope",
    "rotary",   "window",    "index",  "sparse",     "norm", "lora", "softcap",     "logit", "sink",  "hash",
    "compress", "residual",  "swiglu", "multiplier", "scal", "hc_",  "layer_types", "qk_",   "kv_",   "mla",
    "scor",     "bias",      "dense",  "gamma",      "rank", "head", "theta",       "yarn",  "activ"};

/// What may stand in a quantization_config: what is read, by method, and what says how it was made or how others run it.
static constexpr std::string_view kQuantizationKeys[] = {"quant_method",
                                                         "fmt",
                                                         "scale_fmt",
                                                         "activation_scheme",
                                                         "weight_block_size",
                                                         "modules_to_not_convert",
                                                         "ignored_layers",
                                                         "config_groups",
                                                         "format",
                                                         "ignore",
                                                         "bits",
                                                         "group_size",
                                                         "kv_cache_scheme",
                                                         "dequantize",
                                                         "is_checkpoint_fp8_serialized",
                                                         "global_compression_ratio",
                                                         "quantization_status",
                                                         "version",
                                                         "desc_act",
                                                         "sym",
                                                         "zero_point",
                                                         "quantizer"};

template <typename Table>
static bool isIn(const Table &table, std::string_view key) {
  return std::ranges::find(table, key) != std::end(table);
}

static bool isRead(std::string_view key) {
  auto named = [&](const auto &field) { return field.huggingFace == key; };
  return isIn(kOtherKeys, key) || std::ranges::any_of(kIntFields, named) || std::ranges::any_of(kRealFields, named);
}

static bool isTelling(std::string_view key) {
  return std::ranges::any_of(kTellingParts, [&](std::string_view part) { return key.find(part) != key.npos; });
}

/// A part of quantization_config that is not empty, such as null, false, {} or an object that says "dense".
static bool saysSomething(const json &value) {
  return !value.empty() && value != false && !(value.is_object() && value.value("format", json()) == "dense");
}

/// Keys of quantization_config, which its reader takes one by one.
static Result<void> checkQuantizationKeys(const json &object, std::vector<std::string> &notes) {
  static constexpr std::pair<const char *, const char *> kRefused[] = {
      {"transform_config", "rotates weights and activations, which is not supported"},
      {"sparsity_config", "says that weights are stored sparsely, which is not supported"}};
  for (const auto &[key, why] : kRefused)
    if (auto found = object.find(key); found != object.end() && saysSomething(*found))
      return fail(fmt::format("quantization_config.{}: {}", key, why));
  std::string ignored;
  for (const auto &[key, value] : object.items())
    if (saysSomething(value) && !isIn(kQuantizationKeys, key) && key != "sparsity_config")
      ignored += (ignored.empty() ? "" : ", ") + shortText(key);
  if (!ignored.empty())
    notes.push_back("keys of quantization_config that are not known here and not read: " + ignored);
  return {};
}

/// Programs choose the class by `architectures`, or by model_type.
static void noteArchitecture(const json &object, std::vector<std::string> &notes) {
  auto found = object.find("architectures");
  if (found == object.end() || !found->is_array() || found->empty() || !(*found)[0].is_string())
    return;
  std::string name = (*found)[0], type = object.value("model_type", "");
  bool fits = type == "deepseek_v2" ? name.starts_with("DeepseekV2For")
                                    : name.starts_with("DeepseekV3For") || (type == "kimi_k2" && name.starts_with("Kimi"));
  if (!fits)
    notes.push_back(fmt::format("architectures says {}, and model_type {}, which counts", shortText(name), type));
}

/// The rope object is the newer place, and a rope_theta outside often a leftover.
static void noteRopeTheta(const json &object, std::vector<std::string> &notes) {
  auto outer = object.find("rope_theta");
  for (const char *rope : {"rope_scaling", "rope_parameters"})
    if (auto found = object.find(rope); outer != object.end() && !outer->is_null() && found != object.end() && found->is_object())
      if (auto inner = found->find("rope_theta"); inner != found->end() && !inner->is_null() && *inner != *outer)
        notes.push_back(
            fmt::format("rope_theta says {}, and {}.rope_theta {}, which counts", shortText(*outer), rope, shortText(*inner)));
}

Result<void> models::checkHuggingFaceKeys(const json &object, std::vector<std::string> &notes) {
  std::string ignored;
  for (const auto &[key, value] : object.items()) {
    if (isRead(key) || isIn(kHarmlessKeys, key) || key.starts_with('_') || value.is_null() || value == false)
      continue;
    auto refused = std::ranges::find(kRefusedKeys, std::string_view(key), &std::pair<std::string_view, std::string_view>::first);
    if (refused != std::end(kRefusedKeys))
      return fail(fmt::format("{}: {}", key, refused->second));
    if (isTelling(key))
      return fail(
          fmt::format("{}: {} is not a key that is known here, and its name is one of attention, routing or norms; remove "
                      "it if it does not change what the model computes",
                      shortText(key), shortText(value)));
    ignored += (ignored.empty() ? "" : ", ") + shortText(key);
  }
  noteArchitecture(object, notes);
  noteRopeTheta(object, notes);
  if (auto quantization = object.find("quantization_config"); quantization != object.end() && quantization->is_object())
    QUANT_TRY(checkQuantizationKeys(*quantization, notes));
  if (!ignored.empty())
    notes.push_back("keys of config.json that are not known here and not read: " + ignored);
  return {};
}
