//===- launch_recipe.h - how a GPU kernel is launched -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Everything a launcher must know about a kernel besides its code. A launcher that follows the recipe needs no knowledge of its
// own about tiles, swizzles or parameters. The compiler writes recipes with toJson, devices read them with fromJson;
// docs/module-format.md describes the JSON, test/gpu/recipe.py is a launcher that reads it by itself.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_ABI_LAUNCH_RECIPE_H
#define QUANT_RUNTIME_ABI_LAUNCH_RECIPE_H

#include "runtime/abi/size_expr.h"

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace quant::abi {

/// An operand's place in memory, for given sizes.
struct Extent {
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

/// A tensor in global memory, row-major, 16-byte aligned, dense unless it has a pitch.
struct Operand {
  std::string name;
  /// MLIR's names: f8E4M3FN, f32, bf16.
  std::string dtype;
  bool written = false;
  /// Outermost first.
  std::vector<SizeExpr> shape;
  /// In a program: the dispatch's operands that this one is, several where a weight's parts must stand row after row in one
  /// buffer.
  std::vector<int> from = {};
  /// In a program, of weight groups (the experts' tensors): all tensors stand in one buffer, those of the first expert, those of
  /// the second, and so on. Otherwise the operand is a table of pointers to them.
  bool stacked = false;
  /// Bytes from one row (of the innermost dimension) to the next; 0: rows are dense. What lies between two rows is never used.
  int64_t pitchBytes = 0;
  /// Written by adding to what is there.
  bool accumulated = false;
  /// Memory that the kernel needs while it runs, no input and no result.
  bool scratch = false;
  /// Must hold zeros before the first launch; the kernel leaves zeros.
  bool zeroed = false;
  /// A constant such as a weight, which no kernel in front of this one writes: LaunchRecipe::programmatic.
  bool early = false;

  /// Errors: those of the shape, an unknown dtype, more than 1 TiB, a pitch shorter than a row.
  Result<Extent> extent(const Sizes &sizes) const;
};

/// A parameter that is a CUtensorMap of one operand. Element strides are 1, no interleave, out-of-range elements read as zero.
struct TensorMapParameter {
  int operand = 0;
  /// CUtensorMapDataType without its prefix: UINT8, FLOAT32, BFLOAT16.
  std::string dataType;
  /// Innermost first, as cuTensorMapEncodeTiled wants them; strides are in bytes and leave out the innermost.
  std::vector<SizeExpr> dim = {};
  std::vector<SizeExpr> strideBytes = {};
  std::vector<int64_t> box = {};
  /// 0 (none), 32, 64 or 128.
  int swizzleBytes = 0;
  /// 0 (none), 64, 128 or 256.
  int l2PromotionBytes = 0;
  /// Where the tensor begins, counted from the operand; it may lie before that, if only coordinates inside of the operand are
  /// used.
  int64_t offsetBytes = 0;
};

/// A parameter that is an operand's address, and so many bytes more.
struct PointerParameter {
  int operand = 0;
  int64_t offsetBytes = 0;
};

/// An integer parameter of 32 or 64 bits.
struct I32Parameter {
  SizeExpr value;
  /// Errors: those of the expression, more than 31 bits.
  Result<int64_t> evaluate(const Sizes &sizes) const;
};
struct I64Parameter {
  SizeExpr value;
  Result<int64_t> evaluate(const Sizes &sizes) const { return value.evaluate(sizes); }
};

using Parameter = std::variant<TensorMapParameter, PointerParameter, I32Parameter, I64Parameter>;

/// How to launch one kernel.
struct LaunchRecipe {
  std::string kernel;
  /// The target that the code is for: "sm_90a".
  std::string arch;
  std::array<int64_t, 3> block = {1, 1, 1};
  std::array<int64_t, 3> cluster = {1, 1, 1};
  /// Blocks along x. 0: launch nothing (tensor maps of empty tensors do not exist).
  SizeExpr grid;
  int64_t dynamicSharedBytes = 0;
  /// Largest value of each run-time size the kernel is right for.
  Sizes limits;
  std::vector<Operand> operands;
  /// In the order of the kernel's signature.
  std::vector<Parameter> parameters;
  /// In a program: the run-time size that is M here; empty where the recipe names no M.
  std::optional<Dim> rows;
  /// It may be launched with programmatic stream serialization, so while the kernel in front of it still runs: it touches no
  /// operand but the `early` ones before griddepcontrol.wait.
  bool programmatic = false;
  /// What the kernel was built from, for people and reports: {"n": 7168, ...}.
  std::map<std::string, int64_t> config;

  /// Errors say what is missing or malformed; what a recipe does not need to have, and unknown keys, are passed over.
  static Result<LaunchRecipe> fromJson(const nlohmann::json &json);
  nlohmann::ordered_json toJson() const;

  /// Blocks along x for these sizes. Errors: those of the grid, a size beyond its limit, 2^31 blocks.
  Result<int64_t> blocks(const Sizes &sizes) const;
};

} // namespace quant::abi

#endif // QUANT_RUNTIME_ABI_LAUNCH_RECIPE_H
