//===- LaunchRecipe.h - how a GPU kernel is launched ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Everything a launcher must know about a kernel besides its code. A launcher that follows the recipe needs no knowledge of its
// own about tiles, swizzles or parameters; test/gpu/recipe.py is such a launcher.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_NVVM_LAUNCHRECIPE_H
#define QUANT_LOWERING_NVVM_LAUNCHRECIPE_H

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace quant::nvvm {

/// A size that may depend on run-time sizes. Prints as the expressions of docs/module-format.md: 128, "M", ["*", 4, "M"].
class SizeExpr {
public:
  SizeExpr(int64_t value) : value(value) {}
  static SizeExpr dim(std::string name) { return SizeExpr(std::move(name), {}); }
  friend SizeExpr operator*(const SizeExpr &a, const SizeExpr &b) { return SizeExpr("*", {a, b}); }
  static SizeExpr ceilDiv(const SizeExpr &a, const SizeExpr &b) { return SizeExpr("ceildiv", {a, b}); }
  static SizeExpr min(const SizeExpr &a, const SizeExpr &b) { return SizeExpr("min", {a, b}); }

  /// The value, given that of every dim it names.
  int64_t evaluate(const std::map<std::string, int64_t> &dims) const;
  nlohmann::ordered_json toJson() const;

private:
  SizeExpr(std::string symbol, std::vector<SizeExpr> operands) : symbol(std::move(symbol)), operands(std::move(operands)) {}

  /// Empty: a constant. Without operands: the name of a dim. Else an operator.
  std::string symbol;
  int64_t value = 0;
  std::vector<SizeExpr> operands;
};

/// A tensor in global memory, row-major, 16-byte aligned, dense unless it has a pitch.
struct Operand {
  std::string name;
  /// MLIR's names: f8E4M3FN, f32, bf16.
  std::string dtype;
  bool written = false;
  /// Outermost first.
  std::vector<SizeExpr> shape;
  /// In a program: the dispatch's operands that this one is, several where a weight's parts must stand row after row in one buffer.
  std::vector<int> from = {};
  /// Bytes from one row (of the innermost dimension) to the next; 0: rows are dense. What lies between two rows is never used.
  int64_t pitchBytes = 0;
  /// Written by adding to what is there.
  bool accumulated = false;
  /// Memory that the kernel needs while it runs, no input and no result.
  bool scratch = false;
  /// Must hold zeros before the first launch; the kernel leaves zeros.
  bool zeroed = false;
};

/// A parameter that is a CUtensorMap of one operand. Element strides are 1, no interleave, out-of-range elements read as zero.
struct TensorMapParameter {
  int operand = 0;
  /// CUtensorMapDataType without its prefix: UINT8, FLOAT32, BFLOAT16.
  std::string dataType;
  /// Innermost first, as cuTensorMapEncodeTiled wants them; strides are in bytes and leave out the innermost.
  std::array<SizeExpr, 2> dim = {0, 0};
  SizeExpr strideBytes = 0;
  std::array<int64_t, 2> box = {0, 0};
  /// 0 (none), 32, 64 or 128.
  int swizzleBytes = 0;
  /// 0 (none), 64, 128 or 256.
  int l2PromotionBytes = 0;
};

/// A parameter that is an operand's address.
struct PointerParameter {
  int operand = 0;
};

/// A 32-bit integer parameter.
struct I32Parameter {
  SizeExpr value = 0;
};

using Parameter = std::variant<TensorMapParameter, PointerParameter, I32Parameter>;

/// How to launch one kernel.
struct LaunchRecipe {
  std::string kernel;
  std::array<int64_t, 3> block = {1, 1, 1};
  std::array<int64_t, 3> cluster = {1, 1, 1};
  /// Blocks along x; may name "sms", the multiprocessors to use. 0: launch nothing (tensor maps of empty tensors do not exist).
  SizeExpr grid = 0;
  int64_t dynamicSharedBytes = 0;
  /// Largest value of each run-time size the kernel is right for.
  std::map<std::string, int64_t> limits;
  std::vector<Operand> operands;
  /// In the order of the kernel's signature.
  std::vector<Parameter> parameters;
  /// In a program: its name of the run-time size that is M here; empty where the recipe names no M.
  std::string rows;
  /// What the kernel was built from, for people and reports: {"n": 7168, ...}.
  std::map<std::string, int64_t> config;

  nlohmann::ordered_json toJson() const;
};

} // namespace quant::nvvm

#endif // QUANT_LOWERING_NVVM_LAUNCHRECIPE_H
