//===- session.cpp - an sm_90a program, running in the simulator ----------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/device/sim/session.h"

#include "runtime/checkpoint/text.h"
#include "runtime/device/host/scales.h"
#include "runtime/device/host/weights.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace quant::runtime {

using checkpoint::Checkpoint;

/// Multiprocessors of an H100 SXM or H200: what recipes call "sms".
static constexpr int64_t kMultiprocessors = 132;
static constexpr std::string_view kPtx = "ptx";
/// As cudaMalloc aligns; the gap keeps an access past the end from hitting the next buffer.
static constexpr uint64_t kAlignment = 256, kGap = 4096;

//===----------------------------------------------------------------------===//
// Code
//===----------------------------------------------------------------------===//

Result<std::unique_ptr<Session>> SimSession::create(std::shared_ptr<const Module> module,
                                                    std::shared_ptr<const Checkpoint> weights, const SessionOptions &options) {
  std::unique_ptr<SimSession> session(new SimSession);
  session->module = std::move(module);
  session->weights = std::move(weights);
  session->target = session->module->find(kSm90aTarget);
  if (!session->target)
    return fail(session->module->path + ": the module has no code for GPUs (target 'sm_90a')");
  Result<int64_t> rows = contextRows(session->program(), options);
  if (!rows)
    return tl::unexpected(rows.error());
  session->cacheRows = *rows;
  session->threadCount = options.threads == 0 ? availableCpus() : options.threads;
  session->profiles = options.profile;
  if (Result<void> loaded = check(*session->target, options.isa).and_then([&] { return session->loadCode(); }); !loaded)
    return tl::unexpected(loaded.error().in(session->module->path));
  if (Result<void> resolved = session->resolveValues(); !resolved)
    return tl::unexpected(resolved.error());
  return session;
}

Result<void> SimSession::check(const Target &target, const std::string &isa) {
  std::string missing;
  for (const Kernel &kernel : target.kernels)
    if (!kernel.unsupported.empty())
      missing += (missing.empty() ? "" : "; ") + kernel.name + " (" + kernel.unsupported + ")";
  if (!missing.empty())
    return fail("there is no sm_90a code for " + missing);
  if (!isa.empty() && isa != kPtx)
    return fail("the simulator runs isa 'ptx', not " + checkpoint::quote(isa));
  if (std::ranges::find(target.objects, kPtx, &CodeObject::isa) == target.objects.end())
    return fail("the module has no PTX, which the simulator runs");
  return {};
}

