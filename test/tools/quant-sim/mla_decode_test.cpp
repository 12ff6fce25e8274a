//===- mla_decode_test.cpp - attention over a paged cache, simulated -------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/hopper/Hopper.h"
#include "lowering/target/sm90/MlaDecode.h"
#include "test/tools/quant-sim/gemm_family.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

namespace quant::test {
namespace {

using machine::MlaDecodeConfig;

constexpr int64_t kLatent = MlaDecodeConfig::kLatent, kColumns = MlaDecodeConfig::kColumns, kPage = MlaDecodeConfig::kBlock;
constexpr uint16_t kNan = 0x7fff;

float toFloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
uint16_t toBf16(float value) { return static_cast<uint16_t>((std::bit_cast<uint32_t>(value) + 0x8000) >> 16); }

/// A sequence in a call: how many keys its last token has, and how many tokens it has.
struct Sequence {
  int64_t keys, tokens = 1;
};

/// What the scores are like.
enum class Scores { usual, allEqual, huge };

/// Inputs of a call, what the kernel made of them, and the f64 reference. The cache's pages are dealt at random; rows without a
/// key are NaN, entries of the table behind the last page with a key name no page, and o holds NaN before.
class MlaCase {
public:
  MlaCase(const MlaDecodeConfig &config, const std::vector<Sequence> &given, Scores scores = Scores::usual) : config(config) {
    for (const Sequence &sequence : given)
      addTokens(sequence);
    pages.assign(given.size() * config.pages, std::numeric_limits<int32_t>::max());
    std::vector<int64_t> free(totalPages(given) + 3);
    std::iota(free.begin(), free.end(), 0);
    std::shuffle(free.begin(), free.end(), random);
    cache.assign(free.size() * kPage * kColumns, kNan);
    for (size_t i = 0; i < given.size(); ++i)
      fillPages(i, given[i], free);
    float spread = scores == Scores::usual ? 1.5f : scores == Scores::huge ? 300.0f : 0.0f;
    for (size_t i = 0; i < positions.size() * config.heads * kColumns; ++i)
      q.push_back(toBf16(spread * normal(random)));
  }

  /// Runs the kernel, and the one that merges parts of the keys where there is one. An error, the findings, or what is wrong with
  /// the result; empty if all is well.
  std::string run(const LoadedKernel &kernel, int64_t sms, const LoadedKernel *combine = nullptr) {
    size_t rows = positions.size() * config.heads;
    o.assign(rows * kLatent, 0xffff);
    lse.assign(rows, std::nanf(""));
    oParts.assign(combine ? config.splits * rows * kLatent : 0, std::nanf(""));
    lseParts.assign(combine ? config.splits * rows : 0, std::nanf(""));
    std::vector<sim::Buffer> decoded = {{"q", bytesOf(q), false},
                                        {"cache", bytesOf(cache), false},
                                        {"positions", bytesOf(positions), false},
                                        {"sequences", bytesOf(sequences), false},
                                        {"pages", bytesOf(pages), false}};
    std::vector<sim::Buffer> parts = {{"o_parts", bytesOf(oParts), true}, {"lse_parts", bytesOf(lseParts), true}};
    std::vector<sim::Buffer> result = {{"o", bytesOf(o), true}, {"lse", bytesOf(lse), true}};
    if (!config.lse)
      result.pop_back();
    decoded.insert(decoded.end(), (combine ? parts : result).begin(), (combine ? parts : result).end());
    std::string text = launch(kernel, decoded, sms);
    if (combine && text.empty()) {
      parts[0].writable = parts[1].writable = false;
      parts.insert(parts.end(), result.begin(), result.end());
      text = launch(*combine, parts, sms);
    }
    for (size_t token = 0; token < positions.size() && text.empty(); ++token)
      for (int64_t head = 0; head < config.heads && text.empty(); ++head)
        text = checkRow(token, head);
    return text;
  }

