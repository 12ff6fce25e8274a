//===- verify.cpp - what values, dispatches and kernels say of each other -===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/module/module_parts.h"
#include "runtime/support/block_scale.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

namespace quant::runtime {

/// More than any real model: what is beyond it is a damaged or hostile file.
static constexpr int64_t kMaxValueBytes = int64_t{1} << 44;
static constexpr int64_t kMaxWorkspaceBytes = int64_t{1} << 40;
static constexpr int64_t kWorkspaceSlack = 4096;
static constexpr int64_t kMaxGridBlocks = int64_t{1} << 40;

static bool dimsWithin(const Shape &shape, std::initializer_list<abi::Dim> allowed) {
  return std::ranges::all_of(
      shape, [&](const Extent &extent) { return !extent.dim || std::ranges::find(allowed, *extent.dim) != allowed.end(); });
}

static bool isWeight(ValueKind kind) { return kind == ValueKind::Weight || kind == ValueKind::WeightGroup; }

/// Rows of whole bytes of elements that are moved by themselves.
static bool canOrderColumns(const Value &value) {
  int bits = bitWidth(value.dtype);
  bool isMatrix = value.shape.size() == 1 || value.shape.size() == 2;
  return isMatrix && (bits == 4 ? value.shape.back().size % 2 == 0 : bits == 8 || bits == 16 || bits == 32);
}

static Result<void> verifyWeight(const Value &value) {
  if (value.isScale && !holdsScales(value.dtype, /*hasGlobalScale=*/true))
    return fail("scales are f32, f16, bf16, f8E8M0FNU or f8E4M3FN, found " + std::string(mlirName(value.dtype)));
  if (value.isGlobalScale && (value.dtype != DType::F32 || value.shape != Shape{{1, {}}, {1, {}}}))
    return fail("a global scale is 1x1xf32, found " + typeText(value.shape, value.dtype));
  if (!dimsWithin(value.shape, {}))
    return fail("a weight's shape cannot depend on run-time sizes, found " + typeText(value.shape, value.dtype));
  auto badName = [&](const std::string &name) {
    bool one = name.find("{}") != name.npos && name.find("{}") == name.rfind("{}");
    return name.empty() || (value.kind == ValueKind::WeightGroup && !one);
  };
  if (!value.order.empty() && (badName(value.order) || !canOrderColumns(value)))
    return fail(fmt::format("order {} is of a weight whose columns cannot be sorted, or a weight_group's without one '{{}}'",
                            quote(value.order)));
  for (const std::string &alias : value.aliases)
    if (badName(alias))
      return fail("alias " + quote(alias) + " is empty, or a weight_group's without one '{}'");
  if (badName(value.name))
    return fail("the name is empty, or a weight_group's without one '{}'");
  return {};
}

static Result<void> verifyValue(const Value &value, const Program &program) {
  if (isWeight(value.kind))
    QUANT_TRY(verifyWeight(value));
  if (value.kind == ValueKind::Cache && !dimsWithin(value.shape, {abi::Dim::Context}))
    return fail("a cache's shape can depend on 'context' only, found " + typeText(value.shape, value.dtype));
  if (value.layout == Layout::KMajor && (value.dtype != DType::F32 || value.shape.size() < 2))
    return fail("k_major values are f32 of two dimensions or more, found " + typeText(value.shape, value.dtype));
  QUANT_TRY_ASSIGN(int64_t bytes, byteSize(value, program.limits.largest()));
  if (bytes > kMaxValueBytes)
    return fail(fmt::format("{} is {} bytes, at most {} are allowed", typeText(value.shape, value.dtype), bytes, kMaxValueBytes));
  if (value.kind != ValueKind::Workspace)
    return {};
  if (value.offset % abi::kBufferAlignment != 0)
    return fail(fmt::format("offset {} is not a multiple of {}", value.offset, abi::kBufferAlignment));
  if (value.offset > program.workspaceBytes || bytes > program.workspaceBytes - value.offset)
    return fail(fmt::format("offset {} with {} bytes leaves the workspace of {}", value.offset, bytes, program.workspaceBytes));
  return {};
}

/// Needs verified values.
static Result<void> verifyWorkspace(const Program &program) {
  if (program.workspaceBytes > kMaxWorkspaceBytes)
    return fail(fmt::format("workspace_bytes is {}, at most {} are allowed", program.workspaceBytes, kMaxWorkspaceBytes));
  int64_t needed = 0;
  for (const Value &value : program.values)
    if (value.kind == ValueKind::Workspace)
      needed = std::max(needed, value.offset + *byteSize(value, program.limits.largest()));
  if (program.workspaceBytes - needed > kWorkspaceSlack)
    return fail(fmt::format("workspace_bytes is {}, the values end at {}", program.workspaceBytes, needed));
  return {};
}

/// Inputs and outputs are bound by name.
static Result<void> verifyNames(const Program &program) {
  std::set<std::string_view> seen;
  for (const Value &value : program.values)
    if ((value.kind == ValueKind::Input || value.kind == ValueKind::Output) && !seen.insert(value.name).second)
      return fail("two inputs or outputs are called " + quote(value.name));
  return {};
}

static Result<void> verifyOperand(const Value &value, const KernelOperand &expected) {
  if (value.dtype != expected.dtype)
    return fail(fmt::format("has dtype {}, the kernel expects {}", mlirName(value.dtype), mlirName(expected.dtype)));
  if (expected.access != Access::Read && (isWeight(value.kind) || value.kind == ValueKind::Input))
    return fail("is written, but a value of kind " + std::string(kindName(value.kind)) + " is read-only");
  if (value.layout != expected.layout)
    return fail(value.layout == Layout::KMajor ? "is k_major, the kernel expects rows" : "is not k_major as the kernel expects");
  if (expected.count && *expected.count != value.count)
    return fail(fmt::format("has {} tensors, the kernel expects {}", value.count, *expected.count));
  if (expected.shape && *expected.shape != value.shape)
    return fail(fmt::format("has type {}, the kernel expects {}", typeText(value.shape, value.dtype),
                            typeText(*expected.shape, expected.dtype)));
  return {};
}

static Result<void> verifyDispatch(const Dispatch &dispatch, const Program &program, const Kernel &kernel) {
  if (dispatch.operands.size() != kernel.operands.size())
    return fail(fmt::format("{} operands, the kernel has {}", dispatch.operands.size(), kernel.operands.size()));
  for (size_t i = 0; i < kernel.operands.size(); ++i) {
    const Value &value = program.values[static_cast<size_t>(dispatch.operands[i])];
    if (Result<void> operand = verifyOperand(value, kernel.operands[i]); !operand)
      return tl::unexpected(
          operand.error().in(fmt::format("operand {} (value {} {})", i, dispatch.operands[i], quote(value.name))));
  }
  Result<abi::Interval> grid = dispatch.grid.bounds(program.limits.intervals());
  if (!grid)
    return tl::unexpected(grid.error().in("grid"));
  if (grid->high > kMaxGridBlocks)
    return fail(fmt::format("grid can have {} blocks, at most {} are allowed", grid->high, kMaxGridBlocks));
  return {};
}

Result<void> verifyProgram(const Program &program, const std::vector<Kernel> &kernels) {
  for (size_t i = 0; i < program.values.size(); ++i)
    if (Result<void> value = verifyValue(program.values[i], program); !value)
      return tl::unexpected(value.error().in(fmt::format("value {} {}", i, quote(program.values[i].name))));
  QUANT_TRY(verifyWorkspace(program));
  QUANT_TRY(verifyNames(program));
  for (size_t i = 0; i < program.dispatches.size(); ++i) {
    const Dispatch &dispatch = program.dispatches[i];
    const Kernel &kernel = kernels[static_cast<size_t>(dispatch.kernel)];
    if (Result<void> verified = verifyDispatch(dispatch, program, kernel); !verified)
      return tl::unexpected(verified.error().in(fmt::format("dispatch {} of kernel {}", i, quote(kernel.name))));
  }
  return {};
}

} // namespace quant::runtime
