//===- measure.cpp - quantizes a part, and looks what it costs ------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/sensitivity/measure.h"

#include "runtime/checkpoint/writer.h"
#include "runtime/support/text.h"
#include "tools/generate/token_score.h"
#include "tools/quant-convert/conversion.h"
#include "tools/quant-convert/engine/steps.h"
#include "tools/quant-convert/schemes/jobs.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>

using namespace quant;
using namespace quant::convert;
namespace fs = std::filesystem;

namespace {

constexpr const char *kLogits = "logits.f32", *kRounded = "rounded.safetensors";

/// Into a file.
class FileSink : public Sink {
public:
  explicit FileSink(checkpoint::SafetensorsWriter &writer) : writer(writer) {}
  Result<void> put(std::string_view tensor, uint64_t offset, std::span<const std::byte> bytes) override {
    return writer.writeAt(tensor, offset, bytes);
  }
  bool isWriting() const override { return true; }

private:
  checkpoint::SafetensorsWriter &writer;
};

} // namespace

struct SensitivityMeter::Scratch {
  explicit Scratch(fs::path folder) : folder(std::move(folder)) {}
  Scratch(const Scratch &) = delete;
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }

  fs::path folder;
};

/// The folder looks like the checkpoint, but that an index may name another file for some tensors.
static Result<void> linkFiles(const checkpoint::Checkpoint &checkpoint, const fs::path &folder) {
  std::error_code code;
  fs::remove_all(folder, code); // what a killed run left
  if (!code)
    fs::create_directories(folder, code);
  for (const checkpoint::SafetensorsFile &file : checkpoint.files())
    if (!code)
      fs::create_symlink(fs::absolute(file.path(), code), folder / file.path().filename(), code);
  if (code)
    return fail(fmt::format("{}: cannot make a folder of links: {}", printable(folder.native()), code.message()));
  return {};
}

Result<SensitivityMeter> SensitivityMeter::create(const TextRun &run, const checkpoint::Checkpoint &checkpoint,
                                                  const Weights &weights, const fs::path &scratch, unsigned threads) {
  SensitivityMeter meter;
  meter.run = &run;
  meter.checkpoint = &checkpoint;
  meter.weights = &weights;
  meter.threads = threads;
  QUANT_TRY(linkFiles(checkpoint, scratch));
  meter.scratch = std::make_shared<const Scratch>(scratch);
  return meter;
}

Result<double> SensitivityMeter::measureBase() {
  fs::path path = scratch->folder / kLogits;
  std::ofstream file(path, std::ios::binary);
  double sum = 0;
  QUANT_TRY(
      run->score(*checkpoint, [&](size_t first, std::span<const int32_t> targets, std::span<const float> logits) -> Result<void> {
        auto vocab = static_cast<size_t>(run->vocab());
        for (size_t i = 0; i < targets.size(); ++i) {
          auto score = generate::scoreToken(logits.subspan(i * vocab, vocab), targets[i]);
          if (!score)
            return fail(fmt::format("the logits for token {} of the text are not finite", first + i));
          sum += score->loss;
        }
        file.write(reinterpret_cast<const char *>(logits.data()), static_cast<std::streamsize>(logits.size_bytes()));
        return file ? Result<void>() : fail(printable(path.native()) + ": cannot write the logits; is the disk full?");
      }));
  file.close();
  if (!file)
    return fail(printable(path.native()) + ": cannot write the logits; is the disk full?");
  return sum / static_cast<double>(run->tokens().size());
}

/// The checkpoint, with what the jobs make in place of its tensors.
Result<void> SensitivityMeter::writeWeights(const std::vector<Job> &jobs) {
  checkpoint::WeightMap index;
  uint64_t bytes = 0;
  for (const auto &tensor : checkpoint->tensors()) {
    index[tensor.info->name] = tensor.file->path().filename();
    bytes += tensor.data.size();
  }
  OutputShard shard{kRounded, jobs};
  for (const checkpoint::TensorSpec &tensor : shard.tensors())
    index[tensor.name] = kRounded;
  if (!jobs.empty()) {
    QUANT_TRY_ASSIGN(auto writer, checkpoint::SafetensorsWriter::create(scratch->folder / kRounded, shard.tensors()));
    FileSink sink(writer);
    QUANT_TRY(runSteps(shard, threads, sink));
    QUANT_TRY(writer.finish());
  }
  return checkpoint::writeIndex(scratch->folder, index, bytes);
}

