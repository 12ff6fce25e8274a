//===- hessians.h - inputs of linear layers, summed up ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// H = sum of x xᵀ over the inputs x of a linear layer, while a compiled model runs over a text. The module's own program says
// which dispatch multiplies which weights with what (runtime/module/program.h); the host's session shows its operands before each
// dispatch.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_HESSIANS_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_HESSIANS_H

#include "runtime/checkpoint/checkpoint.h"
#include "runtime/support/result.h"

#include <Eigen/Core>

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace quant::convert {

/// Of one input, which several layers may share (gate and up, q_a and kv_a).
struct Hessian {
  Eigen::MatrixXd sums;    ///< [columns, columns], symmetric; empty before the first token
  Eigen::VectorXd largest; ///< [columns], magnitudes
  int64_t tokens = 0;
  int64_t borrowed = 0; ///< tokens' worth taken from all experts of the layer, because this one saw few
};

/// By the layer's name, "model.layers.3.mlp.experts.7.up_proj".
using Hessians = std::map<std::string, std::shared_ptr<const Hessian>, std::less<>>;

struct CalibrationOptions {
  std::filesystem::path text;        ///< tokens, as tools/common/tokenized_text.h reads them
  std::filesystem::path module;      ///< compiled from the checkpoint for the host
  int64_t context = 0;               ///< tokens of a piece with its BOS; 0: the module's limit, 2048 at most
  int64_t expertFloor = 256;         ///< an expert with fewer tokens borrows from all of its layer
  int64_t memory = int64_t{8} << 30; ///< bytes that the sums may take
  int threads = 0;
};

/// Runs the module with the checkpoint's weights over the text, in pieces of context - 1 tokens with BOS before each, and sums
/// the inputs of the layers `columns` names, with their columns; of layers that the module does not compute (MTP) there is none.
/// Errors: too few tokens, ids beyond the vocabulary, inputs that are not finite, sums that take more than the memory.
Result<Hessians> collectHessians(const CalibrationOptions &options, const checkpoint::Checkpoint &checkpoint,
                                 const std::map<std::string, int64_t, std::less<>> &columns);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_HESSIANS_H
