//===- device.cpp - an H100 or H200 as a device of the runtime -----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/device.h"

#include "runtime/device/cuda/launch.h"
#include "runtime/device/gpu/session.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace quant::runtime {

using namespace cuda;

/// Errors: the target has no code of that isa.
static Result<void> checkIsa(const Target &target, const std::string &isa) {
  std::string names;
  bool has = false;
  for (const CodeObject &object : target.objects) {
    names += (names.empty() ? "" : ", ") + object.isa;
    has |= isa.empty() || object.isa == isa;
  }
  if (!has)
    return fail(fmt::format("the module has no {} code of isa {}, it has {}", target.name, quote(isa), names));
  return {};
}

Result<std::unique_ptr<GpuDevice>> CudaDevice::create(const Target &target, const SessionOptions &options) {
  QUANT_TRY(checkIsa(target, options.isa));
  QUANT_TRY_ASSIGN(Gpu gpu, Gpu::find());
  std::unique_ptr<CudaDevice> device(new CudaDevice(gpu, options.overlap));
  QUANT_TRY(device->open(target, options.isa));
  return device;
}

Result<std::unique_ptr<Session>> CudaDevice::createSession(std::shared_ptr<const Module> module, const Target &target,
                                                           const SessionOptions &options) {
  return GpuSession::create(std::move(module), target, options, create);
}

/// Memory, code and stream belong to the context, which another thread may not have entered.
CudaDevice::~CudaDevice() {
  if (context && enter())
    atEnd.device = this;
}

void CudaDevice::leave() {
  Context left = nullptr;
  driver.contextPop.status(&left);
}

Result<void> CudaDevice::open(const Target &target, const std::string &isa) {
  QUANT_TRY(driver.primaryContextRetain(&context, gpu.device));
  contextUse = {gpu.device, driver.primaryContextRelease};
  DeviceUse use(*this);
  QUANT_TRY(use.result());
  Stream created = nullptr;
  QUANT_TRY(driver.streamCreate(&created, kNonBlocking));
  stream = {created, driver.streamDestroy};
  return loadCode(target, isa);
}

//===----------------------------------------------------------------------===//
// Code
//===----------------------------------------------------------------------===//

Result<void> CudaDevice::loadObject(const CodeObject &object) {
  std::string image(reinterpret_cast<const char *>(object.image.data()), object.image.size()); // PTX ends with a NUL
  char log[4096] = "";
  int options[] = {kJitErrorLog, kJitErrorLogBytes};
  void *values[] = {log, reinterpret_cast<void *>(sizeof log)};
  ModuleHandle loaded = nullptr;
  Result<void> done = driver.moduleLoad(&loaded, image.c_str(), std::size(options), options, values);
  if (!done) {
    log[sizeof log - 1] = '\0';
    std::string text = log;
    text.erase(text.find_last_not_of(" \n\t") + 1);
    return fail(fmt::format("{}: {}{}", object.section, done.error().message, text.empty() ? "" : ": " + text));
  }
  module = {loaded, driver.moduleUnload};
  code = &object;
  return {};
}

Result<void> CudaDevice::loadCode(const Target &target, const std::string &isa) {
  std::string errors;
  for (const CodeObject &object : target.objects) {
    if (!isa.empty() && object.isa != isa)
      continue;
    Result<void> loaded = loadObject(object);
    if (loaded) {
      untaken = errors;
      return {};
    }
    errors += (errors.empty() ? "" : "; ") + loaded.error().message;
  }
  return fail("the CUDA driver takes none of the module's code: " + errors);
}