Result<void> SimSession::loadCode() {
  code = &*std::ranges::find(target->objects, kPtx, &CodeObject::isa);
  Result<std::unique_ptr<sim::Module>> loaded =
      sim::Module::load({reinterpret_cast<const char *>(code->image.data()), code->image.size()});
  if (!loaded)
    return tl::unexpected(loaded.error().in(code->section));
  ptx = std::move(*loaded);
  for (const Kernel &kernel : target->kernels) {
    std::vector<Variant> &list = variants.emplace_back();
    for (const KernelVariant &variant : kernel.variants) {
      Result<sim::Recipe> recipe = sim::Recipe::parse(variant.recipe, "");
      if (!recipe)
        return tl::unexpected(recipe.error().in("kernel " + checkpoint::quote(kernel.name)));
      list.push_back({std::move(*recipe), variant.lowRows, variant.highRows});
    }
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

SimSession::Region SimSession::regionOf(std::byte *host, uint64_t bytes) {
  Region region{host, nextAddress, bytes};
  nextAddress = (nextAddress + bytes + kGap + kAlignment - 1) / kAlignment * kAlignment;
  return region;
}

Result<SimSession::Region> SimSession::allocate(int64_t bytes, const std::string &name) {
  Result<Memory> allocated = Memory::allocate(bytes, name.c_str());
  if (!allocated)
    return tl::unexpected(allocated.error());
  return regionOf(memory.emplace_back(std::move(*allocated)).data(), static_cast<uint64_t>(bytes));
}

Result<SimSession::Place> SimSession::resolveWeight(const Value &value) {
  Result<std::vector<const Checkpoint::Tensor *>> found = findWeights(value, *weights);
  if (!found)
    return tl::unexpected(found.error());
  if (value.isScale)
    scales.insert(scales.end(), found->begin(), found->end());
  Place place;
  for (const Checkpoint::Tensor *tensor : *found) // Weights are buffers that kernels cannot write.
    place.members.push_back(regionOf(const_cast<std::byte *>(tensor->data.data()), tensor->data.size()));
  if (value.kind == ValueKind::Weight) {
    place.region = place.members[0];
    place.members.clear();
    return place;
  }
  std::vector<uint64_t> &table = tables.emplace_back();
  for (const Region &member : place.members)
    table.push_back(member.address);
  place.region = regionOf(reinterpret_cast<std::byte *>(table.data()), table.size() * sizeof(uint64_t));
  return place;
}

Result<SimSession::Place> SimSession::resolveValue(const Value &value) {
  if (value.kind == ValueKind::Weight || value.kind == ValueKind::WeightGroup)
    return resolveWeight(value);
  if (value.kind == ValueKind::Workspace) {
    auto offset = static_cast<uint64_t>(value.offset);
    return Place{{arena.host + offset, arena.address + offset, arena.bytes - offset}, {}};
  }
  Dims sizes = program().limits.largest();
  sizes[static_cast<size_t>(abi::Dim::Context)] = cacheRows;
  return allocate(*byteSize(value, sizes), value.name).map([](Region region) { return Place{region, {}}; });
}

Result<void> SimSession::resolveValues() {
  Result<Region> allocated = allocate(program().workspaceBytes, "workspace");
  if (!allocated)
    return tl::unexpected(allocated.error());
  arena = *allocated;
  for (size_t i = 0; i < program().values.size(); ++i) {
    Result<Place> place = resolveValue(program().values[i]);
    if (!place)
      return tl::unexpected(place.error().in("value " + std::to_string(i)));
    places.push_back(std::move(*place));
  }
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::create(threadCount);
  if (!pool)
    return tl::unexpected(pool.error());
  return checkScales(scales, **pool);
}

/// The rows of weights one after another, copied once.
Result<SimSession::Region> SimSession::join(const std::vector<int> &values) {
  if (auto known = joins.find(values); known != joins.end())
    return known->second;
  uint64_t bytes = 0;
  for (int index : values) {
    const Value &value = program().values[static_cast<size_t>(index)];
    if (value.kind != ValueKind::Weight)
      return fail("the launch recipe joins " + std::string(kindName(value.kind)) + " " + checkpoint::quote(value.name) +
                  ", which is no weight");
    bytes += places[static_cast<size_t>(index)].region.bytes;
  }
  Result<Region> joined = allocate(static_cast<int64_t>(bytes), "joined weights");
  if (!joined)
    return joined;
  std::byte *end = joined->host;
  for (int index : values) {
    const Region &part = places[static_cast<size_t>(index)].region;
    end = std::copy_n(part.host, part.bytes, end);
  }
  return joins[values] = *joined;
}

std::byte *SimSession::buffer(std::string_view name) const {
  for (size_t i = 0; i < places.size(); ++i) {
    const Value &value = program().values[i];
    if ((value.kind == ValueKind::Input || value.kind == ValueKind::Output) && value.name == name)
      return places[i].region.host;
  }
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

/// Appends the buffer that an operand of the recipe is, and those that a table in it points to.
Result<void> SimSession::addOperand(const Dispatch &dispatch, const sim::RecipeOperand &operand, const Dims &dims,
                                    std::vector<sim::Buffer> &operands, std::vector<sim::Buffer> &members) {
  auto count = static_cast<int>(dispatch.operands.size());
  if (operand.from.empty() || std::ranges::any_of(operand.from, [&](int from) { return from < 0 || from >= count; }))
    return fail("the launch recipe does not say which operand of the dispatch its " + checkpoint::quote(operand.name) + " is");
  std::vector<int> values;
  for (int from : operand.from)
    values.push_back(dispatch.operands[static_cast<size_t>(from)]);
  const Value &value = program().values[static_cast<size_t>(values[0])];
  const Place &place = places[static_cast<size_t>(values[0])];
  Region region = place.region;
  if (values.size() > 1) {
    Result<Region> joined = join(values);
    if (!joined)
      return tl::unexpected(joined.error());
    region = *joined;
  } else if (value.kind != ValueKind::Weight && value.kind != ValueKind::WeightGroup) {
    Result<int64_t> bytes = byteSize(value, dims);
    if (!bytes)
      return tl::unexpected(bytes.error());
    region.bytes = static_cast<uint64_t>(*bytes);
  }
  if (operand.bytes != region.bytes)
    return fail("the launch recipe's " + checkpoint::quote(operand.name) + " has " + std::to_string(operand.bytes) +
                " bytes, the program's " + checkpoint::quote(value.name) + " has " + std::to_string(region.bytes));
  Access access = target->kernels[static_cast<size_t>(dispatch.kernel)].operands[static_cast<size_t>(operand.from[0])].access;
  if (access == Access::Write)
    std::memset(region.host, 0xff, region.bytes);
  operands.push_back({value.name, {region.host, region.bytes}, operand.written, region.address});
  for (const Region &member : place.members)
    members.push_back({value.name, {member.host, member.bytes}, false, member.address, operand.early});
  return {};
}

Result<void> SimSession::runDispatch(const Dispatch &dispatch, const Dims &dims) {
  sim::Dims sizes = {{"sms", kMultiprocessors}};
  for (size_t i = 0; i < dims.size(); ++i)
    sizes.emplace(abi::kDimNames[i], dims[i]);
  const Variant *chosen = nullptr;
  for (const Variant &variant : variants[static_cast<size_t>(dispatch.kernel)]) {
    // What the recipe calls M, if it does.
    auto rows = sizes.find(variant.recipe.rows());
    int64_t m = rows == sizes.end() ? 0 : rows->second;
    if (rows != sizes.end())
      sizes["M"] = m;
    if (!chosen && (rows == sizes.end() || (m >= variant.lowRows && m <= variant.highRows)))
      chosen = &variant;
  }
  if (!chosen)
    return fail("the module has no variant of it for so many rows");
  Result<std::vector<sim::RecipeOperand>> described = chosen->recipe.operands(sizes);
  if (!described)
    return tl::unexpected(described.error());
  std::vector<sim::Buffer> operands, members;
  for (const sim::RecipeOperand &operand : *described)
    if (Result<void> added = addOperand(dispatch, operand, dims, operands, members); !added)
      return added;
  operands.insert(operands.end(), members.begin(), members.end());
  Result<sim::Launch> launch = chosen->recipe.launch(sizes, std::move(operands));
  if (!launch)
    return tl::unexpected(launch.error());
  sim::Options options;
  options.strict = true;
  options.threads = threadCount;
  Result<sim::Report> report = sim::run(*ptx, *launch, options);
  if (!report)
    return tl::unexpected(report.error());
  if (!report->findings.empty())
    return fail(report->findings.front().toString());
  return {};
}

Result<void> SimSession::run(const Dims &dims) {
  if (Result<void> checked = checkDims(program(), cacheRows, dims); !checked)
    return checked;
  for (const Dispatch &dispatch : program().dispatches) {
    const std::string &kernel = target->kernels[static_cast<size_t>(dispatch.kernel)].name;
    auto start = std::chrono::steady_clock::now();
    if (Result<void> ran = runDispatch(dispatch, dims); !ran)
      return tl::unexpected(ran.error().in("kernel " + checkpoint::quote(kernel) + " (" + dispatch.label + ")"));
    if (!profiles)
      continue;
    ProfileEntry &entry = profileEntries[dispatch.label.empty() ? kernel : dispatch.label];
    entry.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++entry.calls;
  }
  return {};
}

} // namespace quant::runtime
