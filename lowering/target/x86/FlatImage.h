//===- FlatImage.h - an object file without relocations -----------*- C++ -*-===//
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

/// Lays out the sections of an ELF object for x86-64 in one image and applies its relocations, so that loading needs no linker.
/// Only PC-relative relocations and no external symbols can be: everything else is an error, and so is an entry that is not
/// there.
llvm::Expected<FlatImage> linkFlatImage(llvm::StringRef object, llvm::ArrayRef<std::string> entries);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_FLATIMAGE_H
