//===- lint_report.cpp - findings as text and as JSON ---------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/report/lint_report.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;

static std::string_view gpuName(Gpu gpu) { return gpu == Gpu::Sm90 ? "sm90" : "sm100"; }

static std::vector<std::string> listOf(unsigned engines) {
  std::vector<std::string> names;
  for (unsigned engine : {kVllm, kSglang, kTransformers})
    if (engines & engine)
      names.push_back(engineNames(engine));
  return names;
}

json convert::lintJson(const std::vector<Finding> &findings, const LintOptions &options) {
  json list = json::array();
  for (const Finding &finding : findings)
    list.push_back({{"rule", finding.rule},
                    {"severity", finding.level == LintLevel::Error ? "error" : "warning"},
                    {"engines", listOf(finding.engines)},
                    {"tensor", finding.tensor.empty() ? json() : json(finding.tensor)},
                    {"tensors", finding.count},
                    {"message", finding.message},
                    {"source", finding.source},
                    {"way_out", finding.wayOut}});
  bool ok = std::ranges::none_of(findings, [](const Finding &finding) { return finding.level == LintLevel::Error; });
  return {{"ok", ok},
          {"engines", listOf(options.engines)},
          {"gpu", gpuName(options.gpu)},
          {"tp", options.tp},
          {"ep", options.ep},
          {"findings", list}};
}

static std::string findingText(const Finding &finding) {
  std::string more = finding.count > 1 ? fmt::format(" (and {} more such)", finding.count - 1) : "";
  return fmt::format("{}: {}: {}{} {}\n  rule {}, {}\n  way out: {}\n", finding.level == LintLevel::Error ? "error" : "warning",
                     engineNames(finding.engines), finding.tensor.empty() ? "config.json" : printable(finding.tensor), more,
                     finding.message, finding.rule, finding.source, finding.wayOut);
}

std::string convert::lintText(const std::vector<Finding> &findings, const LintOptions &options) {
  std::string text;
  size_t errors = 0;
  for (LintLevel level : {LintLevel::Error, LintLevel::Warning})
    for (const Finding &finding : findings)
      if (finding.level == level) {
        text += findingText(finding);
        errors += level == LintLevel::Error;
      }
  return text + fmt::format("{} on {}, tp {}, ep {}: {} errors, {} warnings\n", engineNames(options.engines),
                            gpuName(options.gpu), options.tp, options.ep, errors, findings.size() - errors);
}
