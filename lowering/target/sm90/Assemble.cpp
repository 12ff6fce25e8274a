//===- Assemble.cpp - runs ptxas and reads what it says ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Ptx.h"

#include "dialects/machine/Gpu.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FileUtilities.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdlib>
#include <fmt/core.h>

using llvm::SmallString;
using llvm::StringRef;

namespace quant::nvvm {

std::optional<std::string> findPtxas(const AssemblerOptions &options) {
  if (!options.ptxas.empty())
    return options.ptxas;
  if (const char *home = std::getenv("CUDA_HOME")) {
    SmallString<128> path(home);
    llvm::sys::path::append(path, "bin", "ptxas");
    if (llvm::sys::fs::can_execute(path))
      return path.str().str();
  }
  if (auto path = llvm::sys::findProgramByName("ptxas"))
    return *path;
  return std::nullopt;
}

/// The number in front of `unit` ("0 bytes spill stores"), or 0.
static int64_t numberBefore(StringRef line, StringRef unit) {
  size_t end = line.find(unit);
  if (end == StringRef::npos)
    return 0;
  StringRef digits = line.take_front(end).rtrim();
  digits = digits.take_back(digits.size() - (digits.find_last_not_of("0123456789") + 1));
  int64_t value = 0;
  return digits.getAsInteger(10, value) ? 0 : value;
}

/// Reads the blocks that `ptxas -v` prints, one per kernel:
///   ptxas info    : Compiling entry function 'NAME' for 'sm_90a'
///       0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
///   ptxas info    : Used 168 registers, ...
static std::vector<KernelUsage> parseUsage(StringRef log) {
  std::vector<KernelUsage> usage;
  for (StringRef line : llvm::split(log, '\n')) {
    if (line.contains("Compiling entry function"))
      usage.push_back({line.split('\'').second.split('\'').first.str()});
    if (usage.empty())
      continue;
    if (line.contains("bytes stack frame")) {
      usage.back().stackBytes = numberBefore(line, " bytes stack frame");
      usage.back().spillStoreBytes = numberBefore(line, " bytes spill stores");
      usage.back().spillLoadBytes = numberBefore(line, " bytes spill loads");
    }
    if (line.contains(": Used "))
      usage.back().registers = numberBefore(line, " registers");
  }
  return usage;
}

std::vector<std::string> GpuArtifact::findings() const {
  std::vector<std::string> found;
  for (const KernelUsage &kernel : usage) {
    if (kernel.spillStoreBytes || kernel.spillLoadBytes)
      found.push_back(fmt::format("{} spills {} bytes of registers", kernel.kernel, kernel.spillStoreBytes));
    if (kernel.stackBytes)
      found.push_back(fmt::format("{} uses {} bytes of local memory", kernel.kernel, kernel.stackBytes));
  }
  for (StringRef line : llvm::split(StringRef(ptxasLog), '\n'))
    if (line.contains("(C75"))
      found.push_back(line.trim().str());
  return found;
}

namespace {
/// A file that is gone when this object is.
struct TemporaryFile {
  SmallString<128> path;
  std::optional<llvm::FileRemover> remover;

  Result<void> open(StringRef suffix) {
    if (auto error = llvm::sys::fs::createTemporaryFile("quant", suffix, path))
      return fail("cannot create a temporary file: " + error.message());
    remover.emplace(path);
    return {};
  }

  Result<void> write(StringRef text) {
    std::error_code error;
    llvm::raw_fd_ostream file(path, error);
    file << text;
    file.close();
    if (error || file.has_error())
      return fail("cannot write " + path.str().str());
    return {};
  }

  std::string read() const {
    auto buffer = llvm::MemoryBuffer::getFile(path);
    return buffer ? (*buffer)->getBuffer().str() : std::string();
  }
};
} // namespace

Result<GpuArtifact> assemble(std::string ptx, const AssemblerOptions &options) {
  GpuArtifact artifact{std::move(ptx), {}, {}, {}, {}};
  std::optional<std::string> ptxas = findPtxas(options);
  if (!ptxas)
    return artifact;

  TemporaryFile source, cubin, log;
  QUANT_TRY(source.open("ptx"));
  QUANT_TRY(cubin.open("cubin"));
  QUANT_TRY(log.open("log"));
  QUANT_TRY(source.write(artifact.ptx));
  std::string runError;
  std::optional<StringRef> redirects[] = {std::nullopt, log.path.str(), log.path.str()};
  std::string arch = "-arch=" + std::string(machine::kSm90a.name);
  int status = llvm::sys::ExecuteAndWait(*ptxas, {*ptxas, arch, "-v", source.path, "-o", cubin.path}, std::nullopt, redirects, 0,
                                         0, &runError);
  artifact.ptxasLog = log.read();
  if (!runError.empty())
    return fail(fmt::format("cannot run {}: {}", *ptxas, runError));
  if (status != 0)
    return fail(fmt::format("{} rejects the kernel: {}", *ptxas, artifact.ptxasLog));
  std::string image = cubin.read();
  artifact.cubin.assign(image.begin(), image.end());
  artifact.usage = parseUsage(artifact.ptxasLog);
  return artifact;
}

} // namespace quant::nvvm
