//===- written.cpp - reads back what a conversion wrote -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/check/written.h"

#include "runtime/support/text.h"
#include "tools/quant-convert/check/inspect.h"

#include <fmt/core.h>

#include <algorithm>

using namespace quant;
using namespace quant::convert;
using tools::TensorSource;
namespace fs = std::filesystem;

namespace {

/// What was wrong before.
struct Before {
  std::set<std::string, std::less<>> present, broken;

  bool explains(const Problem &problem) const {
    if (problem.kind == "missing_tensor")
      return !present.empty() && !present.contains(problem.tensor);
    return broken.contains(problem.tensor) || (problem.kind == "unknown_tensor" && present.contains(problem.tensor));
  }
};

} // namespace

static Result<Before> inspectInputs(std::span<const fs::path> inputs, unsigned threads) {
  Before before;
  for (const fs::path &path : inputs) {
    QUANT_TRY_ASSIGN(auto source, TensorSource::open(path));
    for (const auto &tensor : source.tensors())
      before.present.insert(tensor.info->name);
    for (const Problem &problem : inspectSource(source, threads).problems)
      if (problem.error)
        before.broken.insert(problem.tensor);
  }
  return before;
}

Result<void> convert::checkWritten(std::span<const fs::path> paths, std::span<const fs::path> inputs, unsigned threads) {
  std::optional<Before> before; // asked for where something is wrong only
  for (const fs::path &path : paths) {
    QUANT_TRY_ASSIGN(auto source, TensorSource::open(path));
    Inspection inspection = inspectSource(source, threads);
    if (inspection.errors() == 0)
      continue;
    if (!before) {
      QUANT_TRY_ASSIGN(before, inspectInputs(inputs, threads));
    }
    auto isNew = [&](const Problem &problem) { return problem.error && !before->explains(problem); };
    auto first = std::ranges::find_if(inspection.problems, isNew);
    if (first == inspection.problems.end())
      continue;
    auto more = std::ranges::count_if(inspection.problems, isNew) - 1;
    return fail(fmt::format("{}: what was written is not sound: {}{}{}", printable(path.native()),
                            first->tensor.empty() ? "" : fmt::format("tensor {} ", quote(first->tensor)), first->message,
                            more ? fmt::format("; and {} more", more) : ""));
  }
  return {};
}