  /// The same with one of its tokens.
  MlaCase only(size_t token) const {
    MlaCase one = *this;
    int64_t columns = config.heads * kColumns;
    one.q.assign(q.begin() + token * columns, q.begin() + (token + 1) * columns);
    one.positions = {positions[token]};
    one.sequences = {sequences[token]};
    return one;
  }
  /// The bits of a token's result.
  std::vector<uint16_t> result(size_t token) const {
    int64_t columns = config.heads * kLatent;
    return {o.begin() + token * columns, o.begin() + (token + 1) * columns};
  }

private:
  std::string launch(const LoadedKernel &kernel, const std::vector<sim::Buffer> &buffers, int64_t sms) const {
    sim::Dims dims = {{abi::Dim::M, static_cast<int64_t>(positions.size())},
                      {abi::Dim::Sequences, static_cast<int64_t>(pages.size()) / config.pages},
                      {abi::Dim::Context, static_cast<int64_t>(cache.size()) / kColumns},
                      {abi::Dim::Sms, sms}};
    return runStrictly(*kernel.module, kernel.recipe, dims, buffers, /*threads=*/1);
  }

  void addTokens(const Sequence &sequence) {
    auto index = static_cast<int32_t>(sequences.empty() ? 0 : sequences.back() + 1);
    for (int64_t i = 0; i < sequence.tokens; ++i) {
      positions.push_back(static_cast<int32_t>(sequence.keys - sequence.tokens + i));
      sequences.push_back(index);
    }
  }

  static int64_t totalPages(const std::vector<Sequence> &given) {
    int64_t total = 0;
    for (const Sequence &sequence : given)
      total += (sequence.keys + kPage - 1) / kPage;
    return total;
  }

  void fillPages(size_t index, const Sequence &sequence, std::vector<int64_t> &free) {
    for (int64_t key = 0; key < sequence.keys; ++key) {
      int32_t &page = pages[index * config.pages + key / kPage];
      if (key % kPage == 0) {
        page = static_cast<int32_t>(free.back());
        free.pop_back();
      }
      for (int64_t i = 0; i < kColumns; ++i)
        cache[(page * kPage + key % kPage) * kColumns + i] = toBf16(normal(random));
    }
  }

  const uint16_t *rowOf(size_t token, int64_t key) const {
    int64_t page = pages[sequences[token] * config.pages + key / kPage];
    return &cache[(page * kPage + key % kPage) * kColumns];
  }

  /// Weights are rounded to bf16 before they are multiplied, and the result once more.
  std::string checkRow(size_t token, int64_t head) const {
    int64_t keys = positions[token] + 1;
    size_t row = token * config.heads + head;
    std::vector<double> weights(keys), want(kLatent), most(kLatent);
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t key = 0; key < keys; ++key) {
      const uint16_t *k = rowOf(token, key);
      for (int64_t i = 0; i < kColumns; ++i)
        weights[key] += double(toFloat(q[row * kColumns + i])) * toFloat(k[i]);
      weights[key] *= config.softmaxScale;
      largest = std::max(largest, weights[key]);
    }
    for (double &weight : weights)
      sum += weight = std::exp(weight - largest);
    for (int64_t key = 0; key < keys; ++key)
      for (int64_t i = 0; i < kLatent; ++i) {
        double term = weights[key] / sum * toFloat(rowOf(token, key)[i]);
        want[i] += term;
        most[i] += std::abs(term);
      }
    // Scores are sums of f32.
    double ofScores = keys ? 1e-6 * std::max(1.0, std::abs(largest)) : 0;
    for (int64_t i = 0; i < kLatent; ++i) {
      double got = toFloat(o[row * kLatent + i]),
             tolerance = (std::ldexp(1, -8) + 2 * ofScores) * most[i] + std::ldexp(std::abs(want[i]), -8);
      if (!(std::abs(got - want[i]) <= tolerance))
        return where(token, head) + "o[" + std::to_string(i) + "] is " + std::to_string(got) + ", should be " +
               std::to_string(want[i]) + " +- " + std::to_string(tolerance);
    }
    double wantLse = keys ? largest + std::log(sum) : -std::numeric_limits<double>::infinity(), gotLse = lse[row];
    if (config.lse && gotLse != wantLse && !(std::abs(gotLse - wantLse) <= 1e-5 + 2 * ofScores))
      return where(token, head) + "lse is " + std::to_string(gotLse) + ", should be " + std::to_string(wantLse);
    return {};
  }

