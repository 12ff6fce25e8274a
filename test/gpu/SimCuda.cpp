//===- SimCuda.cpp - a libcuda.so.1 that runs kernels in the simulator -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For machines without a GPU: what run.py and the runtime's CUDA device ask of a driver, with quant_sim behind it, so that the
// very kernels and launches are tried that a GPU will get. Takes PTX only. Kernels see memory of this process that was registered
// (cuMemHostRegister) or allocated (cuMemAlloc), at its own addresses. What the simulator finds against a kernel is handed out by
// simCudaFindings(), or printed when the context is released, as is memory that was not freed by then.
//
// A launch with programmatic stream serialization is checked as one: memory that was registered as read-only, or filled by a
// cuMemcpyHtoD that is not of a stream, counts as early.
//
// SIM_CUDA_FAULT spoils it, so that a test sees the checks fail: skip (kernels do nothing), flip (a result is wrong), overrun
// (memory behind a result is written), early (a programmatic launch runs before the one in front of it), crash:KERNEL (its launch
// fails, and then everything in the process), hang:KERNEL (its launch never ends), no-gpu, capability (an older GPU), jit (no
// code is taken), small (a GPU of little memory), fragmented (its memory is free, but cannot be had), spill (kernels have local
// memory), capture (no stream can be captured), no-graph (graphs do not run).
//
//===----------------------------------------------------------------------===//

#include "tools/quant-sim/api/simulator.h"
#include "tools/quant-sim/ptx/ptx.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace quant;

