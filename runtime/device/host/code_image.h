//===- code_image.h - machine code, loaded ----------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_DEVICE_HOST_CODE_IMAGE_H
#define QUANT_RUNTIME_DEVICE_HOST_CODE_IMAGE_H

#include "runtime/abi/kernel_abi.h"
#include "runtime/device/host/cpu_features.h"
#include "runtime/device/common/memory.h"
#include "runtime/module/program.h"

namespace quant::runtime {

/// The first object of `target` that `cpu` can run, or, where `isa` is not empty, the one called so. Errors: no such object, or
/// the CPU lacks a feature; the message says which.
Result<const CodeObject *> selectObject(const Target &target, const std::string &isa, const CpuFeatures &cpu);

/// A copy of a code object's image: its text is executable, all of it read-only. Move-only.
class CodeImage {
public:
  static Result<CodeImage> load(const CodeObject &object);

  /// The kernel at an entry of the object that was loaded; good as long as the image lives.
  abi::HostKernel kernel(int64_t entry) const { return reinterpret_cast<abi::HostKernel>(memory.data() + entry); }

private:
  Memory memory;
};

} // namespace quant::runtime

#endif // QUANT_RUNTIME_DEVICE_HOST_CODE_IMAGE_H
