//===- KernelFolder.cpp - a folder that is written whole ------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-compile/CompileKernels.h"

#include "runtime/checkpoint/writer.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <unistd.h>

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace quant {

/// Every name that kernels.json of `folder` speaks for; empty if it is none of ours.
static std::set<std::string> ownFiles(const fs::path &folder) {
  std::ifstream file(folder / "kernels.json");
  Json index = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  std::set<std::string> names;
  auto text = [](const Json &json, const char *key) {
    return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : std::string();
  };
  if (!text(index, "producer").starts_with("quant-compile ") || !index.contains("variants"))
    return names;
  names.insert("kernels.json");
  for (const Json &variant : index["variants"])
    if (fs::path launch = text(variant, "launch"); launch.has_filename())
      for (const char *extension : {".json", ".mlir", ".ptx", ".cubin"})
        names.insert(launch.replace_extension(extension).string());
  return names;
}

/// Fails if `folder` is there and holds anything that is not ours to replace.
static Result<void> checkReplaceable(const fs::path &folder) {
  std::error_code error;
  fs::file_status status = fs::symlink_status(folder, error);
  if (status.type() == fs::file_type::not_found)
    return {};
  if (!fs::is_directory(status))
    return fail(folder.string() + ": is no folder; choose another name for -o");
  std::set<std::string> ours = ownFiles(folder);
  fs::directory_iterator entries(folder, error);
  if (error)
    return fail(fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  for (const fs::directory_entry &entry : entries)
    if (!ours.contains(entry.path().filename().string()) || !entry.is_regular_file(error))
      return fail(
          fmt::format("{}: holds {}, which quant-compile did not write there; choose another folder for -o, or empty this one",
                      folder.string(), entry.path().filename().string()));
  return {};
}

static Result<void> renameFolder(const fs::path &from, const fs::path &to) {
  if (std::rename(from.c_str(), to.c_str()) != 0)
    return fail(fmt::format("{}: cannot take the place of it: {}", to.string(), std::strerror(errno)));
  return {};
}

/// `fresh` becomes `folder`; what was there goes.
static Result<void> replaceFolder(const fs::path &fresh, const fs::path &folder) {
  std::error_code error;
  if (!fs::exists(folder, error) || fs::is_empty(folder, error))
    return renameFolder(fresh, folder);
  fs::path old = fresh.string() + ".old";
  QUANT_TRY(renameFolder(folder, old));
  if (auto moved = renameFolder(fresh, folder); !moved) {
    (void)renameFolder(old, folder);
    return moved;
  }
  fs::remove_all(old, error);
  return {};
}

Result<void> writeKernelFolder(const fs::path &folder, const std::map<std::string, std::string> &files) {
  fs::path target = fs::absolute(folder).lexically_normal();
  if (!target.has_filename())
    target = target.parent_path();
  QUANT_TRY(checkReplaceable(target));
  // Beside the target, so that a rename can move it.
  fs::path fresh = target.parent_path() / ("." + target.filename().string() + "." + std::to_string(getpid()) + ".tmp");
  std::error_code error;
  if (fs::create_directory(fresh, error); error)
    return fail(fmt::format("{}: cannot write there: {}", target.parent_path().string(), error.message()));
  Result<void> done;
  for (const auto &[name, bytes] : files)
    if (done)
      done = checkpoint::writeFileAtomically(fresh / name, std::string_view(bytes));
  if (done)
    done = replaceFolder(fresh, target);
  if (!done)
    fs::remove_all(fresh, error);
  return done;
}

} // namespace quant
