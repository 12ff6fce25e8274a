//===- WeightBuilder.h - weights of the model stage ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_MODELS_BUILDER_WEIGHTBUILDER_H
#define QUANT_MODELS_BUILDER_WEIGHTBUILDER_H

#include "models/builder/Builder.h"
#include "runtime/abi/repack.h"

#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace quant::models {

/// What the builder of the model's layers is made on: weights as the tensors of a checkpoint store them.
class WeightBuilder {
protected:
  WeightBuilder(mlir::MLIRContext &context, const ModelConfig &config, const TensorTypes &tensors, const BuildOptions &options)
      : builder(mlir::UnknownLoc::get(&context), &context), config(config), tensors(tensors), options(options) {}

  mlir::ImplicitLocOpBuilder builder;
  const ModelConfig &config;
  const TensorTypes &tensors;
  const BuildOptions &options;
  std::string error; ///< the first one

  /// What layers read whose weights' columns stand in another order.
  struct Gathered {
    mlir::Value source, value;
    size_t hash;       ///< ColumnOrders
    std::string order; ///< the tensor that says it
  };
  llvm::SmallVector<Gathered> gathered;
  /// Projections that could have been multiplied with others, but for the order of their columns.
  int64_t apart = 0;
  std::string firstApart;

  //===--- Small helpers ---===//

  /// What is built next belongs to this part of the model; kernels and profiles show the name.
  void at(const std::string &name) { builder.setLoc(mlir::NameLoc::get(builder.getStringAttr(name))); }

  mlir::RankedTensorType rows(int64_t columns) {
    return mlir::RankedTensorType::get({mlir::ShapedType::kDynamic, columns}, builder.getF32Type());
  }
  void complain(const std::string &message);

  mlir::Type elementType(DType dtype);

  /// The type of the tensor `name`, which must have this shape. `readAs`, if there is one, is what its elements are.
  mlir::RankedTensorType typeOf(const std::string &name, llvm::ArrayRef<int64_t> shape, std::optional<DType> readAs = {});

  mlir::Value plain(const std::string &name, mlir::RankedTensorType type);
  mlir::Value vector(const std::string &name, int64_t size) { return plain(name, typeOf(name, {size})); }

  //===--- Weights ---===//

  /// One tensor of a linear layer's weight, and what kernels see of it.
  struct Part {
    std::string name;
    mlir::RankedTensorType type;
    Repack repack = Repack::None;
    std::string order = {}; ///< the tensor by whose groups its columns are sorted
    int64_t groupSize = 0;  ///< of a ColumnOrder
  };

  /// How a linear layer is stored.
  struct Stored {
    Scheme scheme;
    std::string data, scale, zero; ///< names of the tensors; no scale: the weight is not quantized
    std::string global = {};       ///< that of a scale by which the others are divided
    std::string groups = {};       ///< that of the groups of columns, be it there or not
    bool isPacked = false;         ///< codes of fewer bits, or unsigned ones, in words of 32 bits or two in a byte
    int64_t zeroConstant = 0;      ///< what packed codes of signed numbers are more than these
  };

  std::optional<DType> dtypeOf(const std::string &name) const;

  /// How the linear layer `module` is stored.
  Stored stored(const std::string &module);

  /// The tensor `name`, which becomes `dtype` [rows, columns] when it is loaded.
  Part turned(const std::string &name, Repack repack, DType dtype, int64_t rows, int64_t columns);

  /// Codes that lie two in a byte.
  Part pairsOf(const Stored &tensor, int64_t out, int64_t in);

  /// A layer's codes, out x in, which may be packed in words.
  Part codesOf(const Stored &tensor, int64_t out, int64_t in);

  /// A layer's scales. Those that are stored as U8 are powers of two (MX formats).
  Part scalesOf(const Stored &tensor, int64_t out, int64_t in);

  /// The zero points of a layer that has any.
  Part zerosOf(const Stored &tensor, int64_t out, int64_t in);

  /// The scale of the whole weight.
  Part globalOf(const Stored &tensor);

  /// The columns of a weight, sorted by their groups.
  Part orderOf(const std::string &module, int64_t columns);

  /// The layer's weight, from what `load` makes of its parts. `experts` is 0 for a single one. Its columns are sorted by the
  /// groups in the tensor `order`, if it names one.
  mlir::Value assemble(const Stored &tensor, int64_t out, int64_t in, int64_t experts, const std::string &order,
                       llvm::function_ref<mlir::Value(const Part &)> load);

  /// How a part is turned when it is loaded: `repack`, `order` and `group_size` of the ops that load it.
  std::tuple<mlir::StringAttr, mlir::StringAttr, mlir::IntegerAttr> turningOf(const Part &part, const std::string &order);

  mlir::Value weightOp(const Part &part);

  /// The same of all experts; `part` is of the one that begins with `first`.
  mlir::Value weightGroupOp(const Part &part, const std::string &experts, const std::string &first);

  /// The weight of a linear layer, out x in; its columns sorted by the groups in `order`, if that is not empty.
  mlir::Value weight(const std::string &module, int64_t out, int64_t in, const std::string &order = {});

  /// A weight, and the order of its columns; null where it is that of the inputs.
  struct Ordered {
    mlir::Value weight, order;
    size_t hash = 0;
    std::string name = {}; ///< of the first expert's tensor that says the order
  };

  /// The same weight of all experts, experts x out x in; they are stored as the first one is. Where its columns have the order of
  /// those of `other`, if there is one, that is used.
  Ordered expertWeights(const std::string &experts, const std::string &projection, int64_t out, int64_t in,
                        const Ordered *other = nullptr);

  /// That of ColumnOrders; 0 where columns stand in order.
  size_t columnOrder(const std::string &module) const;

  void sayApart(const std::string &module);

  /// What the layer `module` reads of x, and the tensor by whose groups its weight's columns are sorted then, "" if by none.
  std::pair<mlir::Value, std::string> inputOf(const std::string &module, mlir::Value x, int64_t in);
};

} // namespace quant::models

#endif // QUANT_MODELS_BUILDER_WEIGHTBUILDER_H
