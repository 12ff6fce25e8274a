//===- side_files.cpp - what goes along with the weights ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/schemes/side_files.h"

#include "runtime/support/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

using namespace quant;
using namespace quant::convert;
using nlohmann::json;
namespace fs = std::filesystem;

static bool goesAlong(const std::string &name, Companions which) {
  if (name.starts_with('.') || name.ends_with(".safetensors") || name == checkpoint::indexFileName)
    return false;
  if (name.find("token") != name.npos)
    return true;
  constexpr std::array names = {"generation_config.json", "merges.txt", "vocab.json", "vocab.txt", "tekken.json"};
  constexpr std::array endings = {".py", ".jinja", ".model"};
  constexpr std::array beginnings = {"chat_template", "LICENSE"};
  return which == Companions::All &&
         (std::ranges::find(names, name) != names.end() ||
          std::ranges::any_of(endings, [&](const char *end) { return name.ends_with(end); }) ||
          std::ranges::any_of(beginnings, [&](const char *begin) { return name.starts_with(begin); }));
}

Result<void> convert::addCompanions(const fs::path &dir, Companions which, std::vector<SideFile> &files) {
  std::error_code code;
  std::vector<SideFile> found;
  for (fs::directory_iterator it(dir, code), end; !code && it != end; it.increment(code)) {
    std::string name = it->path().filename().native();
    std::error_code ignored;
    if (!goesAlong(name, which) || fs::is_directory(it->path(), ignored) ||
        std::ranges::find(files, name, &SideFile::name) != files.end())
      continue;
    QUANT_TRY(checkpoint::openRegularFile(it->path()));
    found.push_back({name, "", it->path()});
  }
  if (code)
    return fail(fmt::format("{}: cannot list the folder: {}", printable(dir.native()), code.message()));
  std::ranges::sort(found, {}, &SideFile::name);
  files.insert(files.end(), found.begin(), found.end());
  return {};
}

Result<std::optional<json>> convert::findConfig(const checkpoint::Checkpoint &checkpoint) {
  std::error_code ignored;
  if (fs::symlink_status(checkpoint.dir() / "config.json", ignored).type() == fs::file_type::not_found)
    return std::nullopt;
  QUANT_TRY_ASSIGN(auto config, checkpoint.config());
  return std::optional(std::move(config));
}

SideFile convert::configFile(const json &config) {
  return {"config.json", config.dump(2, ' ', false, json::error_handler_t::replace) + "\n", {}};
}
