//===- ModuleBuilder.cpp - the parts of a module file ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "lowering/module/ModuleBuilder.h"

#include "dialects/program/Program.h"
#include "lowering/module/ProgramJson.h"
#include "runtime/abi/module_format.h"

#include <fmt/core.h>

using namespace mlir;
using namespace quant;
using Json = nlohmann::ordered_json;

void ModuleBuilder::beginTarget(const Target &begun, ModuleOp module) {
  target = &begun;
  dispatched = module;
  currentProgram = currentDraft = currentKernels = Json();
  objects = Json::array();
}

/// What the kernels of one unit say over those of the units before: the larger scratch, and one more unit.
static void joinKernels(Json &kernels, const Json &more) {
  for (size_t index = 0; index < kernels.size(); ++index) {
    Json &kernel = kernels[index];
    if (kernel.contains("scratch_bytes") && kernel["scratch_bytes"] < more[index]["scratch_bytes"])
      kernel["scratch_bytes"] = more[index]["scratch_bytes"];
    if (kernel.contains("unit") && more[index].contains("unit"))
      kernel["unit"] = kernel["unit"].get<std::string>() + "," + more[index]["unit"].get<std::string>();
  }
}

Result<void> ModuleBuilder::addKernels(ModuleOp lowered) {
  Json program = programJson(dispatched, program::kForwardName, lowered);
  Json draft = programJson(dispatched, program::kDraftName, lowered), kernels = kernelsJson(dispatched, lowered, *target);
  if (currentKernels.is_null()) {
    currentProgram = std::move(program);
    currentDraft = std::move(draft);
    currentKernels = std::move(kernels);
    return {};
  }
  if (program != currentProgram || draft != currentDraft)
    return fail(
        fmt::format("{}: its units run kernels over different grids; give their schedules the same tiles", target->name().str()));
  joinKernels(currentKernels, kernels);
  return {};
}

std::string ModuleBuilder::codeSection(StringRef isa) const { return fmt::format("code.{}.{}", target->name().str(), isa.str()); }

void ModuleBuilder::addCode(GeneratedCode code) {
  for (CodeObject &object : code.objects) {
    std::string section = codeSection(object.isa);
    Json entry = {{"isa", object.isa}, {"section", section}};
    entry.update(object.fields);
    objects.push_back(std::move(entry));
    sections.push_back({section, std::move(object.bytes)});
  }
}

void ModuleBuilder::endTarget() {
  std::string name = target->name().str(), section = fmt::format("program.{}.json", name);
  sections.push_back({section, currentProgram.dump()});
  Json json = {{"name", name}, {"program", section}};
  if (!currentDraft.is_null()) {
    section = fmt::format("program.{}.draft.json", name);
    sections.push_back({section, currentDraft.dump()});
    json["draft"] = section;
  }
  json.update({{"kernels", currentKernels}, {"objects", objects}});
  targets.push_back(std::move(json));
}

const std::string *ModuleBuilder::code(StringRef isa) const {
  for (const ModuleSection &section : sections)
    if (section.name == codeSection(isa))
      return &section.bytes;
  return nullptr;
}

std::string ModuleBuilder::finish(const Json &model, const std::string &producer) {
  Json manifest = {{"format", abi::kFormatVersion}, {"producer", producer}, {"model", model}, {"targets", targets}};
  sections.insert(sections.begin(), {"manifest.json", manifest.dump()});
  return layOutModule(sections);
}
