//===- cutlass_gemm.cu - a CUTLASS GEMM in the simulator --------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// D = A * B^T, TMA warp-specialized, e4m3 to bf16 with f32 sums, clusters of two with multicast. nvcc makes this file's PTX and,
// with -DHOST, the program that runs it: CUTLASS's own host code fills the kernel's parameters, with tensor maps of the
// simulator's.  cutlass_gemm KERNEL.ptx M N K
//
//===----------------------------------------------------------------------===//

#include "cute/tensor.hpp"
#include "cutlass/cutlass.h"
#include "cutlass/epilogue/collective/collective_builder.hpp"
#include "cutlass/gemm/collective/collective_builder.hpp"
#include "cutlass/gemm/kernel/gemm_universal.hpp"

using Element = cutlass::float_e4m3_t;
using Out = cutlass::bfloat16_t;
using RowMajor = cutlass::layout::RowMajor;
using ColumnMajor = cutlass::layout::ColumnMajor;
using Tile = cute::Shape<cute::_128, cute::_128, cute::_128>;
using ClusterShape = cute::Shape<cute::_2, cute::_1, cute::_1>;

using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, ClusterShape, cutlass::epilogue::collective::EpilogueTileAuto,
    float, float, Out, RowMajor, 8, Out, RowMajor, 8, cutlass::epilogue::TmaWarpSpecializedCooperative>::CollectiveOp;
using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
    cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Element, RowMajor, 16, Element, ColumnMajor, 16, float, Tile,
    ClusterShape,
    cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename Epilogue::SharedStorage))>,
    cutlass::gemm::KernelTmaWarpSpecializedCooperative>::CollectiveOp;
using Kernel = cutlass::gemm::kernel::GemmUniversal<cute::Shape<int, int, int, int>, Mainloop, Epilogue>;

static void instantiate() {
  auto kernel = reinterpret_cast<void *>(&cutlass::device_kernel<Kernel>);
  (void)kernel;
}

#ifdef HOST
#include "cutlass/util/packed_stride.hpp"
#include "tools/quant-sim/api/simulator.h"

#include <cuda.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>

using namespace quant;

/// What the driver would make, in the simulator's form.
extern "C" CUresult cuTensorMapEncodeTiled(CUtensorMap *to, CUtensorMapDataType type, cuuint32_t rank, void *address,
                                           const cuuint64_t *dim, const cuuint64_t *stride, const cuuint32_t *box,
                                           const cuuint32_t *elementStride, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                           CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  static const uint32_t bytes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4}, swizzles[] = {0, 32, 64, 128};
  sim::TensorMap map;
  map.rank = rank;
  map.elementBytes = bytes[type];
  map.swizzleBytes = swizzles[swizzle];
  map.address = reinterpret_cast<uint64_t>(address);
  for (uint32_t i = 0; i < rank; ++i) {
    map.dim[i] = dim[i];
    map.box[i] = box[i];
    map.stride[i] = i ? stride[i - 1] : map.elementBytes;
    if (elementStride[i] != 1)
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (!map.check())
    return CUDA_ERROR_INVALID_VALUE;
  auto packed = map.pack();
  std::memcpy(to, packed.data(), packed.size());
  return CUDA_SUCCESS;
}

struct Problem {
  int m, n, k;
  std::vector<Element> a, b;
  std::vector<Out> c, d;

  Problem(int m, int n, int k) : m(m), n(n), k(k), a(size_t(m) * k), b(size_t(n) * k), c(size_t(m) * n), d(size_t(m) * n) {
    std::mt19937 random(m + n + k);
    std::normal_distribution<float> normal;
    for (Element &value : a)
      value = Element(normal(random));
    for (Element &value : b)
      value = Element(normal(random));
  }

