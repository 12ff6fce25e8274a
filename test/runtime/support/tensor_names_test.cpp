//===- tensor_names_test.cpp - what names of tensors say ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/support/tensor_names.h"

#include <gtest/gtest.h>

using namespace quant;

TEST(TensorNames, Parts) {
  EXPECT_EQ(lastPart("model.norm.weight"), "weight");
  EXPECT_EQ(moduleOf("model.norm.weight"), "model.norm");
  EXPECT_EQ(lastPart("weight"), "weight");
  EXPECT_EQ(moduleOf("weight"), "weight");
  EXPECT_TRUE(hasPart("a.indexer.wk", "indexer"));
  EXPECT_TRUE(hasPart("a.reindexer.indexer", "indexer"));
  EXPECT_FALSE(hasPart("a.indexers.wk", "indexer"));
  EXPECT_FALSE(hasPart("", "indexer"));
}

TEST(TensorNames, Numbers) {
  EXPECT_EQ(numberBehind("model.layers.61.eh_proj.weight", "layers"), 61);
  EXPECT_EQ(numberBehind("layers.0.attn.wq_a.weight", "layers"), 0);
  EXPECT_EQ(numberBehind("model.layers", "layers"), -1);
  EXPECT_EQ(numberBehind("model.layers.x.weight", "layers"), -1);
  EXPECT_EQ(numberBehind("model.sublayers.3.weight", "layers"), -1);
  EXPECT_EQ(numberBehind("model.layers.99999999999999999999.w", "layers"), -1);
}

TEST(TensorNames, Storage) {
  for (const char *part : {"weight", "weight_scale_inv", "weight_packed", "input_scale", "qzeros", "weight_zero_point", "g_idx"})
    EXPECT_TRUE(isStorage(part)) << part;
  for (const char *part : {"bias", "e_score_correction_bias", "inv_freq", "lora_A"})
    EXPECT_FALSE(isStorage(part)) << part;
  for (const char *part : {"weight_zero_point", "qzeros", "weight_g_idx", "g_idx", "weight_global_scale", "weight_scale_2"})
    EXPECT_NE(changeOfWeight(part), "") << part;
  for (const char *part : {"weight", "weight_scale_inv", "weight_scale", "weight_shape", "input_scale"})
    EXPECT_EQ(changeOfWeight(part), "") << part;
}

TEST(TensorNames, OrderOfColumns) {
  EXPECT_EQ(codesOfOrder("model.layers.0.up_proj.g_idx"), "model.layers.0.up_proj.qweight");
  EXPECT_EQ(codesOfOrder("model.layers.0.up_proj.weight_g_idx"), "model.layers.0.up_proj.weight_packed");
  EXPECT_EQ(codesOfOrder("model.layers.0.up_proj.weight"), "");
}

TEST(TensorNames, Harmless) {
  EXPECT_EQ(harmlessTensor("model.layers.0.self_attn.rotary_emb.inv_freq")->what, "inv_freq");
  EXPECT_EQ(harmlessTensor("vision_tower.layers.0.weight")->what, "vision_tower");
  EXPECT_EQ(harmlessTensor("model.layers.0.self_attn.k_scale")->what, "cache scale");
  EXPECT_FALSE(harmlessTensor("visionary.weight"));
  EXPECT_FALSE(harmlessTensor("model.layers.0.self_attn.k_proj.weight_scale"));
}
