//===- verify.cpp - what values, dispatches and kernels say of each other -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/text.h"
#include "runtime/module/module_parts.h"

#include <algorithm>
#include <set>
#include <sstream>

namespace quant::runtime {

/// More than any real model: what is beyond it is a damaged or hostile file.
static constexpr int64_t kMaxValueBytes = int64_t{1} << 44;
static constexpr int64_t kMaxWorkspaceBytes = int64_t{1} << 40;
static constexpr int64_t kWorkspaceSlack = 4096;
static constexpr int64_t kMaxGridBlocks = int64_t{1} << 40;

static std::string typeText(const Shape &shape, DType dtype) {
  std::ostringstream os;
  printType(os, shape, dtype);
  return os.str();
}

static bool dimsWithin(const Shape &shape, std::initializer_list<abi::Dim> allowed) {
  return std::ranges::all_of(
      shape, [&](const Extent &extent) { return !extent.dim || std::ranges::find(allowed, *extent.dim) != allowed.end(); });
}

static bool isWeight(ValueKind kind) { return kind == ValueKind::Weight || kind == ValueKind::WeightGroup; }

static bool holdsScales(DType dtype) {
  return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16 || dtype == DType::F8E8M0FNU;
}

static Result<void> verifyWeight(const Value &value) {
  if (value.isScale && !holdsScales(value.dtype))
    return fail("scales are f32, f16, bf16 or f8E8M0FNU, found " + std::string(mlirName(value.dtype)));
  if (!dimsWithin(value.shape, {}))
    return fail("a weight's shape cannot depend on run-time sizes, found " + typeText(value.shape, value.dtype));
  auto badName = [&](const std::string &name) {
    bool one = name.find("{}") != name.npos && name.find("{}") == name.rfind("{}");
    return name.empty() || (value.kind == ValueKind::WeightGroup && !one);
  };
  for (const std::string &alias : value.aliases)
    if (badName(alias))
      return fail("alias " + checkpoint::quote(alias) + " is empty, or a weight_group's without one '{}'");
  if (badName(value.name))
    return fail("the name is empty, or a weight_group's without one '{}'");
  return {};
}

static Result<void> verifyValue(const Value &value, const Program &program) {
  if (isWeight(value.kind))
    if (Result<void> weight = verifyWeight(value); !weight)
      return weight;
  if (value.kind == ValueKind::Cache && !dimsWithin(value.shape, {abi::Dim::Context}))
    return fail("a cache's shape can depend on 'context' only, found " + typeText(value.shape, value.dtype));
  if (value.layout == Layout::KMajor && (value.dtype != DType::F32 || value.shape.size() < 2))
    return fail("k_major values are f32 of two dimensions or more, found " + typeText(value.shape, value.dtype));
  Result<int64_t> bytes = byteSize(value, program.limits.largest());
  if (!bytes)
    return tl::unexpected(bytes.error());
  if (*bytes > kMaxValueBytes)
    return fail(typeText(value.shape, value.dtype) + " is " + std::to_string(*bytes) + " bytes, at most " +
                std::to_string(kMaxValueBytes) + " are allowed");
  if (value.kind != ValueKind::Workspace)
    return {};
  if (value.offset % abi::kBufferAlignment != 0)
    return fail("offset " + std::to_string(value.offset) + " is not a multiple of " + std::to_string(abi::kBufferAlignment));
  if (value.offset > program.workspaceBytes || *bytes > program.workspaceBytes - value.offset)
    return fail("offset " + std::to_string(value.offset) + " with " + std::to_string(*bytes) + " bytes leaves the workspace of " +
                std::to_string(program.workspaceBytes));
  return {};
}

/// Needs verified values.
static Result<void> verifyWorkspace(const Program &program) {
  if (program.workspaceBytes > kMaxWorkspaceBytes)
    return fail("workspace_bytes is " + std::to_string(program.workspaceBytes) + ", at most " +
                std::to_string(kMaxWorkspaceBytes) + " are allowed");
  int64_t needed = 0;
  for (const Value &value : program.values)
    if (value.kind == ValueKind::Workspace)
      needed = std::max(needed, value.offset + *byteSize(value, program.limits.largest()));
  if (program.workspaceBytes - needed > kWorkspaceSlack)
    return fail("workspace_bytes is " + std::to_string(program.workspaceBytes) + ", the values end at " + std::to_string(needed));
  return {};
}

/// Inputs and outputs are bound by name.
static Result<void> verifyNames(const Program &program) {
  std::set<std::string_view> seen;
  for (const Value &value : program.values)
    if ((value.kind == ValueKind::Input || value.kind == ValueKind::Output) && !seen.insert(value.name).second)
      return fail("two inputs or outputs are called " + checkpoint::quote(value.name));
  return {};
}

static Result<void> verifyOperand(const Value &value, const KernelOperand &expected) {
  if (value.dtype != expected.dtype)
    return fail("has dtype " + std::string(mlirName(value.dtype)) + ", the kernel expects " +
                std::string(mlirName(expected.dtype)));
  if (expected.access != Access::Read && (isWeight(value.kind) || value.kind == ValueKind::Input))
    return fail("is written, but a value of kind " + std::string(kindName(value.kind)) + " is read-only");
  if (value.layout != expected.layout)
    return fail(value.layout == Layout::KMajor ? "is k_major, the kernel expects rows" : "is not k_major as the kernel expects");
  if (expected.count && *expected.count != value.count)
    return fail("has " + std::to_string(value.count) + " tensors, the kernel expects " + std::to_string(*expected.count));
  if (expected.shape && *expected.shape != value.shape)
    return fail("has type " + typeText(value.shape, value.dtype) + ", the kernel expects " +
                typeText(*expected.shape, expected.dtype));
  return {};
}

static Result<void> verifyDispatch(const Dispatch &dispatch, const Target &target) {
  const Kernel &kernel = target.kernels[static_cast<size_t>(dispatch.kernel)];
  if (dispatch.operands.size() != kernel.operands.size())
    return fail(std::to_string(dispatch.operands.size()) + " operands, the kernel has " + std::to_string(kernel.operands.size()));
  for (size_t i = 0; i < kernel.operands.size(); ++i) {
    const Value &value = target.program.values[static_cast<size_t>(dispatch.operands[i])];
    if (Result<void> operand = verifyOperand(value, kernel.operands[i]); !operand)
      return tl::unexpected(operand.error().in("operand " + std::to_string(i) + " (value " +
                                               std::to_string(dispatch.operands[i]) + " " + checkpoint::quote(value.name) + ")"));
  }
  Result<abi::Interval> grid = dispatch.grid.bounds(target.program.limits.intervals());
  if (!grid)
    return tl::unexpected(grid.error().in("grid"));
  if (grid->high > kMaxGridBlocks)
    return fail("grid can have " + std::to_string(grid->high) + " blocks, at most " + std::to_string(kMaxGridBlocks) +
                " are allowed");
  return {};
}

Result<void> verifyTarget(const Target &target) {
  const Program &program = target.program;
  for (size_t i = 0; i < program.values.size(); ++i)
    if (Result<void> value = verifyValue(program.values[i], program); !value)
      return tl::unexpected(value.error().in("value " + std::to_string(i) + " " + checkpoint::quote(program.values[i].name)));
  if (Result<void> workspace = verifyWorkspace(program); !workspace)
    return workspace;
  if (Result<void> names = verifyNames(program); !names)
    return names;
  for (size_t i = 0; i < program.dispatches.size(); ++i) {
    const Dispatch &dispatch = program.dispatches[i];
    const std::string &kernel = target.kernels[static_cast<size_t>(dispatch.kernel)].name;
    if (Result<void> verified = verifyDispatch(dispatch, target); !verified)
      return tl::unexpected(verified.error().in("dispatch " + std::to_string(i) + " of kernel " + checkpoint::quote(kernel)));
  }
  return {};
}

} // namespace quant::runtime
