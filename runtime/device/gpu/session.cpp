//===- session.cpp - an sm_90a program, running on a GPU -----------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/gpu/session.h"

#include "runtime/checkpoint/text.h"
#include "runtime/device/common/scales.h"

#include <chrono>

namespace quant::runtime {

using checkpoint::Checkpoint;

//===----------------------------------------------------------------------===//
// Creation
//===----------------------------------------------------------------------===//

Result<std::unique_ptr<Session>> GpuSession::create(std::shared_ptr<const Module> module,
                                                    std::shared_ptr<const Checkpoint> weights, const SessionOptions &options,
                                                    const MakeDevice &makeDevice) {
  std::unique_ptr<GpuSession> session(new GpuSession);
  session->module = std::move(module);
  session->weights = std::move(weights);
  session->target = session->module->find(kSm90aTarget);
  if (!session->target)
    return fail(session->module->path + ": the module has no code for GPUs (target 'sm_90a')");
  Result<int64_t> rows = contextRows(session->program(), options);
  if (!rows)
    return tl::unexpected(rows.error());
  session->cacheRows = *rows;
  session->threadCount = options.threads == 0 ? availableCpus() : options.threads;
  session->profiles = options.profile;
  if (Result<void> bound = session->bind(makeDevice, options); !bound)
    return tl::unexpected(bound.error().in(session->module->path));
  if (Result<void> found = session->memory->findWeights(*session->weights); !found)
    return tl::unexpected(found.error());
  if (Result<void> checked = session->checkWeightScales(); !checked)
    return tl::unexpected(checked.error());
  if (Result<void> placed = session->memory->place(*session->device); !placed)
    return tl::unexpected(placed.error());
  if (Result<void> allocated = session->allocateExchanges(); !allocated)
    return tl::unexpected(allocated.error());
  // No launch may find weights that are still under way: the first may read them before it waits for what is in front of it.
  if (Result<void> arrived = session->device->synchronize(); !arrived)
    return tl::unexpected(arrived.error());
  return session;
}

/// Everything that the weights have no part in.
Result<void> GpuSession::bind(const MakeDevice &makeDevice, const SessionOptions &options) {
  if (Result<void> checked = checkKernels(*target); !checked)
    return checked;
  Result<std::vector<GpuKernel>> read = readKernels(*target);
  if (!read)
    return tl::unexpected(read.error());
  kernels = std::move(*read);
  memory = std::make_unique<GpuMemory>(program(), cacheRows);
  if (Result<void> used = useOperands(); !used)
    return used;
  Result<std::unique_ptr<GpuDevice>> made = makeDevice(*target, options);
  if (!made)
    return tl::unexpected(made.error());
  device = std::move(*made);
  steps.resize(program().dispatches.size());
  return device->enter();
}

static Error inDispatch(const Error &error, const GpuKernel &kernel, const Dispatch &dispatch) {
  return error.in("kernel " + checkpoint::quote(kernel.name) + " (" + dispatch.label + ")");
}

/// Of every variant: which of them run depends on the calls.
Result<void> GpuSession::useOperands() {
  for (const Dispatch &dispatch : program().dispatches) {
    const GpuKernel &kernel = kernels[static_cast<size_t>(dispatch.kernel)];
    for (const LaunchVariant &variant : kernel.variants)
      for (const abi::Operand &operand : variant.recipe.operands)
        if (Result<void> used = valuesOf(operand, dispatch).and_then([&](const auto &values) { return memory->use(values); });
            !used)
          return tl::unexpected(inDispatch(used.error(), kernel, dispatch));
  }
  return {};
}

Result<void> GpuSession::checkWeightScales() const {
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(threadCount);
  if (!pool)
    return tl::unexpected(pool.error());
  return checkScales(memory->scales(), **pool);
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
    auto bytes = static_cast<int64_t>(memory->of({index}).region.bytes);
    Result<Memory> host = Memory::allocate(bytes, value.name.c_str());
    if (!host)
      return tl::unexpected(host.error());
    exchanges.push_back({index, std::move(*host)});
  }
  return {};
}

std::byte *GpuSession::buffer(std::string_view name) const {
  for (const Exchange &exchange : exchanges)
    if (program().values[static_cast<size_t>(exchange.value)].name == name)
      return exchange.host.data();
  return nullptr;
}