  /// Largest error of a sample against a sum in f64: half a unit of bf16, and what f32 sums lose.
  double worst() const {
    double worst = 0;
    for (int i = 0; i < m; ++i)
      for (int j = i % 7; j < n; j += 7) {
        double sum = 0, size = 0;
        for (int x = 0; x < k; ++x) {
          double product = double(float(a[size_t(i) * k + x])) * double(float(b[size_t(j) * k + x]));
          sum += product;
          size += std::abs(product);
        }
        double error = std::abs(double(float(d[size_t(i) * n + j])) - sum);
        worst = std::max(worst, error / (std::abs(sum) / 256 + size * 0x1p-16 + 1e-6));
      }
    return worst;
  }
};

/// Buffers at addresses that the parameters can name.
std::vector<sim::Buffer> buffersOf(Problem &problem) {
  constexpr uint64_t kFirst = uint64_t(0x7400) << 32, kApart = uint64_t(1) << 36;
  auto make = [](const char *name, auto &data, int i) {
    return sim::Buffer{
        .name = name, .bytes = std::as_writable_bytes(std::span(data)), .writable = i == 3, .address = kFirst + i * kApart};
  };
  return {make("a", problem.a, 0), make("b", problem.b, 1), make("c", problem.c, 2), make("d", problem.d, 3)};
}

typename Kernel::Params paramsOf(const Problem &p, const std::vector<sim::Buffer> &buffers, int sms) {
  cutlass::KernelHardwareInfo hardware;
  hardware.sm_count = sms;
  hardware.max_active_clusters = sms / 2;
  auto at = [&](int i) { return reinterpret_cast<void *>(buffers[i].address); };
  typename Kernel::Arguments arguments{
      cutlass::gemm::GemmUniversalMode::kGemm,
      {p.m, p.n, p.k, 1},
      {static_cast<Element *>(at(0)), cutlass::make_cute_packed_stride(typename Kernel::StrideA{}, {p.m, p.k, 1}),
       static_cast<Element *>(at(1)), cutlass::make_cute_packed_stride(typename Kernel::StrideB{}, {p.n, p.k, 1})},
      {{1.f, 0.f},
       static_cast<Out *>(at(2)),
       cutlass::make_cute_packed_stride(typename Kernel::StrideC{}, {p.m, p.n, 1}),
       static_cast<Out *>(at(3)),
       cutlass::make_cute_packed_stride(typename Kernel::StrideD{}, {p.m, p.n, 1})},
      hardware};
  return Kernel::to_underlying_arguments(arguments, nullptr);
}

int main(int argc, char **argv) {
  if (argc != 5)
    return std::fprintf(stderr, "cutlass_gemm KERNEL.ptx M N K\n"), 2;
  Problem problem(std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4]));
  std::ifstream file(argv[1]);
  auto module = sim::Module::load(std::string{std::istreambuf_iterator<char>(file), {}});
  if (!module)
    return std::fprintf(stderr, "error: %s\n", module.error().message.c_str()), 1;
  sim::Launch launch;
  launch.kernel = (*module)->kernels()[0];
  launch.buffers = buffersOf(problem);
  auto params = paramsOf(problem, launch.buffers, 4);
  dim3 grid = Kernel::get_grid_shape(params), block = Kernel::get_block_shape();
  launch.grid = {grid.x, grid.y, grid.z};
  launch.block = {block.x, block.y, block.z};
  launch.cluster = {2, 1, 1};
  launch.dynamicSharedBytes = Kernel::SharedStorageSize;
  auto bytes = reinterpret_cast<const std::byte *>(&params);
  launch.arguments = {sim::BytesArgument{{bytes, bytes + sizeof params}}};
  auto report = sim::run(**module, launch, {});
  if (!report)
    return std::fprintf(stderr, "error: %s\n", report.error().message.c_str()), 1;
  for (const sim::Finding &finding : report->findings)
    std::printf("%s\n\n", finding.toString().c_str());
  double worst = problem.worst();
  std::printf("%dx%dx%d: largest error %.2f of the tolerance; %zu findings; %.2f s\n", problem.m, problem.n, problem.k, worst,
              report->findings.size(), report->seconds);
  return worst <= 1 && report->findings.empty() ? 0 : 1;
}
#endif
