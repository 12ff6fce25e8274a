//===- Kernel.cpp - loads and launches a kernel by its recipe ----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "test/gpu/Kernel.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace quant::test {

int64_t evaluate(const Json &expression, const Dims &dims) {
  if (expression.is_number_integer())
    return expression.get<int64_t>();
  if (expression.is_string())
    return dims.at(expression.get<std::string>());
  std::string op = expression.at(0);
  int64_t a = evaluate(expression.at(1), dims), b = evaluate(expression.at(2), dims);
  if (op == "*")
    return a * b;
  if (op == "+")
    return a + b;
  if (op == "min")
    return std::min(a, b);
  if (op == "ceildiv")
    return (a + b - 1) / b;
  throw std::runtime_error("the recipe has an unknown operator " + op);
}

static std::vector<char> readFile(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Kernel::Kernel(const CudaDriver &driver, const std::filesystem::path &recipePath) : cuda(driver) {
  json = Json::parse(readFile(recipePath));
  std::filesystem::path cubin = recipePath, ptx = recipePath;
  std::vector<char> image = readFile(cubin.replace_extension("cubin"));
  CUresult loaded = image.empty() ? -1 : cuda.moduleLoadData(&module, image.data());
  if (loaded != 0) {
    if (!image.empty())
      std::printf("%s: the driver refuses the cubin (older than the assembler?), trying PTX\n", name().c_str());
    image = readFile(ptx.replace_extension("ptx"));
    image.push_back('\0');
    cuda.check(cuda.moduleLoadData(&module, image.data()), "cuModuleLoadData");
  }
  cuda.check(cuda.moduleGetFunction(&function, module, name().c_str()), "cuModuleGetFunction");
  cuda.check(cuda.funcSetAttribute(function, kFunctionMaxDynamicSharedBytes, json.at("dynamic_shared_bytes")),
             "cuFuncSetAttribute");
  if (json.at("cluster") != Json::array({1, 1, 1}))
    throw std::runtime_error(name() + ": this launcher knows no clusters");
}

size_t Kernel::operandBytes(size_t operand, const Dims &dims) const {
  static const std::map<std::string, int64_t> kElementBytes = {{"f8E4M3FN", 1}, {"bf16", 2}, {"f32", 4}};
  const Json &description = json.at("operands").at(operand);
  int64_t bytes = kElementBytes.at(description.at("dtype"));
  for (const Json &size : description.at("shape"))
    bytes *= evaluate(size, dims);
  return static_cast<size_t>(bytes);
}

/// The position of a name in CUDA's enumeration.
static int enumValue(const std::string &value, std::initializer_list<const char *> names) {
  auto at = std::find(names.begin(), names.end(), value);
  if (at == names.end())
    throw std::runtime_error("the recipe has an unknown name " + value);
  return static_cast<int>(at - names.begin());
}

CUtensorMap Kernel::encode(const Json &parameter, CUdeviceptr address, const Dims &dims) const {
  static const std::map<std::string, int> kDataTypes = {
      {"UINT8", kTensorMapUint8}, {"FLOAT32", kTensorMapFloat32}, {"BFLOAT16", kTensorMapBfloat16}};
  std::vector<uint64_t> dim, stride;
  std::vector<uint32_t> box, elementStrides;
  for (const Json &size : parameter.at("dim"))
    dim.push_back(evaluate(size, dims));
  for (const Json &bytes : parameter.at("stride_bytes"))
    stride.push_back(evaluate(bytes, dims));
  for (const Json &size : parameter.at("box")) {
    box.push_back(size.get<uint32_t>());
    elementStrides.push_back(1);
  }
  CUtensorMap map;
  CUresult result = cuda.tensorMapEncodeTiled(
      &map, kDataTypes.at(parameter.at("data_type")), dim.size(), reinterpret_cast<void *>(address), dim.data(), stride.data(),
      box.data(), elementStrides.data(), /*interleave=*/0, enumValue(parameter.at("swizzle"), {"none", "32B", "64B", "128B"}),
      enumValue(parameter.at("l2_promotion"), {"none", "64B", "128B", "256B"}), /*oobFill=*/0);
  cuda.check(result, "cuTensorMapEncodeTiled");
  return map;
}

Arguments Kernel::prepare(const std::vector<CUdeviceptr> &operands, const Dims &dims) const {
  Arguments arguments;
  const Json &parameters = json.at("parameters");
  // Reserved, so that the addresses taken below stay valid.
  arguments.maps.reserve(parameters.size());
  arguments.addresses.reserve(parameters.size());
  arguments.scalars.reserve(parameters.size());
  for (const Json &parameter : parameters) {
    std::string kind = parameter.at("kind");
    if (kind == "tensor_map") {
      CUdeviceptr address = operands.at(parameter.at("operand").get<size_t>());
      arguments.pointers.push_back(&arguments.maps.emplace_back(encode(parameter, address, dims)));
    } else if (kind == "pointer") {
      CUdeviceptr address = operands.at(parameter.at("operand").get<size_t>());
      arguments.pointers.push_back(&arguments.addresses.emplace_back(address));
    } else if (kind == "i32") {
      int32_t value = static_cast<int32_t>(evaluate(parameter.at("value"), dims));
      arguments.pointers.push_back(&arguments.scalars.emplace_back(value));
    } else {
      throw std::runtime_error("the recipe has an unknown parameter kind " + kind);
    }
  }
  return arguments;
}

void Kernel::launch(const Arguments &arguments, const Dims &dims, CUstream stream) const {
  const Json &block = json.at("block");
  cuda.check(cuda.launchKernel(function, static_cast<unsigned>(grid(dims)), 1, 1, block.at(0), block.at(1), block.at(2),
                               json.at("dynamic_shared_bytes"), stream, const_cast<void **>(arguments.pointers.data()), nullptr),
             "cuLaunchKernel");
}

} // namespace quant::test