Result<Function> CudaDevice::functionOf(const abi::LaunchRecipe &recipe) {
  LoadedFunction &known = functions[recipe.kernel];
  if (!known.function)
    if (Result<void> found = driver.moduleGetFunction(&known.function, module.get(), recipe.kernel.c_str()); !found)
      return tl::unexpected(found.error().in(fmt::format("function {} of {}", quote(recipe.kernel), code->section)));
  // Recipes of one function may differ in it, and launches that are prepared keep what they need.
  if (recipe.dynamicSharedBytes <= known.dynamicSharedBytes)
    return known.function;
  Result<void> allowed =
      driver.functionSetAttribute(known.function, kMaxDynamicShared, static_cast<int>(recipe.dynamicSharedBytes));
  if (!allowed)
    return tl::unexpected(allowed.error().in(fmt::format("{} bytes of shared memory", recipe.dynamicSharedBytes)));
  known.dynamicSharedBytes = recipe.dynamicSharedBytes;
  return known.function;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

static std::string sizeText(uint64_t bytes) {
  constexpr double kMiB = 1 << 20, kGiB = 1 << 30;
  auto size = static_cast<double>(bytes);
  char text[32];
  std::snprintf(text, sizeof text, size < kGiB ? "%.1f MiB" : "%.1f GiB", size / (size < kGiB ? kMiB : kGiB));
  return text;
}

Error CudaDevice::tooSmall(uint64_t freeBytes) const {
  return {"the GPU has " + sizeText(freeBytes) + " of free memory, " + sizeText(needs.total()) +
              " are needed: " + sizeText(needs.constants) + " for the weights, " + sizeText(needs.caches) +
              " for the KV cache, " + sizeText(needs.workspace) + " for the workspace, " + sizeText(needs.inputsAndOutputs) +
              " for inputs and outputs; a smaller context (quant-run --context) takes less",
          ErrorKind::OutOfMemory};
}

Result<Address> CudaDevice::allocateBytes(uint64_t bytes) {
  Address address = 0;
  Status status = driver.memoryAllocate.status(&address, bytes);
  if (status != 0) {
    size_t freeBytes = 0, total = 0;
    bool small = status == kOutOfMemory && driver.memoryGetInfo(&freeBytes, &total);
    Error failure = checked(driver.memoryAllocate.name, status).error();
    return tl::unexpected(small ? tooSmall(freeBytes).in(failure.message) : failure);
  }
  allocations.emplace_back(address, driver.memoryFree);
  return address;
}

Result<void> CudaDevice::reserve(const MemoryNeeds &asked) {
  needs = asked;
  size_t freeBytes = 0, total = 0;
  QUANT_TRY(driver.memoryGetInfo(&freeBytes, &total));
  if (freeBytes < needs.total())
    return tl::unexpected(tooSmall(freeBytes));
  if (needs.constants == 0)
    return {};
  // In one piece: the driver gives large pieces in whole pages of 2 MiB, of which ten thousands of tensors would fill half.
  return allocateBytes(needs.constants).map([&](Address address) { constants = {address, needs.constants}; });
}

Result<Region> CudaDevice::allocate(uint64_t bytes, const std::string &name) {
  if (bytes == 0)
    return Region{};
  Result<Address> address = allocateBytes(bytes);
  if (!address)
    return tl::unexpected(address.error().in(quote(name)));
  QUANT_TRY(driver.setBytesAsync(*address, 0, bytes, stream.get()));
  return Region{*address, bytes};
}

/// Straight from the mapped file.
Result<std::byte *> CudaDevice::hostMemory(uint64_t bytes, const std::string &name) {
  if (bytes == 0)
    return nullptr;
  void *memory = nullptr;
  if (Result<void> made = driver.hostAllocate(&memory, bytes, 0); !made)
    return tl::unexpected(made.error().in(fmt::format("pinned memory for {}", quote(name))));
  hostAllocations.emplace_back(memory, driver.hostFree);
  std::memset(memory, 0, bytes);
  return static_cast<std::byte *>(memory);
}

Result<Region> CudaDevice::constant(std::span<const std::span<const std::byte>> parts) {
  Region region{constants.address + constantBytes, 0};
  for (std::span<const std::byte> part : parts) {
    if (constantBytes + region.bytes + part.size() > constants.bytes)
      return fail("more constants than reserve() was told of");
    QUANT_TRY(driver.copyToDevice(region.address + region.bytes, part.data(), part.size()));
    region.bytes += part.size();
  }
  constantBytes += gpuAligned(region.bytes);
  constantsUnderWay = true;
  return region;
}

Result<void> CudaDevice::write(const Region &to, const std::byte *from) {
  return to.bytes ? driver.copyToDeviceAsync(to.address, from, to.bytes, stream.get()) : Result<void>();
}

Result<void> CudaDevice::read(std::byte *to, const Region &from) {
  return from.bytes ? driver.copyToHostAsync(to, from.address, from.bytes, stream.get()) : Result<void>();
}

Result<void> CudaDevice::synchronize() {
  // Copies of constants are on the default stream, and may be under way when their call returns.
  bool copies = std::exchange(constantsUnderWay, false);
  return copies ? driver.contextSynchronize() : driver.streamSynchronize(stream.get());
}

Result<std::unique_ptr<PreparedLaunch>> CudaDevice::prepare(const LaunchPlan &plan) {
  return functionOf(plan.recipe).and_then([&](Function function) {
    return CudaLaunch::create(driver, function, stream.get(), plan, overlap);
  });
}

Result<void> CudaDevice::load(const abi::LaunchRecipe &recipe) {
  QUANT_TRY_ASSIGN(Function function, functionOf(recipe));
  if (driver.functionLoad.function)
    QUANT_TRY(driver.functionLoad(function));
  return driver.functionGetAttribute(&functions[recipe.kernel].localBytes, kLocalBytes, function);
}

std::vector<std::string> CudaDevice::notes() const {
  std::vector<std::string> notes;
  if (!untaken.empty())
    notes.push_back(fmt::format("{} runs, since the driver does not take {}", code->section, untaken));
  std::string spilling;
  for (const auto &[name, function] : functions)
    if (function.localBytes > 0)
      spilling += fmt::format("{}{} ({} bytes)", spilling.empty() ? "" : ", ", name, function.localBytes);
  if (!spilling.empty())
    notes.push_back("kernels that keep registers in local memory, which slows them down: " + spilling);
  return notes;
}

//===----------------------------------------------------------------------===//
// Recordings
//===----------------------------------------------------------------------===//

namespace {

class CudaGraph : public PreparedLaunch {
public:
  CudaGraph(const Driver &driver, ExecutableGraph graph, Stream stream)
      : driver(driver), graph(graph, driver.executableGraphDestroy), stream(stream) {}
  Result<void> enqueue() override { return driver.graphLaunch(graph.get(), stream); }

private:
  const Driver &driver;
  Owned<ExecutableGraph> graph;
  Stream stream;
};

} // namespace

/// Other threads of the process may do with the driver what they like.
Result<void> CudaDevice::beginRecording() { return driver.captureBegin(stream.get(), kCaptureThreadLocal); }

Result<std::unique_ptr<PreparedLaunch>> CudaDevice::endRecording() {
  Graph captured = nullptr;
  QUANT_TRY(driver.captureEnd(stream.get(), &captured));
  Owned<Graph> graph(captured, driver.graphDestroy);
  ExecutableGraph executable = nullptr;
  QUANT_TRY(driver.graphInstantiate(&executable, captured, 0));
  return std::make_unique<CudaGraph>(driver, executable, stream.get());
}

} // namespace quant::runtime
