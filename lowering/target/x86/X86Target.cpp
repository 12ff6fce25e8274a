//===- X86Target.cpp - the host as a target --------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/x86/X86Target.h"

#include "dialects/machine/X86.h"
#include "dialects/program/Program.h"
#include "lowering/target/x86/CodeObject.h"
#include "lowering/target/x86/Kernels.h"
#include "lowering/target/x86/Passes.h"

#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace quant;

namespace {

class X86Target final : public Target {
public:
  StringRef name() const override { return "host"; }
  StringRef summary() const override { return "x86-64"; }
  // It computes in f32, with activations as they are.
  MatmulTraits matmuls() const override {
    return {.multipliesFp8 = false, .multipliesInt8Groups = true, .resultType = "f32", .scaleLayout = "row_major"};
  }
  std::vector<std::string> units() const override { return machine::x86UnitNames(); }

  void registerDialects(DialectRegistry &registry) const override { host::registerHostKernels(registry); }

  void buildTarget(OpPassManager &pm, const TargetOptions &options) const override {
    LowerToHostOptions lower;
    lower.isa = options.unit;
    pm.addPass(createLowerToHost(lower));
    pm.addNestedPass<func::FuncOp>(createCSEPass());
    pm.addNestedPass<func::FuncOp>(createCanonicalizerPass());
    pm.addNestedPass<func::FuncOp>(createCSEPass());
  }

  nlohmann::ordered_json describeKernel(func::FuncOp lowered) const override {
    auto scratch = lowered->getAttrOfType<IntegerAttr>(program::kScratchBytesAttr);
    return {{"kind", "entry"}, {"scratch_bytes", scratch ? scratch.getInt() : 0}};
  }

  Result<GeneratedCode> generateCode(ModuleOp lowered, const TargetOptions &options) const override {
    FailureOr<host::FlatImage> image = host::compileKernels(lowered, options.unit, options.assembly);
    if (failed(image))
      return fail("no code for " + options.unit);
    CodeObject object{options.unit, std::string(image->image.begin(), image->image.end())};
    object.fields = {{"requires", machine::findX86Unit(options.unit)->requiredFeatures},
                     {"text_offset", image->textOffset},
                     {"text_bytes", image->textBytes},
                     {"entries", image->entries}};
    GeneratedCode code;
    code.objects.push_back(std::move(object));
    return code;
  }
};

} // namespace

const Target &quant::host::x86Target() {
  static const X86Target target;
  return target;
}
