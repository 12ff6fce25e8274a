//===- Targets.cpp - the targets that there are ---------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Sm90Target.h"
#include "lowering/target/x86/X86Target.h"

using namespace quant;

llvm::ArrayRef<const Target *> quant::targets() {
  static const Target *const kTargets[] = {&host::x86Target(), &nvvm::sm90Target()};
  return kTargets;
}

const Target *quant::findTarget(llvm::StringRef name) {
  for (const Target *target : targets())
    if (target->name() == name)
      return target;
  return nullptr;
}

std::string quant::targetNames() {
  return llvm::join(llvm::map_range(targets(), [](const Target *target) { return target->name(); }), ", ");
}
