//===- session.cpp - a program, running on the CPU ------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/host/session.h"

#include "runtime/checkpoint/finite.h"
#include "runtime/device/common/scales.h"
#include "runtime/device/common/weights.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <immintrin.h>

namespace quant::runtime {

using checkpoint::Checkpoint;

static int64_t alignUp(int64_t bytes, int64_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

Result<std::unique_ptr<Session>> HostSession::create(std::shared_ptr<const Module> module, const Target &target,
                                                     const SessionOptions &options) {
  return create(std::unique_ptr<HostSession>(new HostSession(std::move(module), target, target.program, options)), nullptr);
}

Result<std::unique_ptr<Session>> HostSession::createDraft() const {
  return create(std::unique_ptr<HostSession>(new HostSession(module, *target, *target->draft, options)), pool);
}

/// `shared`: the threads of another session; null: makes some.
Result<std::unique_ptr<Session>> HostSession::create(std::unique_ptr<HostSession> session, std::shared_ptr<ThreadPool> shared) {
  QUANT_TRY(checkKernels(*session->target, KernelKind::Entry));
  QUANT_TRY_ASSIGN(session->size, cacheSize(session->program(), session->options));
  // CPU features before threads: see CpuFeatures::host().
  QUANT_TRY(session->selectCode(session->options.isa));
  session->pool = std::move(shared);
  if (!session->pool) {
    int threads = session->options.threads;
    QUANT_TRY_ASSIGN(session->pool, ThreadPool::create(threads == 0 ? availableCpus() : threads));
  }
  QUANT_TRY(session->allocate());
  return session;
}

Result<void> HostSession::load(std::shared_ptr<const Checkpoint> loaded) {
  weights = std::move(loaded);
  QUANT_TRY(resolveValues());
  resolveSteps();
  return {};
}

Result<void> HostSession::selectCode(const std::string &isa) {
  QUANT_TRY_ASSIGN(object, selectObject(*target, isa, CpuFeatures::host()));
  QUANT_TRY_ASSIGN(code, CodeImage::load(*object));
  return {};
}

Result<void> HostSession::allocate() {
  for (const Kernel &kernel : target->kernels)
    scratchStride = std::max(scratchStride, alignUp(kernel.scratchBytes, abi::kBufferAlignment));
  QUANT_TRY_ASSIGN(workspace, Memory::allocate(program().workspaceBytes, "workspace"));
  QUANT_TRY_ASSIGN(scratch, Memory::allocate(scratchStride * threads(), "workers' scratch"));
  return {};
}

Result<void *> HostSession::resolveWeight(const Value &value) {
  QUANT_TRY_ASSIGN(std::vector<const Checkpoint::Tensor *> tensors, findWeights(value, *weights, repacked));
  if (value.isScale)
    scales.insert(scales.end(), tensors.begin(), tensors.end());
  std::vector<const std::byte *> table;
  table.reserve(tensors.size());
  std::ranges::copy_if(tensors, std::back_inserter(vectors),
                       [](const Checkpoint::Tensor *tensor) { return checkpoint::isVector(*tensor->info); });
  for (const Checkpoint::Tensor *tensor : tensors)
    table.push_back(tensor->data.data());
  // Kernels take void *const * for all operands; that weights are only read was verified with the module.
  if (value.kind == ValueKind::Weight)
    return const_cast<std::byte *>(table[0]);
  return weightTables.emplace_back(std::move(table)).data();
}

Result<void *> HostSession::resolveValue(const Value &value) {
  if (value.kind == ValueKind::Workspace)
    return workspace.data() + value.offset;
  if (value.kind == ValueKind::Weight || value.kind == ValueKind::WeightGroup)
    return resolveWeight(value);
  Dims sizes = program().limits.largest();
  sizes[static_cast<size_t>(abi::Dim::Context)] = cacheRows();
  QUANT_TRY_ASSIGN(Memory memory, Memory::allocate(*byteSize(value, sizes), value.name.c_str()));
  return buffers.emplace_back(std::move(memory)).data();
}

Result<void> HostSession::resolveValues() {
  const std::vector<Value> &values = program().values;
  for (size_t i = 0; i < values.size(); ++i) {
    Result<void *> address = resolveValue(values[i]);
    if (!address)
      return tl::unexpected(address.error().in(fmt::format("value {}", i)));
    addresses.push_back(*address);
  }
  repacked.turn(*pool);
  for (const Checkpoint::Tensor *tensor : vectors)
    QUANT_TRY(checkpoint::checkFinite(*tensor));
  return checkScales(scales, *pool);
}

void HostSession::resolveSteps() {
  for (const Dispatch &dispatch : program().dispatches) {
    auto kernel = static_cast<size_t>(dispatch.kernel);
    Step step = {.kernel = code.kernel(object->entries[kernel]), .grid = &dispatch.grid, .operands = {}, .profile = nullptr};
    for (int operand : dispatch.operands)
      step.operands.push_back(addresses[static_cast<size_t>(operand)]);
    if (options.profile)
      step.profile = &profileEntries[dispatch.label.empty() ? target->kernels[kernel].name : dispatch.label];
    steps.push_back(std::move(step));
  }
}

std::byte *HostSession::buffer(std::string_view name) const {
  for (size_t i = 0; i < addresses.size(); ++i) {
    const Value &value = program().values[i];
    if ((value.kind == ValueKind::Input || value.kind == ValueKind::Output) && value.name == name)
      return static_cast<std::byte *>(addresses[i]);
  }
  return nullptr;
}

Result<void> HostSession::readRows(size_t value, int64_t row, std::span<std::byte> bytes) {
  std::copy_n(static_cast<const std::byte *>(addresses[value]) + row * rowBytes(program().values[value]), bytes.size(),
              bytes.data());
  return {};
}

Result<void> HostSession::writeRows(size_t value, int64_t row, std::span<const std::byte> bytes) {
  std::ranges::copy(bytes, static_cast<std::byte *>(addresses[value]) + row * rowBytes(program().values[value]));
  return {};
}

namespace {
/// Kernels decode weights by way of subnormal numbers and round to nearest, whatever the program around them has set for its
/// threads (torch.set_flush_denormal, libraries built with -ffast-math), which new threads inherit.
class DefaultFloatControl {
public:
  DefaultFloatControl() { _mm_setcsr(kDefault); }
  ~DefaultFloatControl() { _mm_setcsr(before); }
  DefaultFloatControl(const DefaultFloatControl &) = delete;
  DefaultFloatControl &operator=(const DefaultFloatControl &) = delete;

private:
  /// All exceptions masked, round to nearest, no flushing of subnormal results or operands (Intel SDM volume 1, 10.2.3).
  static constexpr unsigned kDefault = 0x1F80;
  unsigned before = _mm_getcsr();
};
} // namespace

/// UBSan's check of the callee's type would read the bytes before it, which may not be there.
[[clang::no_sanitize("function")]] static void call(abi::HostKernel kernel, const std::vector<void *> &operands, const Dims &dims,
                                                    void *scratch, int64_t begin, int64_t end) {
  DefaultFloatControl control;
  kernel(operands.data(), dims.data(), scratch, begin, end);
}

Result<void> HostSession::run(const Dims &dims) {
  QUANT_TRY(checkDims(program(), cacheRows(), dims));
  abi::Sizes sizes(dims);
  for (const Step &step : steps) {
    QUANT_TRY_ASSIGN(int64_t blocks, step.grid->evaluate(sizes));
    if (options.tap && !options.tap(static_cast<size_t>(&step - steps.data()), step.operands, dims))
      return {};
    auto start = step.profile ? std::chrono::steady_clock::now() : std::chrono::steady_clock::time_point{};
    pool->run(blocks, [&](int worker, int64_t begin, int64_t end) {
      call(step.kernel, step.operands, dims, scratch.data() + worker * scratchStride, begin, end);
    });
    if (step.profile) {
      step.profile->seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      ++step.profile->calls;
    }
  }
  return {};
}

} // namespace quant::runtime
