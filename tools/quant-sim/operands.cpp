//===- operands.cpp - a kernel's operands from and to safetensors -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/operands.h"

#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/writer.h"

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
    return fail("cannot make " + dir.string() + ": " + status.message());
  for (size_t i = 0; i < data.size(); ++i) {
    if (!descriptions[i].written)
      continue;
    auto dtype = fromMlirName(descriptions[i].dtype);
    if (!dtype || safetensorsName(*dtype).empty())
      return fail("safetensors has no dtype " + descriptions[i].dtype);
    auto writer = checkpoint::SafetensorsWriter::create(dir / (descriptions[i].name + ".safetensors"),
                                                        {{descriptions[i].name, *dtype, descriptions[i].shape}});
    if (!writer)
      return tl::unexpected(writer.error());
    if (auto appended = writer->append(descriptions[i].name, data[i]); !appended)
      return appended;
    if (auto finished = writer->finish(); !finished)
      return finished;
  }
  return {};
}

namespace {

Result<std::vector<std::byte>> readTensor(const sim::RecipeOperand &operand, const std::string &place) {
  size_t colon = place.rfind(':');
  if (colon == std::string::npos)
    return fail("'" + place + "' is not FILE.safetensors:TENSOR");
  auto file = checkpoint::SafetensorsFile::open(place.substr(0, colon));
  if (!file)
    return tl::unexpected(file.error());
  const checkpoint::TensorInfo *tensor = file->find(place.substr(colon + 1));
  if (!tensor)
    return fail(place.substr(0, colon) + " has no tensor '" + place.substr(colon + 1) + "'");
  std::span<const std::byte> bytes = file->data(*tensor);
  if (bytes.size() != operand.bytes)
    return fail(place + " has " + std::to_string(bytes.size()) + " bytes, operand '" + operand.name + "' has " +
                std::to_string(operand.bytes));
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
  auto descriptions = recipe.operands(dims);
  if (!descriptions)
    return tl::unexpected(descriptions.error());
  Operands operands{.descriptions = std::move(*descriptions), .data = {}};
  for (const sim::RecipeOperand &operand : operands.descriptions) {
    if (operand.bytes > kMaxOperandBytes)
      return fail("operand '" + operand.name + "' has " + std::to_string(operand.bytes >> 30) + " GiB, more than 8");
    auto place = places.extract(operand.name);
    if (place.empty() && !operand.written)
      return fail("operand '" + operand.name + "' (" + operand.dtype + ", " + std::to_string(operand.bytes) +
                  " bytes) needs --arg " + operand.name + "=FILE.safetensors:TENSOR");
    if (place.empty()) {
      operands.data.emplace_back(operand.bytes, std::byte(0xff));
      continue;
    }
    auto bytes = readTensor(operand, place.mapped());
    if (!bytes)
      return tl::unexpected(bytes.error());
    operands.data.push_back(std::move(*bytes));
  }
  if (!places.empty())
    return fail("the kernel has no operand '" + places.begin()->first + "'");
  return operands;
}

} // namespace quant::tools
