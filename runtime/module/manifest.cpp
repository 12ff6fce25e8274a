//===- manifest.cpp - what a module file holds ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/module_format.h"
#include "runtime/module/module_parts.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace quant::runtime {

using nlohmann::json;

static constexpr int64_t kMaxScratchBytes = int64_t{1} << 30;
static constexpr size_t kMaxOperands = 64;

static Access parseAccess(ObjectReader &reader) {
  static constexpr std::array<std::string_view, 3> kNames = {"read", "write", "readwrite"};
  std::string name = reader.text("access");
  const auto *it = std::ranges::find(kNames, name);
  if (it != kNames.end())
    return static_cast<Access>(it - kNames.begin());
  reader.report("'access' is " + quote(name) + ", not read, write or readwrite");
  return Access::Read;
}

static KernelOperand parseKernelOperand(const json &json, const std::string &where, std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  KernelOperand operand;
  std::string dtype = reader.text("dtype");
  if (std::optional<DType> known = dtypeFromName(dtype))
    operand.dtype = *known;
  else
    reader.report("unknown dtype " + quote(dtype));
  operand.access = parseAccess(reader);
  if (reader.has("count"))
    operand.count = reader.integer("count", 1, INT32_MAX);
  if (reader.has("shape")) {
    Result<Shape> shape = parseShape(reader.any("shape"));
    if (shape)
      operand.shape = std::move(*shape);
    else
      reader.report(shape.error().message);
  }
  operand.layout = parseLayout(reader);
  reader.finish();
  return operand;
}

static abi::LaunchRecipe parseRecipe(ObjectReader &reader) {
  const json &json = reader.any("launch");
  if (!json.is_object()) {
    reader.report("'launch' is not an object");
    return {};
  }
  Result<abi::LaunchRecipe> recipe = abi::LaunchRecipe::fromJson(json);
  if (recipe)
    return std::move(*recipe);
  reader.report(recipe.error().message);
  return {};
}

static KernelVariant parseVariant(const json &json, const std::string &where, std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  KernelVariant variant;
  const auto &range = reader.array("m");
  const auto *low = range.size() == 2 ? range[0].get_ptr<const uint64_t *>() : nullptr;
  const auto *high = range.size() == 2 ? range[1].get_ptr<const uint64_t *>() : nullptr;
  if (!low || !high || *low > *high || *high > static_cast<uint64_t>(INT64_MAX))
    reader.report("'m' is not a range [low, high]");
  else
    variant = {static_cast<int64_t>(*low), static_cast<int64_t>(*high), {}};
  variant.recipe = parseRecipe(reader);
  reader.finish();
  return variant;
}

/// A kernel's `launch`, its `variants`, or why it is `unsupported`.
static void parseLaunches(ObjectReader &reader, Kernel &kernel, std::optional<Error> &error) {
  if (reader.has("unsupported")) {
    kernel.unsupported = reader.text("unsupported");
    return;
  }
  if (!reader.has("variants")) {
    kernel.variants.emplace_back().recipe = parseRecipe(reader);
    return;
  }
  const auto &variants = reader.array("variants");
  for (size_t i = 0; i < variants.size() && !error; ++i)
    kernel.variants.push_back(parseVariant(variants[i], fmt::format("{}: variant {}", reader.where(), i), error));
  if (variants.empty())
    reader.report("'variants' is empty");
}

/// In the order of KernelKind.
static constexpr std::array<std::string_view, 2> kKernelKinds = {"entry", "recipe"};

static KernelKind parseKernelKind(ObjectReader &reader) {
  std::string name = reader.text("kind");
  const auto *it = std::ranges::find(kKernelKinds, name);
  if (it != kKernelKinds.end())
    return static_cast<KernelKind>(it - kKernelKinds.begin());
  reader.report("'kind' is " + quote(name) + ", not entry or recipe");
  return KernelKind::Entry;
}

static Kernel parseKernel(const json &json, const std::string &where, std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  Kernel kernel;
  kernel.name = reader.text("name");
  kernel.kind = parseKernelKind(reader);
  if (reader.has("unit"))
    kernel.unit = reader.text("unit");
  if (reader.has("why"))
    kernel.why = reader.text("why");
  if (kernel.kind == KernelKind::Entry)
    kernel.scratchBytes = reader.integer("scratch_bytes", 0, kMaxScratchBytes);
  else
    parseLaunches(reader, kernel, error);
  const auto &operands = reader.array("operands");
  if (operands.size() > kMaxOperands)
    reader.report(fmt::format("{} operands, at most {} are allowed", operands.size(), kMaxOperands));
  for (size_t i = 0; i < operands.size() && !error; ++i)
    kernel.operands.push_back(parseKernelOperand(operands[i], fmt::format("{}: operand {}", where, i), error));
  reader.finish();
  return kernel;
}

static bool isCalled(const Kernel &kernel) { return kernel.kind == KernelKind::Entry; }

/// `entries`: where each kernel that is called starts, inside the text.
static void parseEntries(ObjectReader &reader, const std::vector<Kernel> &kernels, CodeObject &object,
                         std::optional<Error> &error) {
  ObjectReader entries(reader.any("entries"), reader.where() + ": entries", error);
  int64_t textEnd = object.textOffset + object.textBytes;
  for (const Kernel &kernel : kernels)
    object.entries.push_back(isCalled(kernel) ? entries.integer(kernel.name.c_str(), object.textOffset, textEnd - 1) : -1);
  entries.finish();
}