namespace {

using CUresult = int;
constexpr CUresult kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kInvalidContext = 201, kNoBinary = 209, kInvalidPtx = 218,
                   kNotFound = 500, kLaunchFailed = 719, kCaptureUnsupported = 900, kCaptureInvalidated = 901;

/// What CUlaunchAttributeID and cuMemHostRegister's flags call so.
constexpr int kClusterDimension = 4, kProgrammaticStreamSerialization = 6;
constexpr unsigned kReadOnly = 8;

struct Registered {
  std::byte *address;
  size_t bytes;
  bool early;
  std::unique_ptr<std::byte[]> allocated = nullptr; ///< holds `address` where it is memory of the device
};

/// Memory in the order of its registration.
std::vector<Registered> memory;
std::vector<std::unique_ptr<sim::Module>> modules;
std::string findings;
int contexts = 0, streams = 0, graphs = 0, hostBlocks = 0;
thread_local bool contextIsCurrent = false;
thread_local std::vector<bool> contextsBelow;

/// What a stream is given while it is captured, and a graph is made of.
using Work = std::vector<std::function<CUresult()>>;
std::unique_ptr<Work> captured;

/// Does it now, or keeps it for the graph.
CUresult doOrKeep(std::function<CUresult()> work) {
  if (!captured)
    return work();
  captured->push_back(std::move(work));
  return kSuccess;
}

int allocations() {
  return static_cast<int>(std::ranges::count_if(memory, [](const Registered &block) { return block.allocated != nullptr; }));
}

/// Whoever allocates is to free before the process ends.
struct AtExit {
  ~AtExit() {
    if (allocations())
      std::cerr << "sim-cuda: not ended: " << allocations() << " allocations\n";
  }
} atExit;

struct LoadedFunction {
  const sim::Module *module;
  const sim::Function *function;
};
std::vector<std::unique_ptr<LoadedFunction>> functions;

bool fault(const std::string &name) {
  const char *wanted = std::getenv("SIM_CUDA_FAULT");
  return wanted && wanted == name;
}

CUresult refuse(const std::string &why, CUresult status) {
  findings += (findings.empty() ? "" : "; ") + why;
  return status;
}

/// The registered memory that holds an address, or null.
const Registered *holder(uint64_t address) {
  auto found = std::find_if(memory.begin(), memory.end(), [&](const Registered &block) {
    auto begin = reinterpret_cast<uint64_t>(block.address);
    return address >= begin && address < begin + block.bytes;
  });
  return found == memory.end() ? nullptr : &*found;
}

/// Memory of the device, all of it in one allocation; else null.
Registered *allocation(uint64_t address, size_t bytes) {
  auto *block = const_cast<Registered *>(holder(address));
  bool inside = block && block->allocated && bytes <= reinterpret_cast<uint64_t>(block->address) + block->bytes - address;
  return inside ? block : nullptr;
}

/// A kernel parameter by its declared size: a tensor map, a pointer or 8-byte scalar, a 4-byte scalar.
Result<sim::Argument> argumentOf(const sim::Variable &parameter, const void *value) {
  if (parameter.bytes == sim::TensorMap::kBytes) {
    auto map = sim::TensorMap::unpack(static_cast<const std::byte *>(value));
    if (!map)
      return tl::unexpected(map.error());
    // Wherever it begins, which may be before its tensor (offset_bytes of a recipe): what its boxes reach must be registered.
    if (memory.empty())
      return fail("a tensor map, and no memory is registered");
    map->address -= reinterpret_cast<uint64_t>(memory.front().address);
    return sim::TensorMapArgument{0, *map};
  }
  uint64_t bits = 0;
  std::memcpy(&bits, value, parameter.bytes);
  return sim::ScalarArgument{bits};
}

Result<sim::Launch> launchOf(const LoadedFunction &loaded, const unsigned *grid, const unsigned *block, unsigned sharedBytes,
                             void **parameters) {
  sim::Launch launch;
  launch.kernel = loaded.function->name;
  std::copy_n(grid, 3, launch.grid.begin());
  std::copy_n(block, 3, launch.block.begin());
  launch.dynamicSharedBytes = sharedBytes;
  for (const Registered &registered : memory)
    launch.buffers.push_back({"memory " + std::to_string(launch.buffers.size()),
                              {registered.address, registered.bytes},
                              true,
                              reinterpret_cast<uint64_t>(registered.address),
                              registered.early});
  for (size_t index = 0; index < loaded.function->params.size(); ++index) {
    auto argument = argumentOf(loaded.function->params[index], parameters[index]);
    if (!argument)
      return tl::unexpected(argument.error().in("parameter " + std::to_string(index)));
    launch.arguments.push_back(*argument);
  }
  return launch;
}

CUresult simulate(const sim::Module &module, const sim::Launch &launch) {
  if (fault("skip"))
    return kSuccess;
  Result<sim::Report> report = sim::run(module, launch, {});
  if (!report)
    return refuse(report.error().message, kLaunchFailed);
  for (const sim::Finding &finding : report->findings)
    refuse(finding.toString(), kSuccess);
  // The result is what was registered last.
  if (fault("flip"))
    memory.back().address[1] ^= std::byte(0x40);
  if (fault("overrun"))
    memory.back().address[memory.back().bytes - 1] ^= std::byte(1);
  return kSuccess;
}

/// A launch that waits for the next one, with SIM_CUDA_FAULT=early.
struct Waiting {
  const sim::Module *module;
  sim::Launch launch;
};
std::optional<Waiting> waiting;
bool crashed = false;

CUresult finish() {
  if (crashed)
    return kLaunchFailed;
  if (!waiting)
    return kSuccess;
  Waiting last = std::move(*waiting);
  waiting.reset();
  return simulate(*last.module, last.launch);
}

/// The same for calls that want a context in their thread. What only harnesses with one thread call does not ask.
CUresult finishHere() { return contextIsCurrent ? finish() : kInvalidContext; }

CUresult enqueue(const sim::Module &module, const sim::Launch &launch) {
  if (fault("hang:" + launch.kernel))
    std::this_thread::sleep_for(std::chrono::hours(1));
  crashed |= fault("crash:" + launch.kernel);
  if (crashed)
    return kSuccess;
  if (!fault("early"))
    return simulate(module, launch);
  if (!launch.programmatic)
    if (CUresult status = finish())
      return status;
  if (waiting)
    return simulate(module, launch);
  waiting = {&module, launch};
  return kSuccess;
}

/// CUlaunchConfig, as driver.py lays it out.
struct LaunchConfig {
  unsigned grid[3], block[3], sharedBytes;
  void *stream;
  struct Attribute {
    int id;
    char padding[4];
    unsigned value[16];
  } *attributes;
  unsigned attributeCount;
};

/// Attributes of which CUDA would make something else are refused.
CUresult setAttribute(sim::Launch &launch, const LaunchConfig::Attribute &attribute) {
  if (attribute.id == kClusterDimension)
    std::copy_n(attribute.value, 3, launch.cluster.begin());
  else if (attribute.id == kProgrammaticStreamSerialization && attribute.value[0] <= 1)
    launch.programmatic = attribute.value[0];
  else
    return refuse("launch attribute " + std::to_string(attribute.id), kInvalidValue);
  return kSuccess;
}

} // namespace

