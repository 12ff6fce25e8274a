//===- Compile.cpp - from a checkpoint to a module file -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/Compile.h"

#include "dialects/program/Program.h"
#include "lowering/target/x86/CodeObject.h"
#include "lowering/module/Container.h"
#include "lowering/module/ProgramJson.h"
#include "lowering/target/sm90/Ptx.h"
#include "models/builder/Builder.h"
#include "runtime/abi/module_format.h"
#include "runtime/checkpoint/writer.h"
#include "tools/pipeline/Registration.h"
#include "tools/pipeline/Stages.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/raw_ostream.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <unistd.h>

using namespace mlir;
using namespace quant;
using Json = nlohmann::ordered_json;

namespace {

class Compiler {
public:
  explicit Compiler(const CompileOptions &options) : options(options) {
    DialectRegistry registry;
    registerDialects(registry);
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
    context.getDiagEngine().registerHandler([this](Diagnostic &diagnostic) {
      if (diagnostic.getSeverity() == DiagnosticSeverity::Error && diagnostics.empty())
        diagnostics = diagnostic.str();
      return success();
    });
  }

  Result<CompileReport> run() {
    auto start = std::chrono::steady_clock::now();
    if (auto checked = checkOutput(); !checked)
      return tl::unexpected(checked.error());
    if (auto read = readModel(); !read)
      return tl::unexpected(read.error());
    if (auto made = makeFolder(options.dumpDirectory).and_then([&] { return makeFolder(options.kernelDirectory); }); !made)
      return tl::unexpected(made.error());
    for (const std::string &target : options.targets)
      if (auto done = compileFor(target); !done)
        return tl::unexpected(done.error().in("target " + target));
    if (options.stopAfter.empty())
      if (auto written = writeModule(); !written)
        return tl::unexpected(written.error());
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
  }

private:
  const CompileOptions &options;
  MLIRContext context;
  std::string diagnostics;
  models::ModelConfig config;
  models::TensorTypes tensors;
  CompileReport report;
  Json targets = Json::array();
  std::vector<ModuleSection> sections;

  tl::unexpected<Error> failed(const std::string &what) {
    return fail(diagnostics.empty() ? what : what + ": " + diagnostics);
  }

  /// Before any work is done: the output must be writable and no part of the input.
  Result<void> checkOutput() const {
    if (options.output == "-")
      return {};
    std::error_code ignored;
    std::filesystem::path input = std::filesystem::weakly_canonical(options.input, ignored),
                          output = std::filesystem::weakly_canonical(std::filesystem::absolute(options.output), ignored);
    bool isInput = input == output || std::filesystem::equivalent(input, output, ignored);
    if (std::filesystem::is_directory(input, ignored))
      for (const auto &entry : std::filesystem::directory_iterator(input, ignored))
        isInput |= std::filesystem::is_regular_file(entry.path(), ignored) && entry.path().extension() != ".qmod" &&
                   std::filesystem::equivalent(entry.path(), output, ignored);
    if (isInput)
      return fail(options.output.string() + ": the output would replace a file of the input; choose another name");
    if (std::filesystem::is_directory(output, ignored))
      return fail(options.output.string() + ": is a folder; name a file in it");
    std::filesystem::path folder = output.parent_path();
    if (!std::filesystem::is_directory(folder, ignored))
      return fail(folder.string() + ": there is no such folder for the output");
    if (access(folder.c_str(), W_OK) != 0)
      return fail(folder.string() + ": cannot write there: " + std::strerror(errno));
    return {};
  }

  static Result<void> makeFolder(const std::filesystem::path &path) {
    std::error_code error;
    if (!path.empty() && (std::filesystem::create_directories(path, error), error))
      return fail(path.string() + ": cannot create the folder: " + error.message());
    return {};
  }

  //===--- The model ---===//

  Result<void> readModel() {
    auto loaded = models::loadConfig(options.input);
    if (!loaded)
      return tl::unexpected(loaded.error());
    config = *loaded;
    if (options.maxContext)
      config.maxSeqLen = *options.maxContext;
    report.model = config.modelType;
    if (config.nMtpLayers > 0)
      report.notes.push_back("the checkpoint's " + std::to_string(config.nMtpLayers) + " MTP layer(s) are not compiled yet");
    if (!hasCheckpoint()) {
      tensors = models::tensorTypes(config);
      return {};
    }
    auto checkpoint = checkpoint::Checkpoint::open(options.input);
    if (!checkpoint)
      return tl::unexpected(checkpoint.error());
    tensors = models::tensorTypes(*checkpoint);
    return {};
  }

