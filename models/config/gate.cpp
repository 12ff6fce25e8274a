//===- gate.cpp - what a gate is when not all of it is said ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "models/config/gate.h"

using namespace quant;
using namespace quant::models;

void models::setGateDefaults(ModelConfig &config) {
  bool sigmoid = config.scoreFunc == ScoreFunc::Sigmoid;
  config.normTopkProb = sigmoid;
  config.topkMethod = sigmoid                    ? TopkMethod::NoauxTc
                      : config.nExpertGroups > 1 ? TopkMethod::GroupLimitedGreedy
                                                 : TopkMethod::Greedy;
}
