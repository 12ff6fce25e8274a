//===- gpu.h - an H100 or H200, with a context and a stream -----*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_CUDA_GPU_H
#define QUANT_RUNTIME_DEVICE_CUDA_GPU_H

#include "runtime/device/cuda/driver.h"

#include <utility>

namespace quant::runtime::cuda {

/// The target whose code these GPUs run; they have compute capability 9.0.
inline constexpr std::string_view kTarget = "sm_90a";

/// The process's first GPU, which CUDA_VISIBLE_DEVICES chooses.
struct Gpu {
  const Driver *driver;
  Device device;
  int multiprocessors;

  /// Errors: those of Driver::get(); a GPU of another compute capability than 9.0, whose name the message says.
  static Result<Gpu> find();
};

/// Something of the driver's that ends with this object: Owned<Stream> with streamDestroy. Move-only.
template <typename Handle>
class Owned {
public:
  Owned() = default;
  Owned(Handle handle, const Call<Handle> &end) : handle(handle), end(&end) {}
  Owned(Owned &&other) noexcept : handle(other.handle), end(std::exchange(other.end, nullptr)) {}
  Owned &operator=(Owned &&other) noexcept {
    std::swap(handle, other.handle);
    std::swap(end, other.end);
    return *this;
  }
  /// Failures are those of work before, which its own calls have told.
  ~Owned() {
    if (end)
      end->status(handle);
  }

  Handle get() const { return handle; }

private:
  Handle handle = {};
  const Call<Handle> *end = nullptr;
};

} // namespace quant::runtime::cuda

#endif // QUANT_RUNTIME_DEVICE_CUDA_GPU_H