extern "C" {
CUresult cuInit(unsigned) { return kSuccess; }
CUresult cuDriverGetVersion(int *version) { return *version = 12000, kSuccess; }
CUresult cuDeviceGetCount(int *count) { return *count = !fault("no-gpu"), kSuccess; }
CUresult cuDeviceGet(int *device, int) { return *device = 0, kSuccess; }
CUresult cuDeviceGetName(char *name, int bytes, int) {
  return std::strncpy(name, fault("capability") ? "simulated A100" : "simulated H200", bytes), kSuccess;
}
CUresult cuDeviceGetAttribute(int *value, int attribute, int) {
  // Few multiprocessors, so that persistent kernels walk several tiles; even, for clusters of two.
  static const std::map<int, int> kValues = {{16, 4}, {38, 50 << 20}, {75, 9}, {76, 0}};
  if (attribute == 75 && fault("capability"))
    return *value = 8, kSuccess;
  auto found = kValues.find(attribute);
  return *value = found == kValues.end() ? 0 : found->second, kSuccess;
}
CUresult cuDevicePrimaryCtxRetain(void **context, int) { return *context = &memory, ++contexts, kSuccess; }
CUresult cuDevicePrimaryCtxRelease_v2(int) {
  if (--contexts > 0)
    return kSuccess;
  if (allocations() || !modules.empty() || streams || graphs || hostBlocks)
    std::cerr << "sim-cuda: not ended: " << allocations() << " allocations, " << modules.size() << " modules, " << streams
              << " streams, " << graphs << " graphs, " << hostBlocks << " blocks of pinned memory\n";
  if (!findings.empty())
    std::cerr << "sim-cuda: " << std::exchange(findings, {}) << '\n';
  return kSuccess;
}
CUresult cuDeviceGetPCIBusId(char *id, int bytes, int) { return std::strncpy(id, "0000:00:00.0", bytes), kSuccess; }
CUresult cuCtxSetCurrent(void *context) { return contextIsCurrent = context, kSuccess; }
CUresult cuCtxPushCurrent_v2(void *context) {
  contextsBelow.push_back(contextIsCurrent);
  return contextIsCurrent = context, kSuccess;
}
CUresult cuCtxPopCurrent_v2(void **context) {
  if (contextsBelow.empty())
    return kInvalidContext;
  *context = &memory;
  contextIsCurrent = contextsBelow.back();
  return contextsBelow.pop_back(), kSuccess;
}
CUresult cuCtxSynchronize() { return finish(); }
CUresult cuStreamCreate(void **stream, unsigned) { return *stream = &streams, ++streams, kSuccess; }
CUresult cuStreamSynchronize(void *) { return captured ? kCaptureUnsupported : finishHere(); }
CUresult cuStreamDestroy_v2(void *) { return --streams, kSuccess; }
CUresult cuGetErrorName(CUresult error, const char **name) {
  static const std::map<CUresult, const char *> kNames = {{kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                          {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT"},
                                                          {kNoBinary, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                          {kInvalidPtx, "CUDA_ERROR_INVALID_PTX"},
                                                          {kNotFound, "CUDA_ERROR_NOT_FOUND"},
                                                          {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"},
                                                          {kCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
                                                          {kCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"}};
  auto found = kNames.find(error);
  return *name = found == kNames.end() ? "CUDA_ERROR" : found->second, kSuccess;
}

CUresult cuMemHostRegister_v2(void *address, size_t bytes, unsigned flags) {
  return memory.push_back({static_cast<std::byte *>(address), bytes, (flags & kReadOnly) != 0}), kSuccess;
}
CUresult cuMemHostUnregister(void *address) {
  return std::erase_if(memory, [&](const Registered &block) { return block.address == address; }) ? kSuccess : kInvalidValue;
}

CUresult cuMemGetInfo_v2(size_t *freeBytes, size_t *total) {
  *total = size_t(141) << 30;
  return *freeBytes = fault("small") ? 4096 : *total, kSuccess;
}
CUresult cuMemAlloc_v2(uint64_t *address, size_t bytes) {
  constexpr size_t kAlignment = 256;
  if (bytes == 0)
    return kInvalidValue;
  if (!contextIsCurrent)
    return kInvalidContext;
  if (fault("fragmented"))
    return kOutOfMemory;
  // What is behind an allocation belongs to no other, and memory that nobody has set is no zeros.
  auto bytesAndGap = std::make_unique_for_overwrite<std::byte[]>(bytes + 2 * kAlignment);
  std::memset(bytesAndGap.get(), 0xa5, bytes + 2 * kAlignment);
  auto *aligned = bytesAndGap.get() + (kAlignment - reinterpret_cast<uintptr_t>(bytesAndGap.get()) % kAlignment);
  *address = reinterpret_cast<uint64_t>(aligned);
  return memory.push_back({aligned, bytes, false, std::move(bytesAndGap)}), kSuccess;
}
CUresult cuMemFree_v2(uint64_t address) {
  if (finishHere() == kInvalidContext)
    return kInvalidContext;
  return std::erase_if(memory, [&](const Registered &block) { return reinterpret_cast<uint64_t>(block.address) == address; })
             ? kSuccess
             : kInvalidValue;
}
CUresult cuMemHostAlloc(void **address, size_t bytes, unsigned) {
  if (!contextIsCurrent || bytes == 0)
    return contextIsCurrent ? kInvalidValue : kInvalidContext;
  *address = std::malloc(bytes);
  std::memset(*address, 0xa5, bytes);
  return ++hostBlocks, kSuccess;
}
CUresult cuMemFreeHost(void *address) {
  if (!contextIsCurrent)
    return kInvalidContext;
  std::free(address);
  return --hostBlocks, kSuccess;
}
CUresult cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) {
  if (CUresult status = finishHere())
    return status;
  if (!allocation(to, bytes))
    return refuse("a copy to memory that is not allocated", kInvalidValue);
  return doOrKeep([=] {
    if (CUresult status = finish())
      return status;
    return std::memcpy(reinterpret_cast<void *>(to), from, bytes), kSuccess;
  });
}
CUresult cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) {
  CUresult status = cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
  if (status == kSuccess)
    allocation(to, bytes)->early = true;
  return status;
}
CUresult cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) {
  if (CUresult status = finishHere())
    return status;
  if (!allocation(from, bytes))
    return refuse("a copy from memory that is not allocated", kInvalidValue);
  return doOrKeep([=] {
    if (CUresult status = finish())
      return status;
    return std::memcpy(to, reinterpret_cast<const void *>(from), bytes), kSuccess;
  });
}
CUresult cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *) {
  if (CUresult status = finishHere())
    return status;
  if (!allocation(to, bytes))
    return refuse("memory is set that is not allocated", kInvalidValue);
  return std::memset(reinterpret_cast<void *>(to), value, bytes), kSuccess;
}

/// What a driver's compiler says goes to the log, where the caller wants it.
CUresult cuModuleLoadDataEx(void **module, const void *image, unsigned count, const int *options, void **values) {
  constexpr int kErrorLog = 5, kErrorLogBytes = 6;
  if (fault("jit")) {
    if (count != 2 || options[0] != kErrorLog || options[1] != kErrorLogBytes)
      return kInvalidPtx;
    std::strncpy(static_cast<char *>(values[0]), "ptxas fatal: asked to fail\n", reinterpret_cast<size_t>(values[1]));
    return kInvalidPtx;
  }
  std::string_view text(static_cast<const char *>(image));
  // A cubin is an ELF file.
  if (text.starts_with("\x7f"
                       "ELF"))
    return kNoBinary;
  Result<std::unique_ptr<sim::Module>> loaded = sim::Module::load(text);
  if (!loaded)
    return refuse(loaded.error().message, kInvalidValue);
  *module = loaded->get();
  modules.push_back(std::move(*loaded));
  return kSuccess;
}
CUresult cuModuleLoadData(void **module, const void *image) { return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr); }
CUresult cuModuleUnload(void *module) {
  finish();
  std::erase_if(functions, [&](const auto &function) { return function->module == module; });
  return std::erase_if(modules, [&](const auto &loaded) { return loaded.get() == module; }) ? kSuccess : kInvalidValue;
}
CUresult cuModuleGetFunction(void **function, void *module, const char *name) {
  const auto *loaded = static_cast<const sim::Module *>(module);
  for (const sim::Function &entry : loaded->ptx().functions)
    if (entry.name == name) {
      functions.push_back(std::make_unique<LoadedFunction>(LoadedFunction{loaded, &entry}));
      return *function = functions.back().get(), kSuccess;
    }
  return kNotFound;
}
CUresult cuFuncSetAttribute(void *, int attribute, int bytes) {
  return attribute == 8 && bytes <= 232448 ? kSuccess : kInvalidValue;
}

CUresult cuFuncGetAttribute(int *value, int attribute, void *) {
  return *value = attribute == 3 && fault("spill") ? 24 : 0, kSuccess;
}

CUresult cuStreamBeginCapture_v2(void *, int mode) {
  if (captured || mode != 1)
    return kInvalidValue;
  return captured = std::make_unique<Work>(), kSuccess;
}
CUresult cuStreamEndCapture(void *, void **graph) {
  if (!captured)
    return kInvalidValue;
  std::unique_ptr<Work> work = std::move(captured);
  if (fault("capture"))
    return kCaptureInvalidated;
  return *graph = work.release(), ++graphs, kSuccess;
}
CUresult cuGraphDestroy(void *graph) {
  if (!contextIsCurrent)
    return kInvalidContext;
  delete static_cast<Work *>(graph);
  return --graphs, kSuccess;
}
CUresult cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
  return *executable = new Work(*static_cast<Work *>(graph)), ++graphs, kSuccess;
}
CUresult cuGraphExecDestroy(void *executable) { return cuGraphDestroy(executable); }
CUresult cuGraphLaunch(void *executable, void *) {
  if (fault("no-graph"))
    return kLaunchFailed;
  for (const auto &step : *static_cast<Work *>(executable))
    if (CUresult status = step())
      return status;
  return kSuccess;
}

CUresult cuTensorMapEncodeTiled(void *map, int dataType, uint32_t rank, void *address, const uint64_t *dim,
                                const uint64_t *strideBytes, const uint32_t *box, const uint32_t *elementStrides, int interleave,
                                int swizzle, int l2Promotion, int oobFill) {
  static const std::map<int, uint32_t> kElementBytes = {{0, 1}, {1, 2}, {2, 4}, {3, 4}, {6, 2}, {7, 4}, {9, 2}};
  auto bytes = kElementBytes.find(dataType);
  if (bytes == kElementBytes.end() || rank < 1 || rank > 5 || interleave || oobFill || swizzle < 0 || swizzle > 3 ||
      l2Promotion < 0 || l2Promotion > 3 || reinterpret_cast<uintptr_t>(map) % 64 ||
      std::any_of(elementStrides, elementStrides + rank, [](uint32_t s) { return s != 1; }))
    return kInvalidValue;
  sim::TensorMap encoded;
  encoded.rank = rank;
  encoded.elementBytes = bytes->second;
  encoded.swizzleBytes = swizzle ? 16u << swizzle : 0;
  encoded.kind = dataType == 9   ? sim::ElementKind::BFloat
                 : dataType >= 6 ? sim::ElementKind::Float
                 : dataType == 3 ? sim::ElementKind::Signed
                                 : sim::ElementKind::Unsigned;
  encoded.address = reinterpret_cast<uint64_t>(address);
  for (uint32_t index = 0; index < rank; ++index) {
    encoded.dim[index] = dim[index];
    encoded.stride[index] = index ? strideBytes[index - 1] : bytes->second;
    encoded.box[index] = box[index];
  }
  if (auto legal = encoded.check(); !legal)
    return refuse(legal.error().message, kInvalidValue);
  auto packed = encoded.pack();
  std::memcpy(map, packed.data(), packed.size());
  return kSuccess;
}

CUresult cuLaunchKernelEx(const LaunchConfig *config, void *function, void **parameters, void **) {
  const auto &loaded = *static_cast<const LoadedFunction *>(function);
  auto launch = launchOf(loaded, config->grid, config->block, config->sharedBytes, parameters);
  if (!launch)
    return refuse(launch.error().message, kInvalidValue);
  for (unsigned index = 0; index < config->attributeCount; ++index)
    if (CUresult status = setAttribute(*launch, config->attributes[index]))
      return status;
  return doOrKeep([module = loaded.module, launch = *launch] { return enqueue(*module, launch); });
}

/// What the simulator has found so far, and forgets it.
const char *simCudaFindings() {
  static std::string taken;
  taken = std::exchange(findings, {});
  return taken.c_str();
}
}