Result<UnitCost> SensitivityMeter::score(const std::vector<Job> &jobs, const std::string &what) {
  QUANT_TRY(writeWeights(jobs));
  QUANT_TRY_ASSIGN(auto rounded, checkpoint::Checkpoint::open(scratch->folder));
  fs::path path = scratch->folder / kLogits;
  std::ifstream file(path, std::ios::binary);
  std::vector<float> base;
  generate::PairedScores scores;
  auto take = [&](size_t first, std::span<const int32_t> targets, std::span<const float> logits) -> Result<void> {
    auto vocab = static_cast<size_t>(run->vocab());
    base.resize(logits.size());
    if (!file.read(reinterpret_cast<char *>(base.data()), static_cast<std::streamsize>(logits.size_bytes())))
      return fail(printable(path.native()) + ": cannot be read back");
    for (size_t i = 0; i < targets.size(); ++i)
      if (!scores.add(logits.subspan(i * vocab, vocab), std::span<const float>(base).subspan(i * vocab, vocab), targets[i]))
        return fail(fmt::format("{}: the logits for token {} of the text are not finite", what, first + i));
    return {};
  };
  QUANT_TRY(run->score(rounded, take));
  return UnitCost{scores.meanDivergence(), scores.lossDifference(), scores.standardError(), scores.agreement()};
}

static Result<void> checkPlain(const Tensor &tensor) {
  if (DType dtype = tensor.info->dtype; dtype == DType::BF16 || dtype == DType::F32)
    return {};
  return fail(
      fmt::format("{}: is stored as {}; only BF16 and F32 can be judged with other values, which quant-convert dequantize "
                  "makes",
                  describe(tensor), safetensorsName(tensor.info->dtype)));
}

Result<void> SensitivityMeter::checkPlain(const Weight &weight) { return ::checkPlain(*weight.tensor); }

Result<UnitCost> SensitivityMeter::measure(const LayerUnit &unit, const SchemeChoice &choice, Indivisible how) {
  std::vector<Job> jobs;
  for (const std::string &module : unit.modules) {
    const Weight &weight = *weights->find(module + ".weight");
    QUANT_TRY_ASSIGN(Decision fitting, fitChoice(choice, weight, FileLayout::CompressedTensors, how));
    if (!fitting)
      continue; // kept
    QUANT_TRY_ASSIGN(Target target, chooseTarget(*fitting, FileLayout::CompressedTensors));
    QUANT_TRY_ASSIGN(WeightRows rows, WeightRows::create(weight));
    jobs.push_back(roundedWeightJob(rows, weight.tensor->info->name, target.scheme, target.zeroPoints));
  }
  return score(jobs, unit.describe() + " in " + choice.text());
}

Result<UnitCost> SensitivityMeter::measureFolder(const fs::path &quantized) {
  QUANT_TRY_ASSIGN(Conversion other, Conversion::open("", quantized));
  QUANT_TRY_ASSIGN(Weights found, other.readWeights(threads));
  std::vector<Job> jobs;
  for (const Weight &weight : found.all()) {
    const Tensor *mine = checkpoint->find(weight.name);
    if (!mine || (!weight.linear && std::ranges::equal(mine->data, weight.tensor->data)))
      continue;
    if (weight.linear)
      QUANT_TRY(::checkPlain(*mine));
    jobs.push_back(weight.linear ? decodeJob(*weight.linear, weight.name, mine->info->dtype)
                                 : copyJob(*weight.tensor, weight.name));
  }
  return score(jobs, printable(quantized.native()));
}
