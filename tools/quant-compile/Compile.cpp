//===- Compile.cpp - from a checkpoint to a module file -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/Compile.h"

#include "dialects/program/Program.h"
#include "models/builder/Builder.h"
#include "models/config/print.h"
#include "models/config/read.h"
#include "models/experts.h"
#include "models/stored.h"
#include "runtime/checkpoint/column_order.h"
#include "runtime/checkpoint/finite.h"
#include "runtime/checkpoint/writer.h"
#include "runtime/support/tensor_names.h"
#include "runtime/support/text.h"
#include "tools/pipeline/HostUnits.h"
#include "tools/pipeline/ModuleStage.h"
#include "tools/pipeline/Registration.h"
#include "tools/pipeline/Stages.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/raw_ostream.h"

#include <fmt/core.h>

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
    QUANT_TRY(checkOutput());
    QUANT_TRY(readModel());
    QUANT_TRY(makeFolder(options.dumpDirectory).and_then([&] { return makeFolder(options.kernelDirectory); }));
    for (const std::string &target : options.targets)
      if (auto done = compileFor(target); !done)
        return tl::unexpected(done.error().in("target " + target));
    if (options.stopAfter.empty())
      QUANT_TRY(writeModule());
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
  }

private:
  const CompileOptions &options;
  MLIRContext context;
  std::string diagnostics;
  models::ModelConfig config;
  models::TensorTypes tensors;
  models::ColumnOrders columnOrders;
  CompileReport report;
  ModuleBuilder builder;
  Result<void> dumped;

  tl::unexpected<Error> failed(const std::string &what) { return fail(diagnostics.empty() ? what : what + ": " + diagnostics); }

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
      return fail(fmt::format("{}: cannot write there: {}", folder.string(), std::strerror(errno)));
    return {};
  }

  static Result<void> makeFolder(const std::filesystem::path &path) {
    std::error_code error;
    if (!path.empty() && (std::filesystem::create_directories(path, error), error))
      return fail(fmt::format("{}: cannot create the folder: {}", path.string(), error.message()));
    return {};
  }

  //===--- The model ---===//

  Result<void> readModel() {
    QUANT_TRY_ASSIGN(config, models::loadConfig(options.input, &report.notes));
    if (options.maxContext)
      config.maxSeqLen = *options.maxContext;
    report.model = config.modelType;
    if (int64_t left = config.nMtpLayers - (options.mtp ? 1 : 0); left > 0)
      report.notes.push_back(fmt::format("{} MTP layer(s) of the model are left out{}", left,
                                         options.mtp ? "; one is compiled" : "; --mtp compiles the first one"));
    if (!hasCheckpoint()) {
      tensors = models::tensorTypes(config);
      std::error_code ignored;
      if (std::filesystem::is_directory(options.input, ignored))
        report.notes.push_back("no .safetensors is in the folder: compiled by its config.json alone");
      return {};
    }
    QUANT_TRY_ASSIGN(auto checkpoint, checkpoint::Checkpoint::open(options.input));
    tensors = models::tensorTypes(checkpoint);
    return checkStored(checkpoint);
  }

  /// What the checkpoint holds beside what is read.
  Result<void> checkStored(const checkpoint::Checkpoint &checkpoint) {
    std::vector<std::string_view> names;
    for (const auto &tensor : checkpoint.tensors())
      names.push_back(tensor.info->name);
    auto notes = models::checkStored(config, names);
    if (!notes)
      return tl::unexpected(notes.error().in(options.input.string()));
    report.notes.insert(report.notes.end(), notes->begin(), notes->end());
    if (auto alike = models::checkExperts(checkpoint, config.nRoutedExperts, config.nLayers); !alike)
      return tl::unexpected(alike.error().in(options.input.string()));
    for (const auto &tensor : checkpoint.tensors()) {
      QUANT_TRY(checkpoint::checkFinite(tensor));
      QUANT_TRY(readColumnOrder(checkpoint, tensor.info->name));
      QUANT_TRY(checkWeightShape(checkpoint, tensor));
    }
    return {};
  }

  /// What a weight_shape says must be what the words beside it hold.
  Result<void> checkWeightShape(const checkpoint::Checkpoint &checkpoint, const checkpoint::Checkpoint::Tensor &tensor) const {
    std::array<int64_t, 2> said{};
    const std::string &name = tensor.info->name;
    std::string module(moduleOf(name));
    const auto *codes = name.ends_with(".weight_shape") ? checkpoint.find(module + ".weight_packed") : nullptr;
    const Scheme *scheme = codes ? config.quantization.schemeOf(module) : nullptr;
    if (!scheme)
      return {};
    std::string where = fmt::format("tensor {} in {}", quote(name), printable(tensor.file->path().native()));
    if (tensor.info->dtype != DType::I64 || tensor.data.size() != sizeof(said))
      return fail(where + " is not two I64, the rows and columns of the weight");
    std::memcpy(said.data(), tensor.data.data(), sizeof(said));
    bool isSize = std::ranges::all_of(said, [](int64_t size) { return size > 0 && size <= INT32_MAX; });
    if (isSize && storedCodes(*scheme, said[0], said[1]).shape == codes->info->shape)
      return {};
    return fail(fmt::format("{} says {}, and {} is {}, which is another size in the scheme that config.json gives it ({})", where,
                            shapeText(said), quote(codes->info->name), shapeText(codes->info->shape), scheme->name));
  }

  /// Whether the columns of `codes` stand in another order than their groups, and in which.
  Result<void> readColumnOrder(const checkpoint::Checkpoint &checkpoint, const std::string &codes) {
    const auto *groups = checkpoint::findColumnGroups(checkpoint, codes);
    if (!groups)
      return {};
    QUANT_TRY_ASSIGN(bool isInOrder, checkpoint::isInColumnOrder(checkpoint, *groups, codes));
    if (isInOrder)
      return {};
    std::string module(moduleOf(codes));
    const Scheme *scheme = config.quantization.schemeOf(module);
    auto columns = static_cast<int64_t>(groups->data.size() / sizeof(int32_t));
    QUANT_TRY(checkpoint::checkColumnGroups(*groups, columns, scheme ? scheme->block[1] : 0));
    std::string_view bytes(reinterpret_cast<const char *>(groups->data.data()), groups->data.size());
    columnOrders[module] = std::max<size_t>(1, std::hash<std::string_view>{}(bytes));
    return {};
  }

  /// Whether the input is a folder with weights, be they broken or not all there.
  bool hasCheckpoint() const {
    std::error_code ignored;
    for (std::filesystem::directory_iterator entry(options.input, ignored), end; !ignored && entry != end;
         entry.increment(ignored))
      if (entry->path().extension() == ".safetensors" || entry->path().filename() == checkpoint::indexFileName)
        return true;
    return false;
  }

  void setStageOptions(const std::string &target, StageOptions &stages) {
    stages.target = findTarget(target);
    stages.launchDependents = options.launchDependents;
    stages.activations = llvm::StringSwitch<Activations>(options.activations)
                             .Case("fp8", Activations::Fp8)
                             .Case("int8", Activations::Int8)
                             .Case("bf16", Activations::Bf16)
                             .Case("f32", Activations::F32)
                             .Default(Activations::Auto);
    stages.scaleFormat = config.quantization.mainScheme().scaleFmt == ScaleFmt::UE8M0 ? "ue8m0" : "f32";
    stages.maxTokens = options.maxTokens;
  }

  Result<OwningOpRef<ModuleOp>> build() {
    if (options.mtp && config.nMtpLayers == 0)
      return fail(fmt::format("{}: --mtp compiles the model's MTP layer, and it has none (num_nextn_predict_layers is 0)",
                              options.input.string()));
    std::vector<std::string> notes;
    auto module = models::buildModel(context, config, tensors,
                                     {.cache = *deepseek::symbolizeCacheFormat(options.kvCache),
                                      .withDraft = options.mtp,
                                      .columnOrders = columnOrders,
                                      .notes = &notes});
    // The same for each target.
    for (const std::string &note : notes)
      if (!llvm::is_contained(report.notes, note))
        report.notes.push_back(note);
    if (!module)
      return tl::unexpected(module.error().in(options.input.string()));
    return module;
  }

  //===--- Stages ---===//

  /// Runs the stages from where `module` stands to `last`, writing each one down if asked.
  Result<void> advance(ModuleOp module, Stage last, const StageOptions &stages) {
    if (mlir::failed(runStages(module, last, stages, {}, dumper(stages))))
      return failed("stage " + stageName(last).str());
    return dumped;
  }

  /// Writes a module after each stage if that is asked for; what goes wrong is kept in `dumped`.
  std::function<void(Stage, ModuleOp)> dumper(const StageOptions &stages) {
    if (options.dumpDirectory.empty())
      return {};
    return [this, &stages](Stage stage, ModuleOp reached) {
      bool isOfUnit = stage >= Stage::Scheduled && stages.getTarget().units().size() > 1;
      std::string name = fmt::format("{}.{}.{}{}.mlir", stages.getTarget().name().str(), static_cast<int>(stage) + 1,
                                     stageName(stage).str(), isOfUnit ? "." + stages.isa : std::string());
      if (dumped)
        dumped = checkpoint::writeFileAtomically(options.dumpDirectory / name, print(reached));
    };
  }

  static std::string print(ModuleOp module) {
    std::string text;
    llvm::raw_string_ostream out(text);
    module.print(out);
    return text + "\n";
  }

  Result<void> compileFor(const std::string &target) {
    QUANT_TRY_ASSIGN(auto module, build());
    StageOptions stages;
    setStageOptions(target, stages);
    if (!options.stopAfter.empty()) {
      if (!options.hostIsas.empty()) {
        QUANT_TRY_ASSIGN(std::vector<std::string> units, hostUnits(stages));
        stages.isa = units.front();
      }
      QUANT_TRY(advance(module.get(), *parseStage(options.stopAfter), stages));
      return writeText(print(module.get()), target);
    }
    QUANT_TRY(advance(module.get(), Stage::Dispatched, stages));
    return compileDispatched(module.get(), stages);
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

  /// The units of --host-isa, or all whose code differs; none twice.
  Result<std::vector<std::string>> hostUnits(const StageOptions &stages) const {
    bool hasNarrowInputs = stages.activations == Activations::Bf16 || stages.activations == Activations::Int8;
    std::vector<std::string> differing = machine::x86UnitsFor(hasNarrowInputs), units;
    for (const std::string &name : options.hostIsas.empty() ? differing : options.hostIsas) {
      std::string unit = name;
      if (name == kNativeUnit) {
        std::vector<std::string> runnable = runnableUnits(differing);
        if (runnable.empty())
          return fail("--host-isa=native: this CPU runs no code of " + machine::x86UnitList() + "; name what the module is for");
        unit = runnable.front();
      }
      if (!llvm::is_contained(units, unit))
        units.push_back(std::move(unit));
    }
    return units;
  }

  Result<void> compileDispatched(ModuleOp dispatched, StageOptions &stages) {
    TargetCompilation compilation{
        .stages = stages, .units = {}, .ptxas = options.ptxas, .assembly = nullptr, .observe = dumper(stages)};
    if (stages.getTarget().units().size() > 1) {
      QUANT_TRY_ASSIGN(compilation.units, hostUnits(stages));
    }
    auto notes = buildTargetModule(dispatched, compilation, builder);
    if (!notes)
      return failed(notes.error().message);
    if (!dumped)
      return dumped;
    report.notes.insert(report.notes.end(), notes->begin(), notes->end());
    count(stages.getTarget().name().str());
    return writeKernels();
  }

  void count(const std::string &target) {
    report.dispatches = builder.program()["dispatches"].size();
    report.weights = llvm::count_if(builder.program()["values"], [](const Json &value) {
      return value["kind"] == "weight" || value["kind"] == "weight_group";
    });
    for (const Json &kernel : builder.kernels()) {
      std::string name = kernel["name"];
      if (kernel.contains("unsupported")) {
        report.unsupported.push_back({target, name, kernel["unsupported"]});
        continue;
      }
      ++report.kernels;
      report.units.push_back({target, name, kernel.value("unit", ""), kernel.value("why", "")});
    }
  }

  /// GPU kernels as files of their own, if asked.
  Result<void> writeKernels() {
    if (options.kernelDirectory.empty() || !builder.code("ptx"))
      return {};
    auto write = [&](const char *name, const std::string *bytes) -> Result<void> {
      if (!bytes)
        return {};
      report.files.push_back((options.kernelDirectory / name).string());
      return checkpoint::writeFileAtomically(options.kernelDirectory / name, *bytes);
    };
    std::string kernels = builder.kernels().dump(2);
    return write("kernels.ptx", builder.code("ptx"))
        .and_then([&] { return write("kernels.cubin", builder.code("cubin")); })
        .and_then([&] { return write("kernels.json", &kernels); });
  }

  Result<void> writeModule() {
    std::string file = builder.finish(models::toJson(config), "quant-compile " QUANT_VERSION);
    report.fileBytes = file.size();
    return checkpoint::writeFileAtomically(options.output, file);
  }
};

} // namespace

Result<CompileReport> quant::compileModel(const CompileOptions &options) { return Compiler(options).run(); }
