//===- session.cpp - a program, running on a GPU ------- -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/session.h"

#include "runtime/device/common/scales.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <chrono>

namespace quant::runtime {

using checkpoint::Checkpoint;

//===----------------------------------------------------------------------===//
// Creation
//===----------------------------------------------------------------------===//

Result<std::unique_ptr<Session>> GpuSession::create(std::shared_ptr<const Module> module, const Target &target,
                                                    const SessionOptions &options, const MakeDevice &makeDevice) {
  return create(std::unique_ptr<GpuSession>(new GpuSession(std::move(module), target, target.program, options, makeDevice)));
}

Result<std::unique_ptr<Session>> GpuSession::createDraft() const {
  return create(std::unique_ptr<GpuSession>(new GpuSession(module, *target, *target->draft, options, makeDevice)));
}

Result<std::unique_ptr<Session>> GpuSession::create(std::unique_ptr<GpuSession> session) {
  const SessionOptions &options = session->options;
  QUANT_TRY_ASSIGN(session->size, cacheSize(session->program(), options));
  session->threadCount = options.threads == 0 ? availableCpus() : options.threads;
  QUANT_TRY(checkKernels(*session->target, KernelKind::Recipe));
  session->memory = std::make_unique<GpuMemory>(session->program(), session->size.rows);
  QUANT_TRY(session->useOperands());
  QUANT_TRY_ASSIGN(session->device, session->makeDevice(*session->target, options));
  session->steps.resize(session->program().dispatches.size());
  return session;
}

/// Recordings are the device's, and end in its context.
GpuSession::~GpuSession() {
  if (!device)
    return;
  DeviceUse use(*device);
  recordings.clear();
}

Result<void> GpuSession::load(std::shared_ptr<const Checkpoint> loaded) {
  weights = std::move(loaded);
  DeviceUse use(*device);
  QUANT_TRY(use.result());
  QUANT_TRY(loadKernels());
  QUANT_TRY(memory->findWeights(*weights));
  QUANT_TRY(checkWeightScales());
  QUANT_TRY(memory->place(*device));
  QUANT_TRY(allocateExchanges());
  // No launch may find weights that are still under way: the first may read them before it waits for what is in front of it.
  return device->synchronize();
}

static Error inDispatch(const Error &error, const Kernel &kernel, const Dispatch &dispatch) {
  return error.in(fmt::format("kernel {} ({})", quote(kernel.name), dispatch.label));
}

/// Of every variant: which of them run depends on the calls.
Result<void> GpuSession::useOperands() {
  for (const Dispatch &dispatch : program().dispatches)
    for (const KernelVariant &variant : kernelOf(dispatch).variants)
      for (const abi::Operand &operand : variant.recipe.operands)
        if (Result<void> used =
                valuesOf(operand, dispatch).and_then([&](const auto &values) { return memory->use({values, operand.stacked}); });
            !used)
          return tl::unexpected(inDispatch(used.error(), kernelOf(dispatch), dispatch));
  return {};
}

/// All that a call can run.
Result<void> GpuSession::loadKernels() {
  for (const Dispatch &dispatch : program().dispatches)
    for (const KernelVariant &variant : kernelOf(dispatch).variants)
      if (Result<void> loaded = device->load(variant.recipe); !loaded)
        return tl::unexpected(inDispatch(loaded.error(), kernelOf(dispatch), dispatch));
  return {};
}

Result<void> GpuSession::checkWeightScales() const {
  QUANT_TRY_ASSIGN(std::unique_ptr<ThreadPool> pool, ThreadPool::create(threadCount));
  memory->turnWeights(*pool);
  QUANT_TRY(memory->checkVectors());
  return checkScales(memory->scales(), *pool);
}

//===----------------------------------------------------------------------===//
// Inputs and outputs
//===----------------------------------------------------------------------===//

Result<void> GpuSession::allocateExchanges() {
  for (size_t i = 0; i < program().values.size(); ++i) {
    const Value &value = program().values[i];
    if (value.kind != ValueKind::Input && value.kind != ValueKind::Output)
      continue;
    auto index = static_cast<int>(i);
    QUANT_TRY_ASSIGN(std::byte * host, device->hostMemory(memory->of({{index}}).region.bytes, value.name));
    exchanges.push_back({index, host});
  }
  return {};
}

std::byte *GpuSession::buffer(std::string_view name) const {
  for (const Exchange &exchange : exchanges)
    if (program().values[static_cast<size_t>(exchange.value)].name == name)
      return exchange.host;
  return nullptr;
}

Region GpuSession::rowsOf(size_t value, int64_t row, size_t bytes) const {
  uint64_t cache = memory->of({{static_cast<int>(value)}}).region.address;
  return {cache + static_cast<uint64_t>(row * rowBytes(program().values[value])), bytes};
}

Result<void> GpuSession::readRows(size_t value, int64_t row, std::span<std::byte> bytes) {
  DeviceUse use(*device);
  QUANT_TRY(use.result());
  QUANT_TRY(device->read(bytes.data(), rowsOf(value, row, bytes.size())));
  return device->synchronize();
}

Result<void> GpuSession::writeRows(size_t value, int64_t row, std::span<const std::byte> bytes) {
  DeviceUse use(*device);
  QUANT_TRY(use.result());
  QUANT_TRY(device->write(rowsOf(value, row, bytes.size()), bytes.data()));
  return device->synchronize();
}

/// Copies the inputs to the device, or the outputs from it, as long as they are in this call.
Result<void> GpuSession::exchange(ValueKind kind, const Dims &dims) {
  for (const Exchange &exchange : exchanges) {
    const Value &value = program().values[static_cast<size_t>(exchange.value)];
    if (value.kind != kind)
      continue;
    QUANT_TRY_ASSIGN(int64_t bytes, byteSize(value, dims));
    Region region = {memory->of({{exchange.value}}).region.address, static_cast<uint64_t>(bytes)};
    Result<void> copied = kind == ValueKind::Input ? device->write(region, exchange.host) : device->read(exchange.host, region);
    if (!copied)
      return tl::unexpected(copied.error().in(fmt::format("{} {}", kindName(kind), quote(value.name))));
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

Result<LaunchOperand> GpuSession::operandOf(const Dispatch &dispatch, const abi::Operand &operand, const abi::Sizes &sizes,
                                            const Dims &dims) {
  QUANT_TRY_ASSIGN(abi::Extent extent, operand.extent(sizes));
  std::vector<int> values = *valuesOf(operand, dispatch); // useOperands() has asked for it before
  const Value &value = program().values[static_cast<size_t>(values[0])];
  const GpuMemory::Place &place = memory->of({values, operand.stacked});
  Region region = place.region;
  if (value.kind != ValueKind::Weight && value.kind != ValueKind::WeightGroup) {
    QUANT_TRY_ASSIGN(int64_t bytes, byteSize(value, dims));
    region.bytes = static_cast<uint64_t>(bytes);
  }
  if (extent.bytes != region.bytes)
    return fail(fmt::format("the launch recipe's {} has {} bytes, the program's {} has {}", quote(operand.name), extent.bytes,
                            quote(value.name), region.bytes));
  bool overwritten = kernelOf(dispatch).operands[static_cast<size_t>(operand.from[0])].access == Access::Write;
  return LaunchOperand{value.name, region, operand.written, overwritten, operand.early, place.pointees};
}

Result<void> GpuSession::prepare(const Dispatch &dispatch, const Dims &dims, Step &step) {
  abi::Sizes sizes(dims);
  sizes[abi::Dim::Sms] = device->multiprocessors();
  QUANT_TRY_ASSIGN(const abi::LaunchRecipe *recipe, chooseRecipe(kernelOf(dispatch), sizes));
  LaunchPlan plan{*recipe, sizes, {}};
  for (const abi::Operand &operand : plan.recipe.operands) {
    QUANT_TRY_ASSIGN(LaunchOperand resolved, operandOf(dispatch, operand, plan.sizes, dims));
    plan.operands.push_back(std::move(resolved));
  }
  QUANT_TRY_ASSIGN(std::unique_ptr<PreparedLaunch> launch, device->prepare(plan));
  step.dims = dims;
  step.launch = std::move(launch);
  return {};
}

/// What a device says here may be about any launch before.
Result<void> GpuSession::afterLaunches(Result<void> done) const {
  if (done || options.profile || !device->isAsynchronous())
    return done;
  return fail(done.error().message +
                  "; the kernel that failed may be an earlier one: a session that profiles (quant-run --profile) " +
                  "waits for each and says which",
              done.error().kind);
}

Result<void> GpuSession::runDispatch(size_t index, const Dims &dims) {
  const Dispatch &dispatch = program().dispatches[index];
  Step &step = steps[index];
  if (!step.launch || step.dims != dims)
    QUANT_TRY(prepare(dispatch, dims, step));
  if (!options.profile)
    return afterLaunches(step.launch->enqueue());
  return step.launch->enqueue().and_then([&] { return device->synchronize(); });
}

Result<void> GpuSession::runDispatches(const Dims &dims) {
  for (size_t i = 0; i < program().dispatches.size(); ++i) {
    const Dispatch &dispatch = program().dispatches[i];
    const Kernel &kernel = kernelOf(dispatch);
    auto start = std::chrono::steady_clock::now();
    if (Result<void> ran = runDispatch(i, dims); !ran)
      return tl::unexpected(inDispatch(ran.error(), kernel, dispatch));
    if (!options.profile)
      continue;
    ProfileEntry &entry = profileEntries[dispatch.label.empty() ? kernel.name : dispatch.label];
    entry.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++entry.calls;
  }
  return {};
}

/// Copies, launches, copies; all of them may still be under way.
Result<void> GpuSession::runAll(const Dims &dims) {
  return exchange(ValueKind::Input, dims).and_then([&] { return runDispatches(dims); }).and_then([&] {
    return afterLaunches(exchange(ValueKind::Output, dims));
  });
}

/// Whether there was a call of this size before, which is the first of `recordings` then.
bool GpuSession::knows(const Dims &dims) {
  constexpr size_t kMost = 32;
  auto found = std::ranges::find(recordings, dims, &Recording::dims);
  bool isKnown = found != recordings.end();
  if (isKnown)
    recordings.splice(recordings.begin(), recordings, found);
  else
    recordings.push_front({dims, nullptr});
  if (recordings.size() > kMost)
    recordings.pop_back();
  return isKnown;
}

/// A call of a size that is known.
Result<void> GpuSession::runRecorded(const Dims &dims) {
  Recording &recording = recordings.front();
  if (!recording.call) {
    QUANT_TRY(device->beginRecording());
    Result<void> kept = runAll(dims);
    Result<std::unique_ptr<PreparedLaunch>> ended = device->endRecording();
    QUANT_TRY(kept);
    if (!ended)
      return tl::unexpected(
          ended.error().in("a call that is recorded (a session that is eager, quant-run --eager, records none)"));
    recording.call = std::move(*ended);
  }
  return afterLaunches(recording.call->enqueue());
}

Result<void> GpuSession::run(const Dims &dims) {
  QUANT_TRY(checkDims(program(), cacheRows(), dims));
  DeviceUse use(*device);
  QUANT_TRY(use.result());
  bool records = device->canRecord() && !options.eager && !options.profile;
  QUANT_TRY(records && knows(dims) ? runRecorded(dims) : runAll(dims));
  return afterLaunches(device->synchronize());
}

} // namespace quant::runtime
