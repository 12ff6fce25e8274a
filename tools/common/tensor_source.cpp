//===- tensor_source.cpp - a checkpoint or one of its files ---------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/common/tensor_source.h"

#include "runtime/checkpoint/mapped_pages.h"
#include "runtime/support/object_reader.h"
#include "tools/common/parallel.h"

#include <algorithm>

using namespace quant;
using namespace quant::tools;
using nlohmann::json;
namespace fs = std::filesystem;

/// A folder that holds safetensors files, but no checkpoint: the model-parallel layout, or a download that is not complete.
static bool holdsLooseFiles(const fs::path &dir) {
  std::error_code code;
  for (fs::directory_iterator it(dir, code), end; !code && it != end; it.increment(code))
    if (it->path().extension() == ".safetensors")
      return !fs::exists(dir / checkpoint::indexFileName, code) && !fs::exists(dir / checkpoint::singleFileName, code);
  return false;
}

Result<TensorSource> TensorSource::open(const fs::path &path) {
  TensorSource source;
  source.where = path;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    auto opened = checkpoint::Checkpoint::open(path);
    if (!opened && holdsLooseFiles(path))
      return fail(opened.error().message + "; name one of its .safetensors files instead of the folder");
    if (!opened)
      return tl::unexpected(opened.error());
    source.whole.emplace(std::move(*opened));
    return source;
  }
  QUANT_TRY_ASSIGN(auto file, checkpoint::SafetensorsFile::open(path));
  source.single = std::make_unique<checkpoint::SafetensorsFile>(std::move(file));
  for (const checkpoint::TensorInfo &info : source.single->tensors())
    source.sorted.push_back({&info, source.single.get(), source.single->data(info)});
  std::ranges::sort(source.sorted, {}, [](const Tensor &tensor) -> const std::string & { return tensor.info->name; });
  return source;
}

fs::path TensorSource::configPath() const { return (whole ? where : where.parent_path()) / "config.json"; }

const TensorSource::Tensor *TensorSource::find(std::string_view name) const {
  if (whole)
    return whole->find(name);
  auto nameOf = [](const Tensor &tensor) -> std::string_view { return tensor.info->name; };
  auto found = std::ranges::lower_bound(sorted, name, {}, nameOf);
  return found != sorted.end() && nameOf(*found) == name ? &*found : nullptr;
}

Result<void> TensorSource::verifyUnchanged() const { return whole ? whole->verifyUnchanged() : single->verifyUnchanged(); }

/// Reads that are under way at a time: enough for any disk, and little memory.
static constexpr size_t kReadsAhead = 64;

void tools::forScattered(std::span<const TensorSource::Tensor *const> tensors, unsigned threads,
                         const std::function<void(size_t)> &work) {
  for (const TensorSource::Tensor *tensor : tensors.first(std::min(kReadsAhead, tensors.size())))
    checkpoint::willRead(tensor->data);
  parallelFor(tensors.size(), threads, [&](size_t i) {
    if (i + kReadsAhead < tensors.size())
      checkpoint::willRead(tensors[i + kReadsAhead]->data);
    work(i);
    checkpoint::doneReading(tensors[i]->data);
  });
}