  bool hasCheckpoint() const {
    std::error_code ignored;
    return std::filesystem::is_directory(options.input, ignored) &&
           (std::filesystem::exists(options.input / "model.safetensors.index.json", ignored) ||
            std::filesystem::exists(options.input / "model.safetensors", ignored));
  }

  void setStageOptions(const std::string &target, StageOptions &stages) {
    stages.target = target == "host" ? Target::Host : Target::Sm90a;
    stages.activations = options.activations == "fp8"    ? Activations::Fp8
                         : options.activations == "bf16" ? Activations::Bf16
                                                         : Activations::Auto;
    stages.scaleFormat = config.scaleFmt == models::ScaleFmt::UE8M0 ? "ue8m0" : "f32";
    stages.maxTokens = options.maxTokens;
  }

  Result<OwningOpRef<ModuleOp>> build() {
    auto module = models::buildModel(context, config, tensors);
    if (!module)
      return tl::unexpected(module.error().in(options.input.string()));
    return module;
  }

  //===--- Stages ---===//

  /// Runs the stages from where `module` stands to `last`, writing each one down if asked.
  Result<void> advance(ModuleOp module, Stage last, const StageOptions &stages) {
    std::string error;
    auto dump = [&](Stage stage, ModuleOp reached) {
      if (options.dumpDirectory.empty() || !error.empty())
        return;
      std::string suffix = stage == Stage::Target && stages.isHost() ? "." + stages.isa : "";
      std::string name = std::to_string(static_cast<int>(stage) + 1) + "." + stageName(stage).str() + suffix + ".mlir";
      auto written = checkpoint::writeFileAtomically(options.dumpDirectory / (targetName(stages.target).str() + "." + name), print(reached));
      if (!written)
        error = written.error().message;
    };
    if (mlir::failed(runStages(module, last, stages, {}, dump)))
      return failed("stage " + stageName(last).str());
    if (!error.empty())
      return fail(error);
    return {};
  }

  static std::string print(ModuleOp module) {
    std::string text;
    llvm::raw_string_ostream out(text);
    module.print(out);
    return text + "\n";
  }

  Result<void> compileFor(const std::string &target) {
    auto module = build();
    if (!module)
      return tl::unexpected(module.error());
    StageOptions stages;
    setStageOptions(target, stages);
    if (!options.stopAfter.empty()) {
      stages.isa = options.hostIsas.front();
      auto reached = advance(module->get(), *parseStage(options.stopAfter), stages);
      if (!reached)
        return reached;
      return writeText(print(module->get()), target);
    }
    if (auto reached = advance(module->get(), Stage::Dispatched, stages); !reached)
      return reached;
    return target == "host" ? compileHost(module->get(), stages) : compileSm90a(module->get(), stages);
  }

  Result<void> writeText(const std::string &text, const std::string &target) {
    if (options.output.empty() || options.output == "-") {
      llvm::outs() << text;
      return {};
    }
    std::filesystem::path path = options.output;
    if (options.targets.size() > 1)
      path += "." + target;
    return checkpoint::writeFileAtomically(path, text);
  }

  //===--- Targets ---===//

  Result<void> compileHost(ModuleOp dispatched, StageOptions &stages) {
    Json program = programJson(dispatched), kernels, objects = Json::array();
    count(program);
    OwningOpRef<ModuleOp> tiled = dispatched.clone();
    if (auto reached = advance(*tiled, Stage::Tiled, stages); !reached)
      return reached;
    for (const std::string &isa : options.hostIsas) {
      OwningOpRef<ModuleOp> module = tiled->clone();
      stages.isa = isa;
      if (auto reached = advance(*module, Stage::Target, stages); !reached)
        return reached;
      // Scratch is the largest that any instruction set needs.
      Json lowered = hostKernelsJson(dispatched, *module);
      for (size_t index = 0; kernels.is_array() && index < kernels.size(); ++index)
        if (kernels[index]["scratch_bytes"] > lowered[index]["scratch_bytes"])
          lowered[index]["scratch_bytes"] = kernels[index]["scratch_bytes"];
      kernels = lowered;
      FailureOr<host::CodeObject> object = host::compileKernels(*module, isa);
      if (mlir::failed(object))
        return failed("code for " + isa);
      objects.push_back(addObject(*object));
    }
    report.kernels += kernels.size();
    sections.push_back({"program.host.json", program.dump()});
    targets.push_back({{"name", "host"}, {"program", "program.host.json"}, {"kernels", kernels}, {"objects", objects}});
    return {};
  }

