//===- sim_device.cpp - the simulator as a device -------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/device/sim_device.h"

#include "dialects/machine/Gpu.h"
#include "runtime/api/devices.h"
#include "runtime/device/common/thread_pool.h"
#include "runtime/device/gpu/session.h"
#include "runtime/support/text.h"

#include <algorithm>
#include <cstring>

namespace quant::runtime {

static constexpr std::string_view kPtx = "ptx";
/// Keeps an access past the end of a buffer from hitting the next one.
static constexpr uint64_t kGap = 4096;

Result<std::unique_ptr<GpuDevice>> SimDevice::create(const Target &target, const SessionOptions &options) {
  if (!options.isa.empty() && options.isa != kPtx)
    return fail("the simulator runs isa 'ptx', not " + quote(options.isa));
  auto code = std::ranges::find(target.objects, kPtx, &CodeObject::isa);
  if (code == target.objects.end())
    return fail("the module has no PTX, which the simulator runs");
  std::unique_ptr<SimDevice> device(new SimDevice);
  device->code = &*code;
  Result<std::unique_ptr<sim::Module>> loaded =
      sim::Module::load({reinterpret_cast<const char *>(device->code->image.data()), device->code->image.size()});
  if (!loaded)
    return tl::unexpected(loaded.error().in(device->code->section));
  device->ptx = std::move(*loaded);
  device->options.strict = true;
  device->options.threads = options.threads == 0 ? availableCpus() : options.threads;
  return device;
}

Result<std::unique_ptr<Session>> SimDevice::createSession(std::shared_ptr<const Module> module, const Target &target,
                                                          const SessionOptions &options) {
  return GpuSession::create(std::move(module), target, options, create);
}

int64_t SimDevice::multiprocessors() const { return machine::defaultGpu().sms; }

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Region SimDevice::mapped(std::byte *host, uint64_t bytes) {
  Region region{nextAddress, bytes};
  nextAddress = gpuAligned(nextAddress + bytes + kGap);
  places[region.address] = host;
  return region;
}

std::span<std::byte> SimDevice::hostOf(const Region &region) const {
  auto [address, host] = *std::prev(places.upper_bound(region.address));
  return {host + (region.address - address), region.bytes};
}

Result<Region> SimDevice::allocate(uint64_t bytes, const std::string &name) {
  QUANT_TRY_ASSIGN(Memory allocated, Memory::allocate(static_cast<int64_t>(bytes), name.c_str()));
  return mapped(memory.emplace_back(std::move(allocated)).data(), bytes);
}

Result<std::byte *> SimDevice::hostMemory(uint64_t bytes, const std::string &name) {
  QUANT_TRY_ASSIGN(Memory allocated, Memory::allocate(static_cast<int64_t>(bytes), name.c_str()));
  return memory.emplace_back(std::move(allocated)).data();
}

Result<Region> SimDevice::constant(std::span<const std::span<const std::byte>> parts) {
  if (parts.size() == 1) // Kernels cannot write it: it is no operand that they write.
    return mapped(const_cast<std::byte *>(parts[0].data()), parts[0].size());
  uint64_t bytes = 0;
  for (std::span<const std::byte> part : parts)
    bytes += part.size();
  QUANT_TRY_ASSIGN(Region joined, allocate(bytes, "joined weights"));
  std::byte *end = hostOf(joined).data();
  for (std::span<const std::byte> part : parts)
    end = std::ranges::copy(part, end).out;
  return joined;
}

Result<void> SimDevice::write(const Region &to, const std::byte *from) {
  std::copy_n(from, to.bytes, hostOf(to).data());
  return {};
}

Result<void> SimDevice::read(std::byte *to, const Region &from) {
  std::copy_n(hostOf(from).data(), from.bytes, to);
  return {};
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

namespace {

class SimLaunch : public PreparedLaunch {
public:
  SimLaunch(const sim::Module &ptx, sim::Launch launch, std::vector<std::span<std::byte>> overwritten,
            const sim::Options &options)
      : ptx(ptx), launch(std::move(launch)), overwritten(std::move(overwritten)), options(options) {}

  Result<void> enqueue() override {
    for (std::span<std::byte> bytes : overwritten)
      std::memset(bytes.data(), 0xff, bytes.size());
    QUANT_TRY_ASSIGN(sim::Report report, sim::run(ptx, launch, options));
    if (!report.findings.empty())
      return fail(report.findings.front().toString(), ErrorKind::Device);
    return {};
  }

private:
  const sim::Module &ptx;
  sim::Launch launch;
  std::vector<std::span<std::byte>> overwritten;
  const sim::Options &options;
};

} // namespace

Result<std::unique_ptr<PreparedLaunch>> SimDevice::prepare(const LaunchPlan &plan) {
  std::vector<sim::Buffer> operands, pointees;
  std::vector<std::span<std::byte>> overwritten;
  for (const LaunchOperand &operand : plan.operands) {
    std::span<std::byte> bytes = hostOf(operand.region);
    operands.push_back({operand.name, bytes, operand.written, operand.region.address});
    for (const Region &pointee : operand.pointees)
      pointees.push_back({operand.name, hostOf(pointee), false, pointee.address, operand.early});
    if (operand.overwritten)
      overwritten.push_back(bytes);
  }
  operands.insert(operands.end(), pointees.begin(), pointees.end());
  QUANT_TRY_ASSIGN(sim::Launch launch, sim::Recipe(plan.recipe).launch(plan.sizes, std::move(operands)));
  return std::make_unique<SimLaunch>(*ptx, std::move(launch), std::move(overwritten), options);
}

void registerSimDevice() { registerDevice({"sim", "sm_90a", SimDevice::createSession}); }

} // namespace quant::runtime
