//===- Target.h - what a model is compiled for --------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A folder under lowering/target is a target: its passes, its kernels, and one object of this interface that says what the stages
// and the module file must know. Nothing outside asks which target it is.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_LOWERING_TARGET_TARGET_H
#define QUANT_LOWERING_TARGET_TARGET_H

#include "dialects/machine/Gpu.h"
#include "runtime/support/result.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/PassManager.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace quant {

/// How a target's matmuls want their inputs and give their results.
struct MatmulTraits {
  /// Whether it multiplies FP8 codes. A target without such units computes on dequantize(quantize(x)), the same numbers.
  bool multipliesFp8 = false;
  /// Whether its habit is to quantize inputs to INT8 where a scheme asks for that.
  bool quantizesInt8 = false;
  /// Whether it multiplies bf16 by bf16, both as they lie in memory.
  bool multipliesBf16 = false;
  /// Whether it multiplies INT8 inputs by weights whose scales are of groups of a row, too.
  bool multipliesInt8Groups = false;
  /// The result's element type, "f32" or "bf16", and the layout of activations' scales, "row_major" or "k_major".
  llvm::StringRef resultType, scaleLayout;
  /// Whether its grouped matmuls read quantized rows by a list; otherwise each row lies where its result goes.
  bool gathersRows = true;
  /// Whether it has grouped matmuls whose epilogue is SwiGLU with quantization.
  bool quantizesSwiglu = false;
  /// Whether it has `mla_decode`, attention on tensor cores.
  bool attendsOnTensorCores = false;
};

struct TargetOptions {
  /// One of the target's units().
  std::string unit;
  /// The GPU (dialects/machine/Gpu.h) whose number of multiprocessors orders a kernel's tiles; the code runs on others, too.
  std::string gpu = machine::defaultGpu().name;
  /// Of GPUs: when a kernel lets the next one of the stream start, which is launched so that it may: start, loaded or never.
  std::string launchDependents = "start";
  /// Path of ptxas; empty: it is looked for.
  std::string ptxas;
  /// Receives the kernels as text (assembly, PTX), if given.
  std::string *assembly = nullptr;
};

/// Machine code of one unit.
struct CodeObject {
  /// What the module file calls it: avx512, ptx, cubin.
  std::string isa;
  std::string bytes;
  /// Further fields of its entry in the manifest (docs/module-format.md).
  nlohmann::ordered_json fields = nlohmann::ordered_json::object();
};

struct GeneratedCode {
  std::vector<CodeObject> objects;
  /// For the person who compiles: "no ptxas found: ...".
  std::vector<std::string> notes;
};

class Target {
public:
  virtual ~Target() = default;

  /// What the command line, the module file and the runtime call it: host, sm_90a.
  virtual llvm::StringRef name() const = 0;
  /// For --help: "x86-64".
  virtual llvm::StringRef summary() const = 0;
  virtual MatmulTraits matmuls() const = 0;
  /// The units that schedules are made for, the best first. One module holds code for each, and the loader picks.
  virtual std::vector<std::string> units() const = 0;

  virtual void registerDialects(mlir::DialectRegistry &registry) const {}
  /// What follows the tiles of linear code at the stage `tiled`.
  virtual void buildTiled(mlir::OpPassManager &pm, const TargetOptions &options) const {}
  /// The stage `target`: kernels become the target's own operations.
  virtual void buildTarget(mlir::OpPassManager &pm, const TargetOptions &options) const = 0;
  /// The fields of a lowered kernel in the manifest that say how it is run.
  virtual nlohmann::ordered_json describeKernel(mlir::func::FuncOp lowered) const = 0;
  /// The code of a module at the stage `target`, which is used up.
  virtual Result<GeneratedCode> generateCode(mlir::ModuleOp lowered, const TargetOptions &options) const = 0;
};

/// Every target, the one that is compiled for where nobody says first.
llvm::ArrayRef<const Target *> targets();
/// Null if there is none of that name.
const Target *findTarget(llvm::StringRef name);
/// "host, sm_90a", for messages.
std::string targetNames();

} // namespace quant

#endif // QUANT_LOWERING_TARGET_TARGET_H