static CodeObject parseObject(const json &json, const std::string &where, const std::vector<Kernel> &kernels,
                              const Sections &sections, std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  CodeObject object;
  object.isa = reader.text("isa");
  object.section = reader.text("section");
  if (auto section = sections.find(object.section); section != sections.end())
    object.image = section->second;
  else
    reader.report("there is no section " + quote(object.section));
  if (std::ranges::none_of(kernels, isCalled)) {
    reader.finish();
    return object;
  }
  object.features = reader.texts("requires");
  auto imageBytes = static_cast<int64_t>(object.image.size());
  object.textOffset = reader.integer("text_offset", 0, imageBytes);
  if (object.textOffset % static_cast<int64_t>(abi::kSectionAlignment) != 0)
    reader.report(fmt::format("'text_offset' {} is not a multiple of {}", object.textOffset, abi::kSectionAlignment));
  object.textBytes = reader.integer("text_bytes", 1, std::max<int64_t>(1, imageBytes - object.textOffset));
  parseEntries(reader, kernels, object, error);
  reader.finish();
  return object;
}

/// Reports the first of `names` that stands twice.
static void checkUnique(const std::vector<std::string> &names, const std::string &what, ObjectReader &reader) {
  std::set<std::string_view> seen;
  for (const std::string &name : names)
    if (name.empty() || !seen.insert(name).second)
      return reader.report(fmt::format("{} {} is empty or stands twice", what, quote(name)));
}

/// Whether a target is for another runtime: it has no kernels as this one knows them, or some of a kind that it does not know.
static bool isForeign(const json &target) {
  auto kernels = target.find("kernels");
  if (kernels == target.end())
    return true;
  return kernels->is_array() && std::ranges::any_of(*kernels, [](const json &kernel) {
           auto kind = kernel.find("kind");
           return kind != kernel.end() && kind->is_string() &&
                  std::ranges::find(kKernelKinds, kind->get_ref<const std::string &>()) == kKernelKinds.end();
         });
}

/// What can be listed of such a target.
static Target parseForeignTarget(ObjectReader &reader, std::string name, std::optional<Error> &error) {
  Target target;
  target.name = std::move(name);
  target.isForeign = true;
  const json &objects = reader.array("objects");
  for (size_t i = 0; i < objects.size() && !error; ++i) {
    CodeObject object;
    object.isa = ObjectReader(objects[i], fmt::format("{}: object {}", reader.where(), i), error).text("isa");
    target.objects.push_back(std::move(object));
  }
  return target;
}

static Target parseTarget(const json &json, const std::string &where, const Sections &sections, std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  Target target;
  target.name = reader.text("name");
  if (json.is_object() && isForeign(json))
    return parseForeignTarget(reader, target.name, error);
  std::vector<std::string> names;
  const auto &kernels = reader.array("kernels");
  for (size_t i = 0; i < kernels.size() && !error; ++i) {
    target.kernels.push_back(parseKernel(kernels[i], fmt::format("{}: kernel {}", where, i), error));
    names.push_back(target.kernels.back().name);
  }
  checkUnique(names, "kernel", reader);
  names.clear();
  const auto &objects = reader.array("objects");
  for (size_t i = 0; i < objects.size() && !error; ++i) {
    target.objects.push_back(parseObject(objects[i], fmt::format("{}: object {}", where, i), target.kernels, sections, error));
    names.push_back(target.objects.back().isa);
  }
  checkUnique(names, "isa", reader);
  if (objects.empty() && std::ranges::any_of(target.kernels, isCalled))
    reader.report("'objects' is empty");
  std::string program = reader.text("program"), draft = reader.has("draft") ? reader.text("draft") : std::string();
  reader.finish();
  auto parse = [&](const std::string &section, auto &result) {
    if (error)
      return;
    Result<Program> parsed = parseProgram(sections, section, target.kernels);
    if (parsed)
      result = std::move(*parsed);
    else
      error = parsed.error();
  };
  parse(program, target.program);
  if (!draft.empty())
    parse(draft, target.draft);
  return target;
}

Result<Module> parseManifest(const Sections &sections) {
  QUANT_TRY_ASSIGN(json manifest, parseJsonSection(sections, "manifest.json"));
  std::optional<Error> error;
  Module module;
  ObjectReader reader(manifest, "manifest.json", error);
  if (int64_t format = reader.integer("format", 0, INT32_MAX); format != abi::kFormatVersion)
    reader.report(
        fmt::format("the module has format {}, this runtime reads {}; compile it with the quant-compile of this version", format,
                    abi::kFormatVersion));
  module.producer = reader.text("producer");
  module.modelConfig = reader.any("model").dump(-1, ' ', false, json::error_handler_t::replace);
  const json &targets = reader.array("targets");
  std::vector<std::string> names;
  for (size_t i = 0; i < targets.size() && !error; ++i) {
    module.targets.push_back(parseTarget(targets[i], fmt::format("manifest.json: target {}", i), sections, error));
    names.push_back(module.targets.back().name);
  }
  checkUnique(names, "target", reader);
  reader.finish();
  if (error)
    return tl::unexpected(*error);
  return module;
}

} // namespace quant::runtime
