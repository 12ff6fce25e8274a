//===- Sm90Target.cpp - H100 and H200 as a target --------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/target/sm90/Sm90Target.h"

#include "dialects/machine/Gpu.h"
#include "dialects/program/LaunchAttr.h"
#include "dialects/program/Program.h"
#include "lowering/target/sm90/Passes.h"
#include "lowering/target/sm90/Ptx.h"
#include "lowering/target/sm90/simt/LowerSimt.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

using namespace mlir;
using namespace quant;

namespace {

class Sm90Target final : public Target {
public:
  StringRef name() const override { return machine::kSm90a.name; }
  StringRef summary() const override { return "H100 and H200"; }
  // Tensor cores round their f32 sums to bf16 once, at the end, and read scales group by group. TMA reads neighbouring rows.
  MatmulTraits matmuls() const override {
    return {.multipliesFp8 = true,
            .quantizesInt8 = true,
            .multipliesBf16 = true,
            .resultType = "bf16",
            .scaleLayout = "k_major",
            .gathersRows = false,
            .quantizesSwiglu = true,
            .attendsOnTensorCores = true};
  }
  std::vector<std::string> units() const override { return {std::string(name())}; }

  void registerDialects(DialectRegistry &registry) const override {
    nvvm::registerNvvmLowering(registry);
    nvvm::registerSimtKernels(registry);
  }

  void buildTiled(OpPassManager &pm, const TargetOptions &options) const override {
    TileToHopperOptions tile;
    tile.gpu = options.gpu;
    pm.addPass(createTileToHopper(tile));
    if (options.launchDependents != "start")
      pm.addPass(createPlaceLaunchDependents({.at = options.launchDependents}));
  }

  void buildTarget(OpPassManager &pm, const TargetOptions &) const override {
    // A kernel keeps the order of its instructions here: what follows (Ptx.cpp) cleans up.
    pm.addPass(createLowerToNvvm());
    pm.addPass(createLowerHopperToNvvm());
  }

  nlohmann::ordered_json describeKernel(func::FuncOp lowered) const override {
    if (auto reason = lowered->getAttrOfType<StringAttr>(program::kUnsupportedAttr))
      return {{"kind", "recipe"}, {"unsupported", reason.str()}};
    // One recipe, or a list of them with the M that each is for.
    auto launch = program::getLaunchJson(lowered->getAttr(program::kLaunchAttr));
    return {{"kind", "recipe"}, {launch.is_array() ? "variants" : "launch", launch}};
  }

  /// One PTX text, and one cubin where there is a ptxas.
  Result<GeneratedCode> generateCode(ModuleOp lowered, const TargetOptions &options) const override {
    GeneratedCode code;
    for (auto gpuModule : lowered.getOps<gpu::GPUModuleOp>()) {
      QUANT_TRY_ASSIGN(nvvm::PtxText ptx, nvvm::compileToPtx(gpuModule));
      QUANT_TRY_ASSIGN(nvvm::GpuArtifact artifact, nvvm::assemble(std::move(ptx.ptx), {options.ptxas}));
      if (options.assembly)
        *options.assembly = artifact.ptx;
      add(artifact, code);
    }
    return code;
  }

private:
  static void add(nvvm::GpuArtifact &artifact, GeneratedCode &code) {
    for (const std::string &finding : artifact.findings())
      code.notes.push_back("ptxas: " + finding);
    if (artifact.cubin.empty())
      code.notes.push_back("no ptxas found: the module holds PTX only, which the driver compiles at load");
    else
      code.objects.push_back({"cubin", std::string(artifact.cubin.begin(), artifact.cubin.end())});
    code.objects.push_back({"ptx", std::move(artifact.ptx)});
  }
};

} // namespace

const Target &quant::nvvm::sm90Target() {
  static const Sm90Target target;
  return target;
}
