//===- fuzz_safetensors.cpp - fuzzes the safetensors header parser --------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/header.h"

#include <cstdlib>
#include <string>

using namespace quant::checkpoint;

/// What a checked header promises, checked anew.
static void check(const Header &header, uint64_t fileSize) {
  uint64_t end = 0;
  for (const TensorInfo &tensor : header.tensors) {
    auto bytes = byteSize(tensor.dtype, tensor.shape);
    if (tensor.begin != end || !bytes || *bytes != tensor.end - tensor.begin || header.find(tensor.name) != &tensor)
      std::abort();
    end = tensor.end;
  }
  if (header.dataBegin + end != fileSize)
    std::abort();
}

/// The input is a file; and, since the fuzzer rarely guesses a length, also two bytes for the size of the data and a JSON text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (auto header = parseHeader(std::as_bytes(std::span(data, size)), size))
    check(*header, size);
  if (size < 2)
    return 0;
  uint64_t dataBytes = data[0] | data[1] << 8;
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i)
    file[i] = static_cast<char>((size - 2) >> (8 * i));
  file.append(reinterpret_cast<const char *>(data) + 2, size - 2);
  if (auto header = parseHeader(std::as_bytes(std::span(file)), file.size() + dataBytes))
    check(*header, file.size() + dataBytes);
  return 0;
}