/// Copies the inputs to the device, or the outputs from it, as long as they are in this call.
Result<void> GpuSession::exchange(ValueKind kind, const Dims &dims) {
  for (const Exchange &exchange : exchanges) {
    const Value &value = program().values[static_cast<size_t>(exchange.value)];
    if (value.kind != kind)
      continue;
    Result<int64_t> bytes = byteSize(value, dims);
    if (!bytes)
      return tl::unexpected(bytes.error());
    Region region = {memory->of({exchange.value}).region.address, static_cast<uint64_t>(*bytes)};
    Result<void> copied =
        kind == ValueKind::Input ? device->write(region, exchange.host.data()) : device->read(exchange.host.data(), region);
    if (!copied)
      return tl::unexpected(copied.error().in(std::string(kindName(kind)) + " " + checkpoint::quote(value.name)));
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

Result<LaunchOperand> GpuSession::operandOf(const Dispatch &dispatch, const abi::Operand &operand, const abi::Sizes &sizes,
                                            const Dims &dims) {
  Result<abi::Extent> extent = operand.extent(sizes);
  if (!extent)
    return tl::unexpected(extent.error());
  std::vector<int> values = *valuesOf(operand, dispatch); // useOperands() has asked for it before
  const Value &value = program().values[static_cast<size_t>(values[0])];
  const GpuMemory::Place &place = memory->of(values);
  Region region = place.region;
  if (value.kind != ValueKind::Weight && value.kind != ValueKind::WeightGroup) {
    Result<int64_t> bytes = byteSize(value, dims);
    if (!bytes)
      return tl::unexpected(bytes.error());
    region.bytes = static_cast<uint64_t>(*bytes);
  }
  if (extent->bytes != region.bytes)
    return fail("the launch recipe's " + checkpoint::quote(operand.name) + " has " + std::to_string(extent->bytes) +
                " bytes, the program's " + checkpoint::quote(value.name) + " has " + std::to_string(region.bytes));
  const Kernel &kernel = target->kernels[static_cast<size_t>(dispatch.kernel)];
  bool overwritten = kernel.operands[static_cast<size_t>(operand.from[0])].access == Access::Write;
  return LaunchOperand{value.name, region, operand.written, overwritten, operand.early, place.pointees};
}

Result<void> GpuSession::prepare(const Dispatch &dispatch, const Dims &dims, Step &step) {
  abi::Sizes sizes(dims);
  sizes[abi::Dim::Sms] = device->multiprocessors();
  Result<const LaunchVariant *> chosen = kernels[static_cast<size_t>(dispatch.kernel)].choose(sizes);
  if (!chosen)
    return tl::unexpected(chosen.error());
  LaunchPlan plan{(*chosen)->recipe, std::move(sizes), {}};
  for (const abi::Operand &operand : plan.recipe.operands) {
    Result<LaunchOperand> resolved = operandOf(dispatch, operand, plan.sizes, dims);
    if (!resolved)
      return tl::unexpected(resolved.error());
    plan.operands.push_back(std::move(*resolved));
  }
  Result<std::unique_ptr<PreparedLaunch>> launch = device->prepare(plan);
  if (!launch)
    return tl::unexpected(launch.error());
  step.dims = dims;
  step.launch = std::move(*launch);
  return {};
}

/// What a device says here may be about any launch before.
Result<void> GpuSession::afterLaunches(Result<void> done) const {
  if (done || profiles || !device->isAsynchronous())
    return done;
  return fail(done.error().message +
              "; the kernel that failed may be an earlier one: a session that profiles (quant-run --profile) " +
              "waits for each and says which");
}

Result<void> GpuSession::runDispatch(size_t index, const Dims &dims) {
  const Dispatch &dispatch = program().dispatches[index];
  Step &step = steps[index];
  Dims known = step.dims;
  if (!kernels[static_cast<size_t>(dispatch.kernel)].followsPosition)
    known[static_cast<size_t>(abi::Dim::Position)] = dims[static_cast<size_t>(abi::Dim::Position)];
  if (!step.launch || known != dims)
    if (Result<void> prepared = prepare(dispatch, dims, step); !prepared)
      return prepared;
  if (!profiles)
    return afterLaunches(step.launch->enqueue());
  return step.launch->enqueue().and_then([&] { return device->synchronize(); });
}

Result<void> GpuSession::runDispatches(const Dims &dims) {
  for (size_t i = 0; i < program().dispatches.size(); ++i) {
    const Dispatch &dispatch = program().dispatches[i];
    const GpuKernel &kernel = kernels[static_cast<size_t>(dispatch.kernel)];
    auto start = std::chrono::steady_clock::now();
    if (Result<void> ran = runDispatch(i, dims); !ran)
      return tl::unexpected(inDispatch(ran.error(), kernel, dispatch));
    if (!profiles)
      continue;
    ProfileEntry &entry = profileEntries[dispatch.label.empty() ? kernel.name : dispatch.label];
    entry.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++entry.calls;
  }
  return {};
}

Result<void> GpuSession::run(const Dims &dims) {
  return checkDims(program(), cacheRows, dims)
      .and_then([&] { return device->enter(); })
      .and_then([&] { return exchange(ValueKind::Input, dims); })
      .and_then([&] { return runDispatches(dims); })
      .and_then([&] { return afterLaunches(exchange(ValueKind::Output, dims)); })
      .and_then([&] { return afterLaunches(device->synchronize()); });
}

} // namespace quant::runtime
