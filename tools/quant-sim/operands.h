//===- operands.h - a kernel's operands from and to safetensors --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_SIM_OPERANDS_H
#define QUANT_TOOLS_QUANT_SIM_OPERANDS_H

#include "tools/quant-sim/api/simulator.h"

#include <filesystem>

namespace quant::tools {

/// The memory of every operand of a launch, in the recipe's order.
struct Operands {
  std::vector<sim::RecipeOperand> descriptions;
  std::vector<std::vector<std::byte>> data;

  std::vector<sim::Buffer> buffers();
  /// Writes the operands that the kernel writes to DIR/NAME.safetensors, each under its name.
  Result<void> save(const std::filesystem::path &dir) const;
};

/// Reads the operands from `args`, "NAME=FILE.safetensors:TENSOR" each. Every operand that is read needs one; one that is written
/// starts as all ones (NaN) without. Bytes must match, the tensor's dtype must be as wide as the operand's.
Result<Operands> readOperands(const sim::Recipe &recipe, const sim::Dims &dims, const std::vector<std::string> &args);

} // namespace quant::tools

#endif // QUANT_TOOLS_QUANT_SIM_OPERANDS_H
