//===- program.cpp - names, sizes and the printer -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/module/program.h"

#include <fmt/core.h>

#include <sstream>

#include <algorithm>
#include <array>
#include <ostream>

namespace quant::runtime {

std::optional<DType> dtypeFromName(std::string_view name) {
  static constexpr std::array kKnown = {DType::F32,       DType::F16,      DType::BF16, DType::F8E4M3FN, DType::F8E5M2,
                                        DType::F8E8M0FNU, DType::F4E2M1FN, DType::I4,   DType::I8,       DType::I32,
                                        DType::I64,       DType::U4,       DType::U8};
  std::optional<DType> dtype = fromMlirName(name);
  return dtype && std::ranges::find(kKnown, *dtype) != kKnown.end() ? dtype : std::nullopt;
}

std::string_view kindName(ValueKind kind) {
  static constexpr std::array<std::string_view, 6> kNames = {"input", "output", "weight", "weight_group", "cache", "workspace"};
  return kNames[static_cast<size_t>(kind)];
}

void printType(std::ostream &os, const Shape &shape, DType dtype) {
  for (const Extent &extent : shape) {
    if (extent.dim)
      os << abi::nameOf(*extent.dim) << 'x';
    else
      os << extent.size << 'x';
  }
  os << mlirName(dtype);
}

std::string typeText(const Shape &shape, DType dtype) {
  std::ostringstream os;
  printType(os, shape, dtype);
  return os.str();
}

Result<int64_t> byteSize(const Shape &shape, DType dtype, const Dims &dims) {
  int64_t bits = bitWidth(dtype);
  for (const Extent &extent : shape)
    if (__builtin_mul_overflow(bits, extent.at(dims), &bits))
      return fail("size overflows 64 bits");
  return bits / 8 + (bits % 8 != 0);
}

Result<int64_t> byteSize(const Value &value, const Dims &dims) {
  if (value.layout == Layout::RowMajor)
    return byteSize(value.shape, value.dtype, dims);
  Shape rows(value.shape.begin(), value.shape.end() - 1);
  Result<int64_t> bytes = byteSize(rows, value.dtype, dims), group = byteSize({value.shape.back()}, value.dtype, dims);
  if (!bytes || !group)
    return bytes ? group : bytes;
  constexpr int64_t kMultiple = abi::kKMajorRowMultiple;
  int64_t element = bitWidth(value.dtype) / 8, size = 0;
  if (__builtin_mul_overflow((*bytes / element + kMultiple - 1) / kMultiple * kMultiple, *group, &size))
    return fail("size overflows 64 bits");
  return size;
}

int64_t rowBytes(const Value &cache) { return *byteSize(cache, {1, 1, 1, 1}); } // checked with the module at its largest

static void printValue(std::ostream &os, const Value &value) {
  os << kindName(value.kind) << " \"" << value.name << "\" : ";
  if (value.kind == ValueKind::WeightGroup)
    os << value.count << " of ";
  printType(os, value.shape, value.dtype);
  if (value.layout == Layout::KMajor)
    os << " k_major";
  if (value.isScale)
    os << " scales";
  if (value.isGlobalScale)
    os << " global scale";
  if (value.repack != Repack::None)
    os << ' ' << name(value.repack);
  if (!value.order.empty())
    os << " by \"" << value.order << '"';
  if (value.kind == ValueKind::Workspace)
    os << " at " << value.offset;
  for (const std::string &alias : value.aliases)
    os << ", or \"" << alias << '"';
}

static void printDispatch(std::ostream &os, const Target &target, const Dispatch &dispatch) {
  const Kernel &kernel = target.kernels[static_cast<size_t>(dispatch.kernel)];
  os << kernel.name << '[' << dispatch.grid.text() << "](";
  for (size_t i = 0; i < dispatch.operands.size(); ++i) {
    static constexpr std::array<std::string_view, 3> kMarks = {"", "=", "+="};
    os << (i > 0 ? ", " : "") << kMarks[static_cast<size_t>(kernel.operands[i].access)] << '%' << dispatch.operands[i];
  }
  os << ')';
  if (!dispatch.label.empty())
    os << " // " << dispatch.label;
}

static void printKernel(std::ostream &os, const Kernel &kernel) {
  if (kernel.unit.empty())
    return;
  os << "  kernel " << kernel.name << " on " << kernel.unit;
  if (!kernel.why.empty())
    os << " // " << kernel.why;
  os << '\n';
}

Result<void> checkKernels(const Target &target, KernelKind kind) {
  std::string missing;
  for (const Kernel &kernel : target.kernels) {
    const char *reason = !kernel.unsupported.empty()        ? kernel.unsupported.c_str()
                         : kernel.kind == kind              ? nullptr
                         : kernel.kind == KernelKind::Entry ? "it is called, not launched"
                                                            : "it is launched, not called";
    if (reason)
      missing += fmt::format("{}{} ({})", missing.empty() ? "" : "; ", kernel.name, reason);
  }
  return missing.empty() ? Result<void>()
                         : fail(fmt::format("there is no {} code for {}", target.name, missing), ErrorKind::Unsupported);
}

static void printProgram(std::ostream &os, const std::string &name, const Program &program, const Target &target) {
  os << "program @" << name << " { // at most " << program.limits.tokens << " tokens a call, " << program.limits.context
     << " of context, vocabulary " << program.limits.vocab << "; workspace " << program.workspaceBytes << " bytes\n";
  for (size_t i = 0; i < program.values.size(); ++i) {
    os << "  %" << i << " = ";
    printValue(os, program.values[i]);
    os << '\n';
  }
  if (&program == &target.program)
    for (const Kernel &kernel : target.kernels)
      printKernel(os, kernel);
  // Operands: %read, =%written, +=%read and written.
  for (const Dispatch &dispatch : program.dispatches) {
    os << "  ";
    printDispatch(os, target, dispatch);
    os << '\n';
  }
  os << "}\n";
}

void printProgram(std::ostream &os, const Target &target) {
  printProgram(os, target.name, target.program, target);
  if (target.draft)
    printProgram(os, target.name + ".draft", *target.draft, target);
}

} // namespace quant::runtime
