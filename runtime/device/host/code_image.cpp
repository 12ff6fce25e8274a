//===- code_image.cpp - machine code, loaded ------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/host/code_image.h"

#include "runtime/abi/module_format.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace quant::runtime {

static std::string join(const std::vector<std::string> &names) {
  std::string result;
  for (const std::string &name : names)
    result += (result.empty() ? "" : ", ") + printable(name);
  return result;
}

Result<const CodeObject *> selectObject(const Target &target, const std::string &isa, const CpuFeatures &cpu) {
  std::string tried;
  for (const CodeObject &object : target.objects) {
    std::vector<std::string> missing = cpu.missing(object.features);
    bool wanted = isa.empty() || isa == object.isa;
    if (wanted && missing.empty())
      return &object;
    if (wanted && !isa.empty())
      return fail(fmt::format("isa {} cannot run here: the CPU or the system lacks {}", quote(isa), join(missing)));
    tried += (tried.empty() ? "" : "; ") + quote(object.isa);
    if (isa.empty())
      tried += " needs " + join(missing);
  }
  if (isa.empty())
    return fail("the module has no code that this CPU and system can run: " + tried);
  return fail(fmt::format("the module has no code for isa {}, only for {}", quote(isa), tried));
}

Result<CodeImage> CodeImage::load(const CodeObject &object) {
  CodeImage image;
  auto bytes = static_cast<int64_t>(object.image.size());
  QUANT_TRY_ASSIGN(Memory memory, Memory::allocate(bytes, "machine code"));
  std::memcpy(memory.data(), object.image.data(), object.image.size());
  // Whole pages: the mapping's last one may be longer than the image.
  auto page = static_cast<size_t>(abi::kSectionAlignment);
  auto textOffset = static_cast<size_t>(object.textOffset);
  size_t textPages = (static_cast<size_t>(object.textBytes) + page - 1) / page * page;
  if (mprotect(memory.data(), memory.size(), PROT_READ) != 0 ||
      mprotect(memory.data() + textOffset, textPages, PROT_READ | PROT_EXEC) != 0)
    return fail(std::string("cannot make the machine code executable: ") + std::strerror(errno));
  image.memory = std::move(memory);
  return image;
}

} // namespace quant::runtime
