//===- ModuleBuilder.h - the parts of a module file ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_MODULE_MODULEBUILDER_H
#define QUANT_LOWERING_MODULE_MODULEBUILDER_H

#include "lowering/module/Container.h"
#include "lowering/target/Target.h"

namespace quant {

/// Collects what a module file holds, target by target (docs/module-format.md).
class ModuleBuilder {
public:
  /// Begins a target with a module at the stage `dispatched`.
  void beginTarget(const Target &target, mlir::ModuleOp dispatched);
  /// The same module at the stage `target`, lowered for one more unit. Scratch is the largest that any unit needs. Errors: grids
  /// that are not those of the units before.
  Result<void> addKernels(mlir::ModuleOp lowered);
  void addCode(GeneratedCode code);
  void endTarget();

  /// Of the target at hand, or of the one that ended last.
  const nlohmann::ordered_json &program() const { return currentProgram; }
  const nlohmann::ordered_json &kernels() const { return currentKernels; }

  /// The bytes of that target's code called `isa`; null if there is none.
  const std::string *code(llvm::StringRef isa) const;

  /// The file. `model` describes the model, `producer` who made it.
  std::string finish(const nlohmann::ordered_json &model, const std::string &producer);

private:
  /// The section of the target at hand that holds its code called `isa`.
  std::string codeSection(llvm::StringRef isa) const;

  const Target *target = nullptr;
  mlir::ModuleOp dispatched;
  nlohmann::ordered_json currentProgram, currentDraft, currentKernels, objects;
  nlohmann::ordered_json targets = nlohmann::ordered_json::array();
  std::vector<ModuleSection> sections;
};

} // namespace quant

#endif // QUANT_LOWERING_MODULE_MODULEBUILDER_H
