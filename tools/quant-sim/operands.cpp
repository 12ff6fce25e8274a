//===- operands.cpp - a kernel's operands from and to safetensors -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/operands.h"

#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/writer.h"

#include <fmt/core.h>

#include <map>

namespace quant::tools {

/// Memory one operand may take.
static constexpr uint64_t kMaxOperandBytes = uint64_t(8) << 30;

std::vector<sim::Buffer> Operands::buffers() {
  std::vector<sim::Buffer> buffers;
  for (size_t i = 0; i < data.size(); ++i)
    buffers.push_back({descriptions[i].name, data[i], descriptions[i].written});
  return buffers;
}

Result<void> Operands::save(const std::filesystem::path &dir) const {
  std::error_code status;
  std::filesystem::create_directories(dir, status);
  if (status)
    return fail(fmt::format("cannot make {}: {}", dir.string(), status.message()));
  for (size_t i = 0; i < data.size(); ++i) {
    if (!descriptions[i].written)
      continue;
    auto dtype = fromMlirName(descriptions[i].dtype);
    if (!dtype || safetensorsName(*dtype).empty())
      return fail("safetensors has no dtype " + descriptions[i].dtype);
    std::filesystem::path path = dir / (descriptions[i].name + ".safetensors");
    QUANT_TRY_ASSIGN(auto writer,
                     checkpoint::SafetensorsWriter::create(path, {{descriptions[i].name, *dtype, descriptions[i].shape}}));
    QUANT_TRY(writer.append(descriptions[i].name, data[i]));
    QUANT_TRY(writer.finish());
  }
  return {};
}

namespace {

Result<std::vector<std::byte>> readTensor(const sim::RecipeOperand &operand, const std::string &place) {
  size_t colon = place.rfind(':');
  if (colon == std::string::npos)
    return fail("'" + place + "' is not FILE.safetensors:TENSOR");
  QUANT_TRY_ASSIGN(auto file, checkpoint::SafetensorsFile::open(place.substr(0, colon)));
  const checkpoint::TensorInfo *tensor = file.find(place.substr(colon + 1));
  if (!tensor)
    return fail(fmt::format("{} has no tensor '{}'", place.substr(0, colon), place.substr(colon + 1)));
  std::span<const std::byte> bytes = file.data(*tensor);
  if (bytes.size() != operand.bytes)
    return fail(fmt::format("{} has {} bytes, operand '{}' has {}", place, bytes.size(), operand.name, operand.bytes));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

} // namespace

Result<Operands> readOperands(const sim::Recipe &recipe, const sim::Dims &dims, const std::vector<std::string> &args) {
  std::map<std::string, std::string> places;
  for (const std::string &arg : args) {
    size_t equals = arg.find('=');
    if (equals == std::string::npos)
      return fail("'" + arg + "' is not NAME=FILE.safetensors:TENSOR");
    places[arg.substr(0, equals)] = arg.substr(equals + 1);
  }
  QUANT_TRY_ASSIGN(auto descriptions, recipe.operands(dims));
  Operands operands{.descriptions = std::move(descriptions), .data = {}};
  for (const sim::RecipeOperand &operand : operands.descriptions) {
    if (operand.bytes > kMaxOperandBytes)
      return fail(fmt::format("operand '{}' has {} GiB, more than 8", operand.name, operand.bytes >> 30));
    auto place = places.extract(operand.name);
    if (place.empty() && !operand.written)
      return fail(fmt::format("operand '{}' ({}, {} bytes) needs --arg {}=FILE.safetensors:TENSOR", operand.name, operand.dtype,
                              operand.bytes, operand.name));
    if (place.empty()) {
      operands.data.emplace_back(operand.bytes, std::byte(0xff));
      continue;
    }
    QUANT_TRY_ASSIGN(auto bytes, readTensor(operand, place.mapped()));
    operands.data.push_back(std::move(bytes));
  }
  if (!places.empty())
    return fail("the kernel has no operand '" + places.begin()->first + "'");
  return operands;
}

} // namespace quant::tools
