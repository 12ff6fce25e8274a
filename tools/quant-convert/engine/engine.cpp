//===- engine.cpp - runs a plan -------------------------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-convert/engine/engine.h"

#include "runtime/support/text.h"
#include "tools/common/parallel.h"
#include "tools/common/progress.h"
#include "tools/quant-convert/engine/run_state.h"
#include "tools/quant-convert/engine/steps.h"
#include "tools/quant-convert/engine/verify.h"

#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>

using namespace quant;
using namespace quant::convert;
using checkpoint::SafetensorsWriter;
namespace fs = std::filesystem;

/// The largest side file: a tokenizer has some 10 MB.
static constexpr uint64_t kMaxSideBytes = 1 << 30;

Result<void> convert::checkPlan(const Plan &plan, const EngineOptions &options) {
  for (const checkpoint::Checkpoint *input : plan.inputs) {
    std::error_code ignored;
    if (fs::equivalent(input->dir(), options.output, ignored))
      return fail(fmt::format("{}: is the folder that is read from; choose another {}", printable(options.output.native()),
                              options.outputFlag));
  }
  for (const OutputShard &shard : plan.shards)
    if (!shard.file.ends_with(".safetensors") || shard.file.starts_with('.'))
      return fail("shard " + quote(shard.file) + ": the name must end in .safetensors and not begin with a dot");
  return {};
}

Result<void> convert::verifyInputs(const Plan &plan) {
  for (const checkpoint::Checkpoint *input : plan.inputs)
    QUANT_TRY(input->verifyUnchanged());
  return {};
}

namespace {

/// Into a file.
class WriteSink : public Sink {
public:
  WriteSink(SafetensorsWriter &writer, tools::Progress &progress) : writer(writer), progress(progress) {}

  Result<void> put(std::string_view tensor, uint64_t offset, std::span<const std::byte> bytes) override {
    auto written = writer.writeAt(tensor, offset, bytes);
    if (written)
      progress.add(bytes.size());
    return written;
  }
  bool isWriting() const override { return true; }

private:
  SafetensorsWriter &writer;
  tools::Progress &progress;
};

/// One run. A shard is flushed to the disk and renamed while the next one is made.
class Run {
public:
  Run(const Plan &plan, const EngineOptions &options, RunState &state) : plan(plan), options(options), state(state) {}
  Result<void> writeShards(RunReport &report);
  Result<void> verifyShards();
  Result<void> writeRest();

private:
  Result<void> writeShard(const OutputShard &shard, tools::Progress &progress);
  Result<void> finishPending() { return pending.valid() ? pending.get() : Result<void>(); }
  Result<void> writeSideFile(const SideFile &file);

  const Plan &plan;
  const EngineOptions &options;
  RunState &state;
  std::future<Result<void>> pending;
};

Result<void> Run::writeShard(const OutputShard &shard, tools::Progress &progress) {
  if (shard.prepare)
    QUANT_TRY(shard.prepare());
  QUANT_TRY_ASSIGN(auto created, SafetensorsWriter::create(options.output / shard.file, shard.tensors()));
  auto writer = std::make_shared<SafetensorsWriter>(std::move(created));
  WriteSink sink(*writer, progress);
  auto made = runSteps(shard, options.threads, sink);
  // First: whatever else failed may come from it.
  QUANT_TRY(verifyInputs(plan));
  if (!made)
    return made;
  QUANT_TRY(finishPending());
  pending = std::async(std::launch::async, [this, writer, &shard]() -> Result<void> {
    auto finished = writer->finish();
    return finished ? state.markDone(shard.file) : finished;
  });
  return {};
}

Result<void> Run::writeShards(RunReport &report) {
  std::vector<const OutputShard *> missing;
  for (const OutputShard &shard : plan.shards)
    if (!state.isDone(shard.file)) {
      missing.push_back(&shard);
      report.bytesWritten += shard.bytes();
    }
  report.written = missing.size();
  report.kept = plan.shards.size() - missing.size();
  tools::Progress progress("writing", report.bytesWritten);
  Result<void> result;
  for (const OutputShard *shard : missing)
    if (result = writeShard(*shard, progress); !result)
      break;
  auto last = finishPending(); // also after an error: it refers to this run
  report.seconds = progress.seconds();
  return result ? last : result;
}

Result<void> Run::verifyShards() {
  tools::Progress progress("verifying", plan.bytes());
  for (const OutputShard &shard : plan.shards)
    if (auto same = verifyShard(shard, options.output / shard.file, options.threads, progress); !same) {
      QUANT_TRY(verifyInputs(plan));
      auto marked = state.markBroken(shard.file);
      return marked ? same : marked;
    }
  return verifyInputs(plan);
}

Result<void> Run::writeSideFile(const SideFile &file) {
  std::string text = file.text;
  if (!file.source.empty()) {
    QUANT_TRY_ASSIGN(text, checkpoint::readFile(file.source, kMaxSideBytes));
  }
  return checkpoint::writeFileAtomically(options.output / file.name, text);
}

Result<void> Run::writeRest() {
  for (const SideFile &file : plan.sideFiles)
    QUANT_TRY(writeSideFile(file));
  if (!plan.hasIndex)
    return {};
  checkpoint::WeightMap weights;
  for (const OutputShard &shard : plan.shards)
    for (const checkpoint::TensorSpec &tensor : shard.tensors())
      weights[tensor.name] = shard.file;
  return checkpoint::writeIndex(options.output, weights, plan.bytes());
}

/// A folder with an index claims to be whole.
void removeIndex(const fs::path &folder) {
  std::error_code ignored;
  fs::remove(folder / checkpoint::indexFileName, ignored);
}

} // namespace

Result<RunReport> convert::execute(const Plan &plan, const EngineOptions &options) {
  RunReport report;
  QUANT_TRY(checkPlan(plan, options));
  QUANT_TRY_ASSIGN(auto state, RunState::begin(plan, options.output, options.outputFlag, options.force));
  Run run(plan, options, state);
  Result<void> result = run.writeShards(report);
  if (result && options.verify) {
    auto begin = std::chrono::steady_clock::now();
    result = run.verifyShards();
    report.verifySeconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  if (result)
    result = run.writeRest();
  if (result && options.check && !(result = options.check()))
    removeIndex(options.output);
  if (result && !options.keepState)
    result = state.end();
  if (result)
    return report;
  state.abandon();
  return tl::unexpected(result.error());
}