  void count(const Json &program) {
    report.dispatches = program["dispatches"].size();
    report.weights = std::count_if(program["values"].begin(), program["values"].end(), [](const Json &value) {
      return value["kind"] == "weight" || value["kind"] == "weight_group";
    });
  }

  Json addObject(const host::CodeObject &object) {
    std::string section = "code.host." + object.isa;
    sections.push_back({section, std::string(object.image.begin(), object.image.end())});
    return {{"isa", object.isa},
            {"section", section},
            {"requires", object.requires_},
            {"text_offset", object.textOffset},
            {"text_bytes", object.textBytes},
            {"entries", object.entries}};
  }

  /// Kernels of the GPU: one PTX text, and one cubin where there is a ptxas.
  Result<void> compileSm90a(ModuleOp dispatched, StageOptions &stages) {
    Json program = programJson(dispatched);
    OwningOpRef<ModuleOp> module = dispatched.clone();
    if (auto reached = advance(*module, Stage::Target, stages); !reached)
      return reached;
    Json kernels = gpuKernelsJson(dispatched, *module), objects = Json::array();
    count(program);
    report.kernels += kernels.size();
    for (const Json &kernel : kernels)
      if (kernel.contains("unsupported")) {
        report.unsupported.push_back({"sm_90a", kernel["name"], kernel["unsupported"]});
        --report.kernels;
      }
    for (gpu::GPUModuleOp gpuModule : module->getOps<gpu::GPUModuleOp>()) {
      auto ptx = nvvm::compileToPtx(gpuModule);
      if (!ptx)
        return tl::unexpected(ptx.error());
      auto artifact = nvvm::assemble(std::move(ptx->ptx), {options.ptxas});
      if (!artifact)
        return tl::unexpected(artifact.error());
      for (const std::string &finding : artifact->findings())
        report.notes.push_back("ptxas: " + finding);
      if (auto added = addGpuObjects(*artifact, kernels, objects); !added)
        return added;
    }
    sections.push_back({"program.sm_90a.json", program.dump()});
    targets.push_back({{"name", "sm_90a"}, {"program", "program.sm_90a.json"}, {"kernels", kernels}, {"objects", objects}});
    return {};
  }

  Result<void> addGpuObjects(const nvvm::GpuArtifact &artifact, const Json &kernels, Json &objects) {
    if (artifact.cubin.empty())
      report.notes.push_back("no ptxas found: the module holds PTX only, which the driver compiles at load");
    else
      addGpuObject("cubin", std::string(artifact.cubin.begin(), artifact.cubin.end()), objects);
    addGpuObject("ptx", artifact.ptx, objects);
    if (options.kernelDirectory.empty())
      return {};
    auto write = [&](const char *name, std::string_view bytes) -> Result<void> {
      report.files.push_back((options.kernelDirectory / name).string());
      return checkpoint::writeFileAtomically(options.kernelDirectory / name, bytes);
    };
    auto written = write("kernels.ptx", artifact.ptx);
    if (written && !artifact.cubin.empty())
      written = write("kernels.cubin", std::string_view(artifact.cubin.data(), artifact.cubin.size()));
    return written ? write("kernels.json", kernels.dump(2)) : written;
  }

  void addGpuObject(const std::string &isa, std::string bytes, Json &objects) {
    std::string section = "code.sm_90a." + isa;
    sections.push_back({section, std::move(bytes)});
    objects.push_back({{"isa", isa}, {"section", section}});
  }

  Result<void> writeModule() {
    Json manifest;
    manifest["format"] = abi::kFormatVersion;
    manifest["producer"] = "quant-compile " QUANT_VERSION;
    manifest["model"] = models::toJson(config);
    manifest["targets"] = targets;
    sections.insert(sections.begin(), {"manifest.json", manifest.dump()});
    std::string file = layOutModule(sections);
    report.fileBytes = file.size();
    return checkpoint::writeFileAtomically(options.output, file);
  }
};

} // namespace

Result<CompileReport> quant::compileModel(const CompileOptions &options) { return Compiler(options).run(); }