  std::string where(size_t token, int64_t head) const {
    return "token " + std::to_string(token) + " of sequence " + std::to_string(sequences[token]) + " at " +
           std::to_string(positions[token]) + ", head " + std::to_string(head) + ": ";
  }

  MlaDecodeConfig config;
  std::mt19937_64 random{17};
  std::normal_distribution<float> normal{0.0f, 1.0f};
  std::vector<uint16_t> q, cache, o;
  std::vector<int32_t> positions, sequences, pages;
  std::vector<float> lse, oParts, lseParts;
};

/// Compiled once for all tests of a form.
const LoadedKernel *kernelOf(const MlaDecodeConfig &config) {
  static std::map<std::string, std::optional<LoadedKernel>> kernels;
  auto [at, isNew] = kernels.try_emplace(config.symbolName());
  if (isNew)
    at->second = loadKernel(nvvm::compileMlaDecode(config));
  return at->second ? &*at->second : nullptr;
}

MlaDecodeConfig heads(int64_t count, bool lse = false) { return {.heads = count, .pages = 20, .lse = lse}; }

std::string runOnce(const MlaDecodeConfig &config, const std::vector<Sequence> &sequences, int64_t sms = 2,
                    Scores scores = Scores::usual) {
  const LoadedKernel *kernel = kernelOf(config);
  return kernel ? MlaCase(config, sequences, scores).run(*kernel, sms) : "not compiled";
}

/// In parts, which are merged.
std::string runInParts(int64_t heads, int64_t splits, const std::vector<Sequence> &sequences) {
  MlaDecodeConfig config = {.heads = heads, .pages = 20, .splits = splits};
  std::optional<LoadedKernel> decode = loadKernel(nvvm::compileMlaDecode(config)),
                              combine = loadKernel(nvvm::compileMlaCombine({.heads = heads, .splits = splits, .lse = true}));
  config.lse = true;
  return decode && combine ? MlaCase(config, sequences).run(*decode, 3, &*combine) : "not compiled";
}

/// A multiprocessor that takes every second tile goes before the one that takes the others: what one writes beyond its tile is
/// seen.
TEST(MlaDecode, LengthsAroundPages) {
  EXPECT_EQ(runOnce(heads(16, /*lse=*/true), {{0}, {1}, {63}, {64}, {65}, {127}, {128}, {129}, {192}, {1}, {0}}), "");
}

TEST(MlaDecode, LongSequence) { EXPECT_EQ(runOnce(heads(16, /*lse=*/true), {{1000}, {3}}, /*sms=*/132), ""); }

TEST(MlaDecode, ManyHeads) {
  EXPECT_EQ(runOnce(heads(64), {{70, 2}, {1}, {130}}), "");
  EXPECT_EQ(runOnce(heads(128, /*lse=*/true), {{65}, {129, 2}}), "");
}

/// Tokens of one sequence in a tile, as many as fit and come together; none of the others' keys.
TEST(MlaDecode, SeveralTokensOfASequence) {
  EXPECT_EQ(runOnce(heads(16, /*lse=*/true), {{66, 1}, {65, 2}, {129, 4}, {70, 5}, {3, 3}, {1, 1}}), "");
  EXPECT_EQ(runOnce(heads(32), {{66, 3}, {128, 2}}), "");
}

/// Heads that are no power of two, or do not fill a tile.
TEST(MlaDecode, OddHeads) {
  EXPECT_EQ(runOnce(heads(20), {{66, 4}, {5, 2}}), "");
  EXPECT_EQ(runOnce(heads(96), {{66, 2}, {5}}), "");
  EXPECT_EQ(runOnce(heads(1), {{66, 3}, {5}}), "");
}

TEST(MlaDecode, ExtremeScores) {
  EXPECT_EQ(runOnce(heads(16, /*lse=*/true), {{200}, {64}}, 2, Scores::allEqual), "");
  EXPECT_EQ(runOnce(heads(16, /*lse=*/true), {{200}, {64}}, 2, Scores::huge), "");
}

/// Whoever shares its tile: keys that a row does not see leave its bits as they are.
TEST(MlaDecode, TokensAreWhatTheyWouldBeAlone) {
  const LoadedKernel *kernel = kernelOf(heads(16));
  ASSERT_TRUE(kernel);
  MlaCase together(heads(16), {{66, 4}, {129, 3}});
  EXPECT_EQ(together.run(*kernel, 132), "");
  for (size_t token = 0; token < 7; ++token) {
    MlaCase alone = together.only(token);
    EXPECT_EQ(alone.run(*kernel, 132), "");
    EXPECT_EQ(alone.result(0), together.result(token)) << "token " << token;
  }
}

/// As many parts as pages, more, fewer; parts that have no key of a row whose neighbours have some.
TEST(MlaDecode, PartsOfTheKeys) {
  EXPECT_EQ(runInParts(16, 2, {{0}, {1}, {64}, {65}, {129}, {66, 3}, {300}}), "");
  EXPECT_EQ(runInParts(128, 3, {{192}, {65, 2}}), "");
  EXPECT_EQ(runInParts(20, 16, {{1000}, {5, 2}}), "");
}

TEST(MlaDecode, NoTokens) {
  const LoadedKernel *kernel = kernelOf(heads(16));
  ASSERT_TRUE(kernel);
  EXPECT_EQ(kernel->recipe.blocks({{abi::Dim::M, 0}, {abi::Dim::Sms, 132}}).value_or(-1), 0);
}

//===----------------------------------------------------------------------===//
// Planted faults
//===----------------------------------------------------------------------===//

/// A kernel without its `nth` operation of a kind.
template <typename Op>
std::string runWithout(size_t nth, const std::vector<Sequence> &sequences) {
  MlaDecodeConfig config = heads(16);
  auto build = [&](mlir::gpu::GPUModuleOp gpuModule) -> Result<nvvm::LaunchRecipe> {
    QUANT_TRY_ASSIGN(nvvm::LaunchRecipe recipe, nvvm::buildMlaDecode(gpuModule, config));
    llvm::SmallVector<Op> found;
    gpuModule.walk([&](Op op) { found.push_back(op); });
    if (nth >= found.size())
      return fail("there are only " + std::to_string(found.size()));
    found[nth].erase();
    return recipe;
  };
  std::optional<LoadedKernel> kernel = loadKernel(nvvm::compileAlone(build, {}));
  return kernel ? MlaCase(config, sequences).run(*kernel, 1) : "not compiled";
}

TEST(MlaDecodeFaults, TailIsNotCleared) { EXPECT_NE(runWithout<hopper::ClearRowsOp>(0, {{65}}).find("nan"), std::string::npos); }

TEST(MlaDecodeFaults, NoBarrierAfterTheTailIsCleared) {
  EXPECT_NE(runWithout<hopper::SyncOp>(0, {{65}}).find("race"), std::string::npos);
}

TEST(MlaDecodeFaults, NoBarrierBeforeTheQueriesAreOverwritten) {
  EXPECT_NE(runWithout<hopper::SyncOp>(1, {{64}}).find("stage-in-use"), std::string::npos);
}

TEST(MlaDecodeFaults, QueriesAreReleasedBeforeTheirStoreHasRead) {
  EXPECT_NE(runWithout<hopper::WaitStoresOp>(0, {{64}, {64}}).find("stage-in-use"), std::string::npos);
}

TEST(MlaDecodeFaults, ReadsBeforeTheKernelInFrontIsDone) {
  EXPECT_NE(runWithout<hopper::WaitPrerequisitesOp>(0, {{64}}).find("early-access"), std::string::npos);
  EXPECT_NE(runWithout<hopper::WaitPrerequisitesOp>(1, {{64}}).find("early-access"), std::string::npos);
}

/// A kernel whose PTX has `to` in the place of `from`, the `nth` of them.
std::string runEdited(const std::string &from, const std::string &to, int nth, const std::vector<Sequence> &sequences) {
  auto kernel = nvvm::compileMlaDecode(heads(16));
  if (!kernel)
    return kernel.error().message;
  std::string &ptx = kernel->artifact.ptx;
  size_t at = ptx.find(from);
  for (int i = 0; i < nth && at != std::string::npos; ++i)
    at = ptx.find(from, at + 1);
  if (at == std::string::npos)
    return "there is no " + from;
  ptx.replace(at, from.size(), to);
  auto module = sim::Module::load(ptx);
  return module ? MlaCase(heads(16), sequences).run({kernel->recipe, std::move(*module)}, 1) : module.error().message;
}

TEST(MlaDecodeFaults, NoProxyFenceAfterTheTailIsCleared) {
  EXPECT_NE(runEdited("fence.proxy.async.shared::cta;", "", 1, {{65}}).find("missing-proxy-fence"), std::string::npos);
}

TEST(MlaDecodeFaults, NoProxyFenceBeforeTheResultIsStored) {
  EXPECT_NE(runEdited("fence.proxy.async.shared::cta;", "", 0, {{64}}).find("missing-proxy-fence"), std::string::npos);
}

TEST(MlaDecodeFaults, ScoresAreReadBeforeTheirWait) {
  EXPECT_NE(
      runEdited("wgmma.wait_group.sync.aligned 0;", "wgmma.wait_group.sync.aligned 1;", 0, {{64}}).find("accumulator-in-flight"),
      std::string::npos);
}

TEST(MlaDecodeFaults, StageIsReleasedBeforeTheValuesAreMultiplied) {
  EXPECT_NE(runEdited("wgmma.wait_group.sync.aligned 0;", "", 1, {{320}}).find("in-flight"), std::string::npos);
}

/// The second product reads weights from registers: the last of its steps, and a write to one of them right behind.
TEST(MlaDecodeFaults, WeightsAreOverwrittenInFlight) {
  auto kernel = nvvm::compileMlaDecode(heads(16));
  ASSERT_TRUE(kernel) << kernel.error().message;
  std::string &ptx = kernel->artifact.ptx;
  size_t product = ptx.rfind("wgmma.mma_async.sync.aligned.m64n256k16"), operand = ptx.find("}, {", product) + 4;
  ASSERT_NE(product, std::string::npos);
  std::string first = ptx.substr(operand, ptx.find(',', operand) - operand);
  size_t commit = ptx.find("wgmma.commit_group.sync.aligned;", product);
  ptx.insert(commit, "mov.b32 " + first + ", 0;\n");
  auto module = sim::Module::load(ptx);
  ASSERT_TRUE(module) << module.error().message;
  std::string found = MlaCase(heads(16), {{64}}).run({kernel->recipe, std::move(*module)}, 1);
  EXPECT_NE(found.find("accumulator-in-flight"), std::string::npos) << found;
}

TEST(MlaDecodeFaults, BarrierForOneWarpgroup) {
  std::string found = runEdited("bar.sync \t4, 256;", "bar.sync 4, 384;", 0, {{65}});
  EXPECT_NE(found.find("deadlock"), std::string::npos) << found;
}

} // namespace
} // namespace quant::test
