//===- program_reader.cpp - a target's program from JSON ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/abi/module_format.h"
#include "runtime/checkpoint/json_file.h"
#include "runtime/module/module_parts.h"
#include "runtime/support/object_reader.h"
#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

namespace quant::runtime {

using nlohmann::json;

static constexpr size_t kMaxRank = 8;
static constexpr int64_t kMaxTokens = int64_t{1} << 20;
static constexpr int64_t kMaxContext = int64_t{1} << 30;
static constexpr int64_t kMaxGroup = 65536;

Result<json> parseJsonSection(const Sections &sections, const std::string &name) {
  auto section = sections.find(name);
  if (section == sections.end())
    return fail("there is no section " + quote(name));
  Bytes bytes = section->second;
  Result<json> parsed = checkpoint::parseJsonStrict({reinterpret_cast<const char *>(bytes.data()), bytes.size()});
  if (!parsed)
    return tl::unexpected(parsed.error().in(name));
  return parsed;
}

Result<Shape> parseShape(const json &json) {
  if (!json.is_array() || json.size() > kMaxRank)
    return fail(fmt::format("'shape' is not an array of at most {} extents", kMaxRank));
  Shape shape;
  for (const auto &item : json) {
    Extent extent;
    if (const auto *name = item.get_ptr<const std::string *>()) {
      extent.dim = abi::dimFromName(*name);
      if (!extent.dim || static_cast<int>(*extent.dim) >= abi::kNumDims)
        return fail("'shape' names unknown dim " + quote(*name));
    } else {
      const auto *size = item.get_ptr<const uint64_t *>();
      if (!size || *size == 0 || *size > static_cast<uint64_t>(INT64_MAX))
        return fail("'shape' has extent " + (item.is_number() ? item.dump() : item.type_name()) +
                    ", not a positive integer or a dim");
      extent.size = static_cast<int64_t>(*size);
    }
    shape.push_back(extent);
  }
  return shape;
}

static ValueKind parseKind(ObjectReader &reader) {
  std::string name = reader.text("kind");
  for (ValueKind kind :
       {ValueKind::Input, ValueKind::Output, ValueKind::Weight, ValueKind::WeightGroup, ValueKind::Cache, ValueKind::Workspace})
    if (name == kindName(kind))
      return kind;
  reader.report("unknown kind " + quote(name));
  return ValueKind::Workspace;
}

Layout parseLayout(ObjectReader &reader) {
  if (!reader.has("layout"))
    return Layout::RowMajor;
  std::string layout = reader.text("layout");
  if (layout != "k_major")
    reader.report("unknown layout " + quote(layout));
  return Layout::KMajor;
}

/// Whether a weight says that it holds block scales, or the one that these are divided by.
static void parseRole(ObjectReader &reader, Value &value) {
  if (!reader.has("role"))
    return;
  std::string role = reader.text("role");
  value.isScale = role == "scale";
  value.isGlobalScale = role == "global_scale";
  if (!value.isScale && !value.isGlobalScale)
    reader.report("unknown role " + quote(role));
}

/// How a weight [rows, columns] is turned when it is loaded.
static Repack parseRepackOf(ObjectReader &reader, const Value &value) {
  if (!reader.has("repack"))
    return Repack::None;
  Result<Repack> repack = parseRepack(reader.text("repack"));
  if (!repack)
    reader.report("repack: " + repack.error().message);
  else if (value.shape.size() != 2)
    reader.report("repack of a shape that is not rows and columns");
  else if (auto stored = storedShape(*repack, value.dtype, value.shape[0].size, value.shape[1].size); !stored)
    reader.report("repack: " + stored.error().message);
  return repack.value_or(Repack::None);
}

static Value parseValue(const json &json, const std::string &where, std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  Value value;
  value.name = reader.text("name");
  value.kind = parseKind(reader);
  std::string dtype = reader.text("dtype");
  if (std::optional<DType> known = dtypeFromName(dtype))
    value.dtype = *known;
  else
    reader.report("unknown dtype " + quote(dtype));
  Result<Shape> shape = parseShape(reader.any("shape"));
  if (shape)
    value.shape = std::move(*shape);
  else
    reader.report(shape.error().message);
  bool group = value.kind == ValueKind::WeightGroup;
  if (group || value.kind == ValueKind::Weight) {
    if (reader.has("aliases"))
      value.aliases = reader.texts("aliases");
    parseRole(reader, value);
    value.repack = parseRepackOf(reader, value);
    if (reader.has("order"))
      value.order = reader.text("order");
    if (value.repack == Repack::ColumnOrder)
      value.groupSize = reader.integer("group_size", 1, kMaxGroup);
  }
  if (group)
    value.count = reader.integer("count", 1, kMaxGroup);
  if (value.kind == ValueKind::Workspace) {
    value.offset = reader.integer("offset", 0, INT64_MAX);
    value.layout = parseLayout(reader);
  }
  reader.finish();
  return value;
}

namespace {
/// What dispatches are resolved against.
struct DispatchContext {
  std::map<std::string_view, int> kernels; ///< index by name
  size_t values;                           ///< how many there are
};
} // namespace

static Dispatch parseDispatch(const json &json, const std::string &where, const DispatchContext &context,
                              std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  Dispatch dispatch;
  std::string kernel = reader.text("kernel");
  if (auto it = context.kernels.find(kernel); it != context.kernels.end())
    dispatch.kernel = it->second;
  else
    reader.report("the manifest has no kernel " + quote(kernel));
  Result<abi::SizeExpr> grid = abi::SizeExpr::fromJson(reader.any("grid"));
  if (grid)
    dispatch.grid = std::move(*grid);
  else
    reader.report("grid: " + grid.error().message);
  for (const auto &item : reader.array("operands")) {
    const auto *index = item.get_ptr<const uint64_t *>();
    if (!index || *index >= context.values) {
      reader.report(fmt::format("operand {} is value {}, there are {} values", dispatch.operands.size(),
                                item.is_number() ? item.dump() : item.type_name(), context.values));
      break;
    }
    dispatch.operands.push_back(static_cast<int>(*index));
  }
  if (reader.has("label"))
    dispatch.label = reader.text("label");
  reader.finish();
  return dispatch;
}

static Limits parseLimits(const json &json, const std::string &where, std::optional<Error> &error) {
  ObjectReader reader(json, where, error);
  Limits limits;
  limits.tokens = reader.integer("tokens", 1, kMaxTokens);
  limits.context = reader.integer("context", 1, kMaxContext);
  limits.vocab = reader.integer("vocab", 1, INT32_MAX);
  reader.finish();
  return limits;
}

Result<Program> parseProgram(const Sections &sections, const std::string &name, const std::vector<Kernel> &kernels) {
  QUANT_TRY_ASSIGN(json document, parseJsonSection(sections, name));
  std::optional<Error> error;
  Program program;
  ObjectReader reader(document, name, error);
  reader.integer("format", abi::kFormatVersion, abi::kFormatVersion);
  if (!std::ranges::equal(reader.texts("dims"), abi::kDimNames))
    reader.report("'dims' is not [\"tokens\", \"position\", \"outputs\", \"context\"]");
  program.limits = parseLimits(reader.any("limits"), name + ": limits", error);
  program.workspaceBytes = reader.integer("workspace_bytes", 0, INT64_MAX);
  const json &values = reader.array("values");
  for (size_t i = 0; i < values.size() && !error; ++i)
    program.values.push_back(parseValue(values[i], fmt::format("{}: value {}", name, i), error));

  DispatchContext context = {.kernels = {}, .values = values.size()};
  for (const Kernel &kernel : kernels)
    context.kernels.emplace(kernel.name, static_cast<int>(context.kernels.size()));
  const json &dispatches = reader.array("dispatches");
  for (size_t i = 0; i < dispatches.size() && !error; ++i)
    program.dispatches.push_back(parseDispatch(dispatches[i], fmt::format("{}: dispatch {}", name, i), context, error));
  reader.finish();
  if (error)
    return tl::unexpected(*error);
  return program;
}

} // namespace quant::runtime
