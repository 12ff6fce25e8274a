//===- launch.cpp - checks and times compiled kernels on a GPU ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// quant-gpu-launch probe
// quant-gpu-launch run DIRECTORY RESULTS.json [BASELINE.json]
//
// Exit status: 0 all right, 1 a wrong result or an error, 2 usage, 77 no GPU that can run sm_90a code.
//
//===----------------------------------------------------------------------===//

#include "test/gpu/Fp8Problem.h"
#include "test/gpu/Kernel.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>

using namespace quant::test;

namespace {

constexpr int kNoGpu = 77;
/// Dense FP8 of H100 and H200 by the data sheet.
constexpr double kPeakTflops = 1979;
constexpr int64_t kCheckedM[] = {0, 1, 7, 64, 100, 128, 129, 300, 4096};
constexpr int64_t kTimedM[] = {1, 64, 128, 4096};
constexpr size_t kGuardBytes = 4096;
/// Matrices below this are there for their odd shape, not for their speed.
constexpr int64_t kTimedWeightBytes = 1 << 19;

struct Gpu {
  CudaDriver cuda;
  CUdevice device = 0;
  std::string name;
  int64_t multiprocessors = 0, l2Bytes = 0;
  double bytesPerSecond = 0;
  int driverVersion = 0;

  int attribute(int which) const {
    int value = 0;
    cuda.check(cuda.deviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
    return value;
  }
  /// Empty, or why this machine cannot run the kernels.
  std::string open();
};

std::string Gpu::open() {
  if (std::string why = cuda.load(); !why.empty())
    return why;
  int count = 0;
  if (cuda.init(0) != 0 || cuda.deviceGetCount(&count) != 0 || count == 0)
    return "the CUDA driver sees no GPU";
  cuda.check(cuda.deviceGet(&device, 0), "cuDeviceGet");
  char text[256] = {};
  cuda.check(cuda.deviceGetName(text, sizeof text - 1, device), "cuDeviceGetName");
  name = text;
  if (attribute(kAttributeCapabilityMajor) != 9 || attribute(kAttributeCapabilityMinor) != 0)
    return name + " is no sm_90 GPU (H100, H200)";
  CUcontext context;
  cuda.check(cuda.devicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  cuda.check(cuda.ctxSetCurrent(context), "cuCtxSetCurrent");
  cuda.check(cuda.driverGetVersion(&driverVersion), "cuDriverGetVersion");
  multiprocessors = attribute(kAttributeMultiprocessors);
  l2Bytes = attribute(kAttributeL2Bytes);
  // Double data rate, bus width in bits.
  bytesPerSecond = 2e3 * attribute(kAttributeMemoryClockKHz) * attribute(kAttributeMemoryBusBits) / 8;
  return {};
}

/// Device memory with a guard behind it.
class Buffer {
public:
  Buffer(const CudaDriver &driver, size_t bytes, unsigned char fill) : cuda(driver), bytes(bytes), fill(fill) {
    cuda.check(cuda.memAlloc(&address, bytes + kGuardBytes), "cuMemAlloc");
    cuda.check(cuda.memsetD8(address, fill, bytes + kGuardBytes), "cuMemsetD8");
  }
  ~Buffer() { cuda.memFree(address); }
  Buffer(const Buffer &) = delete;

  template <typename T>
  void upload(const std::vector<T> &data) {
    if (!data.empty())
      cuda.check(cuda.memcpyHtoD(address, data.data(), data.size() * sizeof(T)), "cuMemcpyHtoD");
  }
  void copyFrom(const Buffer &other) { cuda.check(cuda.memcpyDtoD(address, other.address, bytes), "cuMemcpyDtoD"); }
  void download(void *to) const {
    if (bytes)
      cuda.check(cuda.memcpyDtoH(to, address, bytes), "cuMemcpyDtoH");
  }
  bool guardIntact() const {
    std::vector<unsigned char> guard(kGuardBytes);
    cuda.check(cuda.memcpyDtoH(guard.data(), address + bytes, kGuardBytes), "cuMemcpyDtoH");
    return std::all_of(guard.begin(), guard.end(), [&](unsigned char byte) { return byte == fill; });
  }

  CUdeviceptr address = 0;

private:
  const CudaDriver &cuda;
  size_t bytes;
  unsigned char fill;
};

/// The operands of one matmul on the device, in the recipe's order. What lies behind an input is NaN (0x7f in e4m3, 0x7f7f7f7f
/// is large in f32), and D starts as NaN.
struct DeviceOperands {
  std::vector<std::unique_ptr<Buffer>> buffers;

  DeviceOperands(const Gpu &gpu, const Kernel &kernel, const Dims &dims) {
    for (size_t i = 0; i < kernel.recipe().at("operands").size(); ++i) {
      bool written = kernel.recipe().at("operands").at(i).at("access") == "write";
      buffers.push_back(std::make_unique<Buffer>(gpu.cuda, kernel.operandBytes(i, dims), written ? 0xff : 0x7f));
    }
  }
  void upload(const Fp8Problem &problem) {
    buffers.at(0)->upload(problem.a);
    buffers.at(1)->upload(problem.scaleA);
    buffers.at(2)->upload(problem.b);
    buffers.at(3)->upload(problem.scaleB);
  }
  void copyInputs(const DeviceOperands &other) {
    for (size_t i = 0; i < 4; ++i)
      buffers.at(i)->copyFrom(*other.buffers.at(i));
  }
  Buffer &output() { return *buffers.at(4); }
  std::vector<CUdeviceptr> addresses() const {
    std::vector<CUdeviceptr> result;
    for (const auto &buffer : buffers)
      result.push_back(buffer->address);
    return result;
  }
};

Dims dimsFor(const Gpu &gpu, int64_t m) { return {{"M", m}, {"sms", gpu.multiprocessors}}; }

//===----------------------------------------------------------------------===//
// Correctness
//===----------------------------------------------------------------------===//

/// True if the kernel computes the right D for this M; prints why not.
bool checkKernel(const Gpu &gpu, const Kernel &kernel, int64_t m, Json &report) {
  Dims dims = dimsFor(gpu, m);
  // The name first: should the kernel hang, it is the last thing on the screen.
  std::printf("%-48s M %5lld  ", kernel.name().c_str(), (long long)m);
  std::fflush(stdout);
  Fp8Problem problem(m, kernel.config("n"), kernel.config("k"), /*seed=*/m + 1);
  DeviceOperands operands(gpu, kernel, dims);
  operands.upload(problem);
  if (kernel.grid(dims) > 0) {
    kernel.launch(kernel.prepare(operands.addresses(), dims), dims, nullptr);
    gpu.cuda.check(gpu.cuda.ctxSynchronize(), "cuCtxSynchronize");
  }
  std::vector<uint16_t> d(m * problem.n);
  operands.output().download(d.data());
  std::string wrong = problem.check(d);
  if (wrong.empty() && !operands.output().guardIntact())
    wrong = "memory behind D was written";
  report.push_back({{"kernel", kernel.name()},
                    {"M", m},
                    {"compared", problem.compared},
                    {"error_over_tolerance", problem.worst},
                    {"wrong", wrong}});
  std::printf("%s  %8lld compared, error %.2f of tolerance  %s\n", wrong.empty() ? "ok   " : "WRONG", (long long)problem.compared,
              problem.worst, wrong.c_str());
  return wrong.empty();
}

//===----------------------------------------------------------------------===//
// Timing
//===----------------------------------------------------------------------===//

/// A CUDA graph of launches that rotate through the operand sets; a graph, since launching one by one takes as long as the small
/// kernels themselves.
class LaunchGraph {
public:
  LaunchGraph(const Gpu &gpu, const Kernel &kernel, const std::vector<Arguments> &arguments, const Dims &dims, int launches)
      : cuda(gpu.cuda) {
    cuda.check(cuda.streamCreate(&stream, 1), "cuStreamCreate");
    cuda.check(cuda.eventCreate(&start, 0), "cuEventCreate");
    cuda.check(cuda.eventCreate(&end, 0), "cuEventCreate");
    cuda.check(cuda.streamBeginCapture(stream, kCaptureModeGlobal), "cuStreamBeginCapture");
    for (int i = 0; i < launches; ++i)
      kernel.launch(arguments[i % arguments.size()], dims, stream);
    cuda.check(cuda.streamEndCapture(stream, &graph), "cuStreamEndCapture");
    cuda.check(cuda.graphInstantiate(&exec, graph, 0), "cuGraphInstantiate");
  }
  ~LaunchGraph() {
    cuda.graphExecDestroy(exec);
    cuda.graphDestroy(graph);
  }
  LaunchGraph(const LaunchGraph &) = delete;

  /// Seconds for all launches of the graph.
  double run() {
    float milliseconds = 0;
    cuda.check(cuda.eventRecord(start, stream), "cuEventRecord");
    cuda.check(cuda.graphLaunch(exec, stream), "cuGraphLaunch");
    cuda.check(cuda.eventRecord(end, stream), "cuEventRecord");
    cuda.check(cuda.eventSynchronize(end), "cuEventSynchronize");
    cuda.check(cuda.eventElapsedTime(&milliseconds, start, end), "cuEventElapsedTime");
    return milliseconds * 1e-3;
  }

private:
  const CudaDriver &cuda;
  CUstream stream = nullptr;
  CUevent start = nullptr, end = nullptr;
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
};

/// Seconds per launch: median of 21 graphs whose operand sets together exceed L2 four times, so that each launch finds it cold.
double timeKernel(const Gpu &gpu, const Kernel &kernel, int64_t m) {
  constexpr int kSamples = 21, kWarmUps = 3, kMinLaunches = 8;
  Dims dims = dimsFor(gpu, m);
  size_t setBytes = 0;
  for (size_t i = 0; i < kernel.recipe().at("operands").size(); ++i)
    setBytes += kernel.operandBytes(i, dims);
  int sets = static_cast<int>(std::clamp<int64_t>(4 * gpu.l2Bytes / int64_t(setBytes) + 1, 2, 256));
  std::vector<std::unique_ptr<DeviceOperands>> operands;
  std::vector<Arguments> arguments;
  Fp8Problem problem(m, kernel.config("n"), kernel.config("k"), /*seed=*/1);
  for (int i = 0; i < sets; ++i) {
    operands.push_back(std::make_unique<DeviceOperands>(gpu, kernel, dims));
    i == 0 ? operands[0]->upload(problem) : operands[i]->copyInputs(*operands[0]);
    arguments.push_back(kernel.prepare(operands[i]->addresses(), dims));
  }
  gpu.cuda.check(gpu.cuda.ctxSynchronize(), "cuCtxSynchronize");
  int launches = std::max(sets, kMinLaunches);
  LaunchGraph graph(gpu, kernel, arguments, dims, launches);
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUps + kSamples; ++i)
    if (double sample = graph.run(); i >= kWarmUps)
      seconds.push_back(sample / launches);
  std::nth_element(seconds.begin(), seconds.begin() + kSamples / 2, seconds.end());
  return seconds[kSamples / 2];
}

/// Seconds the baseline took for this product, or 0.
double baselineSeconds(const Json &baseline, int64_t m, int64_t n, int64_t k) {
  for (const Json &row : baseline)
    if (row.at("M") == m && row.at("N") == n && row.at("K") == k)
      return row.at("seconds");
  return 0;
}

Json benchmark(const Gpu &gpu, const Kernel &kernel, int64_t m, const Json &baseline) {
  int64_t n = kernel.config("n"), k = kernel.config("k");
  double bytes = 0;
  for (size_t i = 0; i < kernel.recipe().at("operands").size(); ++i)
    bytes += double(kernel.operandBytes(i, dimsFor(gpu, m)));
  double seconds = timeKernel(gpu, kernel, m), other = baselineSeconds(baseline, m, n, k);
  double tflops = 2.0 * m * n * k / seconds * 1e-12, bandwidth = bytes / seconds;
  return {{"kernel", kernel.name()},
          {"M", m},
          {"N", n},
          {"K", k},
          {"microseconds", seconds * 1e6},
          {"tflops", tflops},
          {"gigabytes_per_second", bandwidth * 1e-9},
          {"of_peak_flops", tflops / kPeakTflops},
          {"of_peak_bandwidth", bandwidth / gpu.bytesPerSecond},
          {"baseline_microseconds", other * 1e6}};
}

//===----------------------------------------------------------------------===//
// Everything
//===----------------------------------------------------------------------===//

std::vector<std::unique_ptr<Kernel>> loadKernels(const Gpu &gpu, const std::filesystem::path &directory) {
  std::vector<std::filesystem::path> recipes;
  for (const auto &entry : std::filesystem::directory_iterator(directory))
    if (entry.path().extension() == ".json" && entry.path().filename().string().starts_with("sm90_fp8_gemm"))
      recipes.push_back(entry.path());
  std::sort(recipes.begin(), recipes.end());
  std::vector<std::unique_ptr<Kernel>> kernels;
  for (const auto &recipe : recipes)
    kernels.push_back(std::make_unique<Kernel>(gpu.cuda, recipe));
  return kernels;
}

void printTable(const Json &rows) {
  std::printf("\n%-48s %5s %10s %8s %8s %7s %7s %10s\n", "kernel", "M", "us", "TFLOPS", "GB/s", "% FLOPS", "% HBM", "torch us");
  for (const Json &row : rows) {
    auto number = [&](const char *key) { return row.at(key).get<double>(); };
    std::printf("%-48s %5lld %10.2f %8.1f %8.0f %7.1f %7.1f ", row.at("kernel").get<std::string>().c_str(),
                (long long)row.at("M").get<int64_t>(), number("microseconds"), number("tflops"), number("gigabytes_per_second"),
                100 * number("of_peak_flops"), 100 * number("of_peak_bandwidth"));
    number("baseline_microseconds") > 0 ? std::printf("%10.2f\n", number("baseline_microseconds")) : std::printf("%10s\n", "-");
  }
}

int run(const Gpu &gpu, const std::filesystem::path &directory, const std::filesystem::path &resultsPath, const Json &baseline) {
  std::printf("%s, %lld multiprocessors, L2 %lld MiB, %.0f GB/s, driver %d\n", gpu.name.c_str(), (long long)gpu.multiprocessors,
              (long long)gpu.l2Bytes >> 20, gpu.bytesPerSecond * 1e-9, gpu.driverVersion);
  auto kernels = loadKernels(gpu, directory);
  if (kernels.empty())
    throw std::runtime_error("no kernels in " + directory.string() + "; build the target gpu-kernels");
  Json results = {{"gpu", gpu.name}, {"driver", gpu.driverVersion}, {"correctness", Json::array()}, {"benchmark", Json::array()}};
  int checked = 0, wrong = 0;
  for (const auto &kernel : kernels)
    for (int64_t m : kCheckedM) {
      ++checked;
      wrong += !checkKernel(gpu, *kernel, m, results["correctness"]);
    }
  // A wrong kernel's speed means nothing.
  if (wrong == 0)
    for (const auto &kernel : kernels)
      if (kernel->config("n") * kernel->config("k") >= kTimedWeightBytes)
        for (int64_t m : kTimedM)
          results["benchmark"].push_back(benchmark(gpu, *kernel, m, baseline));
  std::ofstream(resultsPath) << results.dump(2) << "\n";
  printTable(results["benchmark"]);
  std::printf("\n%zu kernels, %d products checked, %d wrong%s; details in %s\n", kernels.size(), checked, wrong,
              wrong ? ", NOT TIMED" : "", resultsPath.c_str());
  return wrong ? 1 : 0;
}

int start(int argc, char **argv) {
  std::string command = argc > 1 ? argv[1] : "";
  if (command != "probe" && !(command == "run" && (argc == 4 || argc == 5))) {
    std::fprintf(stderr, "usage: %s probe | run DIRECTORY RESULTS.json [BASELINE.json]\n", argv[0]);
    return 2;
  }
  Gpu gpu;
  if (std::string why = gpu.open(); !why.empty()) {
    std::fprintf(stderr, "no GPU test: %s\n", why.c_str());
    return kNoGpu;
  }
  if (command == "probe")
    return 0;
  Json baseline = Json::array();
  if (argc == 5)
    baseline = Json::parse(std::ifstream(argv[4]));
  return run(gpu, argv[2], argv[3], baseline);
}

} // namespace

int main(int argc, char **argv) {
  try {
    return start(argc, argv);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
