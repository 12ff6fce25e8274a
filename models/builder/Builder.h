//===- Builder.h - from a configuration to the model stage --------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_BUILDER_BUILDER_H
#define QUANT_MODELS_BUILDER_BUILDER_H

#include "dialects/deepseek/DeepSeek.h"
#include "models/config.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/support/dtype.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <unordered_map>

namespace quant::models {

/// What the builder must know of a tensor: its type, never its bytes.
struct TensorType {
  DType dtype;
  std::vector<int64_t> shape;
};

/// A checkpoint's tensors by name.
using TensorTypes = std::unordered_map<std::string, TensorType>;

/// The tensors that a checkpoint of this configuration has.
TensorTypes tensorTypes(const ModelConfig &config);
/// The tensors that a checkpoint really has, in whatever types it was saved.
TensorTypes tensorTypes(const checkpoint::Checkpoint &checkpoint);

/// Of the linear layers whose columns stand in another order than their groups (runtime/checkpoint/column_order.h), a number that
/// is the same where the order is.
using ColumnOrders = std::unordered_map<std::string, size_t>;

struct BuildOptions {
  deepseek::CacheFormat cache = deepseek::CacheFormat::F32; ///< how latent caches are stored
  bool withDraft = false;                                   ///< the first MTP layer, too; the configuration must have one
  ColumnOrders columnOrders = {};
  std::vector<std::string> *notes = nullptr; ///< gets what is to be said of the model
};

/// The model as a function of a call's tokens, each with its position in its sequence and the number of this sequence in the
/// table of pages, and of the tokens that get logits (deepseek.mla_attention tells what pages are):
///
///     func.func @forward(%ids: tensor<?xi32>, %positions: tensor<?xi32>, %sequences: tensor<?xi32>, %pages: tensor<?xPxi32>,
///                        %selected: tensor<?xi32>) -> tensor<?xVxf32>
///
/// Dequantize and matmul stand apart: the plain meaning.
///
/// With a draft, @forward also returns each token's state behind the last norm, `states` of type tensor<?xDxf32>, and a second
/// program is the first MTP layer:
///
///     func.func @draft(%ids, %positions, %sequences, %pages, %selected, %states: tensor<?xDxf32>) -> tensor<?xVxf32>
///
/// Row i of `states` is the state of the token in front of ids[i], the logits are those of the token behind it. Its keys begin at
/// position 1. Other MTP layers are left out.
///
/// Fails, with a message that names the tensor, if one is missing or has another shape than the configuration says.
Result<mlir::OwningOpRef<mlir::ModuleOp>> buildModel(mlir::MLIRContext &context, const ModelConfig &config,
                                                     const TensorTypes &tensors, const BuildOptions &options = {});

} // namespace quant::models

#endif // QUANT_MODELS_BUILDER_BUILDER_H
