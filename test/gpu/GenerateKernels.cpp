//===- GenerateKernels.cpp - writes the kernels that run.sh tests ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// generate-gpu-kernels DIRECTORY [PTXAS]: for each kernel NAME.json (launch recipe), NAME.ptx and, with an assembler, NAME.cubin.
//
//===----------------------------------------------------------------------===//

#include "test/gpu/Fp8GemmShapes.h"

#include <filesystem>
#include <fstream>
#include <iostream>

using namespace quant;

static bool writeFile(const std::filesystem::path &path, const char *data, size_t bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(data, static_cast<std::streamsize>(bytes));
  return file.good();
}

static bool generate(const nvvm::Fp8GemmConfig &config, const std::filesystem::path &directory,
                     const nvvm::AssemblerOptions &options) {
  Result<nvvm::CompiledKernel> kernel = nvvm::compileFp8Gemm(config, options);
  if (!kernel) {
    std::cerr << "error: " << kernel.error().message << "\n";
    return false;
  }
  std::filesystem::path base = directory / kernel->recipe.kernel;
  std::string json = kernel->recipe.toJson().dump(2) + "\n";
  const auto &[ptx, cubin, log, usage] = kernel->artifact;
  bool written = writeFile(base.string() + ".json", json.data(), json.size()) &&
                 writeFile(base.string() + ".ptx", ptx.data(), ptx.size()) &&
                 (cubin.empty() || writeFile(base.string() + ".cubin", cubin.data(), cubin.size()));
  if (!written)
    std::cerr << "error: cannot write " << base.string() << ".*\n";
  return written;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    std::cerr << "usage: " << argv[0] << " DIRECTORY [PTXAS]\n";
    return 2;
  }
  nvvm::AssemblerOptions options;
  if (argc > 2)
    options.ptxas = argv[2];
  std::filesystem::create_directories(argv[1]);
  int count = 0;
  for (const auto &shapes : {test::modelShapes(), test::oddShapes(), test::tileShapes()})
    for (const nvvm::Fp8GemmConfig &config : shapes) {
      if (!generate(config, argv[1], options))
        return 1;
      ++count;
    }
  std::cout << count << " kernels in " << argv[1]
            << (nvvm::findPtxas(options) ? "\n" : "; no ptxas found: PTX only, the driver compiles it at load\n");
}
