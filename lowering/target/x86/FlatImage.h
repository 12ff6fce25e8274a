//===- FlatImage.h - object files without relocations -------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_FLATIMAGE_H
#define QUANT_LOWERING_TARGET_X86_FLATIMAGE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace quant::host {

/// A position-independent image: read-only data, then the code.
struct FlatImage {
  std::vector<char> image;
  /// Where the code begins, and how long it is.
  uint64_t textOffset = 0, textBytes = 0;
  /// Where each kernel begins, by its name.
  std::map<std::string, uint64_t> entries;
};

/// Lays out the sections of ELF objects for x86-64 in one image, in their order, and applies their relocations, so that loading
/// needs no linker. Objects may use each other's global symbols. Only PC-relative relocations and no external symbols can be:
/// everything else is an error, and so are an entry that is not there and a global symbol that two objects define.
llvm::Expected<FlatImage> linkFlatImage(llvm::ArrayRef<llvm::StringRef> objects, llvm::ArrayRef<std::string> entries);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_FLATIMAGE_H
