//===- Kernel.h - loads and launches a kernel by its recipe -------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Nothing here knows what a kernel computes: tensor maps, parameters, grid and shared memory all come from the recipe
// (lowering/nvvm/LaunchRecipe.h).
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TEST_GPU_KERNEL_H
#define QUANT_TEST_GPU_KERNEL_H

#include "test/gpu/CudaDriver.h"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace quant::test {

using Json = nlohmann::ordered_json;
using Dims = std::map<std::string, int64_t>;

/// Value of a size expression: 128, "M", ["*" | "+" | "min" | "ceildiv", a, b].
int64_t evaluate(const Json &expression, const Dims &dims);

/// Kernel parameters with the memory they live in. Movable, not copyable: `pointers` points into the other members.
struct Arguments {
  std::vector<CUtensorMap> maps;
  std::vector<CUdeviceptr> addresses;
  std::vector<int32_t> scalars;
  std::vector<void *> pointers;

  Arguments() = default;
  Arguments(Arguments &&) = default;
  Arguments(const Arguments &) = delete;
};

class Kernel {
public:
  /// Loads NAME.cubin or, where there is none or the driver does not take it, NAME.ptx, next to `recipePath` (NAME.json).
  Kernel(const CudaDriver &driver, const std::filesystem::path &recipePath);
  ~Kernel() { cuda.moduleUnload(module); }
  Kernel(const Kernel &) = delete;

  const Json &recipe() const { return json; }
  std::string name() const { return json.at("kernel"); }
  int64_t config(const char *key) const { return json.at("config").at(key); }
  /// Bytes of an operand, given the dims.
  size_t operandBytes(size_t operand, const Dims &dims) const;
  /// Blocks to launch; 0 means do not launch.
  int64_t grid(const Dims &dims) const { return evaluate(json.at("grid"), dims); }
  /// Parameters for operands at these addresses; dims must give a grid that is not 0.
  Arguments prepare(const std::vector<CUdeviceptr> &operands, const Dims &dims) const;
  void launch(const Arguments &arguments, const Dims &dims, CUstream stream) const;

private:
  CUtensorMap encode(const Json &parameter, CUdeviceptr address, const Dims &dims) const;

  const CudaDriver &cuda;
  Json json;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
};

} // namespace quant::test

#endif // QUANT_TEST_GPU_KERNEL_H
