//===- FlatImage.h - an object file without relocations -----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_X86_FLATIMAGE_H
#define QUANT_LOWERING_TARGET_X86_FLATIMAGE_H

#include "lowering/target/x86/CodeObject.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

namespace quant::host {

/// Lays out the sections of an ELF object for x86-64 in one image and applies its relocations, so that loading needs no linker.
/// Only PC-relative relocations and no external symbols can be: everything else is an error. Fills in image, text and entries.
llvm::Error linkFlatImage(llvm::StringRef object, llvm::ArrayRef<std::string> entries, CodeObject &result);

} // namespace quant::host

#endif // QUANT_LOWERING_TARGET_X86_FLATIMAGE_H
