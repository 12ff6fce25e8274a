//===- api_test.cpp - the C API on a toy model ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/quant.h"

#include "runtime/api/devices.h"
#include "toy_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>

namespace quant::runtime::test {
namespace {

struct Free {
  void operator()(quant_module *module) const { quant_module_free(module); }
  void operator()(quant_session *session) const { quant_session_free(session); }
};
using ModulePtr = std::unique_ptr<quant_module, Free>;
using SessionPtr = std::unique_ptr<quant_session, Free>;

/// Options with one field set.
template <auto Field, typename T>
quant_session_options with(T value) {
  quant_session_options options = {};
  options.*Field = value;
  return options;
}

ModulePtr open(const ToyModel &toy) {
  quant_module *module = nullptr;
  EXPECT_EQ(quant_module_open(toy.module().c_str(), &module), QUANT_OK) << quant_last_error();
  return ModulePtr(module);
}

SessionPtr start(const ToyModel &toy, const quant_session_options &options = {}) {
  ModulePtr module = open(toy);
  quant_session *session = nullptr;
  EXPECT_EQ(quant_session_create(module.get(), toy.weights().c_str(), &options, &session), QUANT_OK) << quant_last_error();
  return SessionPtr(session); // the module is freed before the session
}

/// The likeliest token of the last `outputs` positions.
std::vector<int> forward(quant_session *session, const std::vector<int32_t> &tokens, int64_t outputs) {
  std::vector<float> logits(static_cast<size_t>(outputs * kToyVocab), NAN);
  EXPECT_EQ(quant_forward(session, tokens.data(), static_cast<int64_t>(tokens.size()), outputs, logits.data()), QUANT_OK)
      << quant_last_error();
  std::vector<int> result;
  for (auto row = logits.begin(); row != logits.end(); row += kToyVocab)
    result.push_back(static_cast<int>(std::max_element(row, row + kToyVocab) - row));
  return result;
}

void expectSessionError(const ToyModel &toy, const quant_session_options &options, quant_status status,
                        const std::string &error) {
  ModulePtr module = open(toy);
  quant_session *session = nullptr;
  EXPECT_EQ(quant_session_create(module.get(), toy.weights().c_str(), &options, &session), status);
  EXPECT_EQ(session, nullptr);
  EXPECT_NE(std::string(quant_last_error()).find(error), std::string::npos) << quant_last_error();
  if (session)
    quant_session_free(session);
}

TEST(Api, DescribesTheModule) {
  ToyModel toy;
  ModulePtr module = open(toy);
  EXPECT_EQ(quant_module_vocab(module.get()), kToyVocab);
  EXPECT_EQ(quant_module_max_tokens(module.get()), kToyMaxTokens);
  EXPECT_EQ(quant_module_max_context(module.get()), kToyMaxContext);
  EXPECT_EQ(quant_module_cache_layers(module.get()), 1);
  EXPECT_EQ(quant_module_cache_bytes_per_token(module.get()), 32);
  EXPECT_STREQ(quant_module_targets(module.get()), "host/future\nhost/baseline\n");
  EXPECT_STREQ(quant_module_config(module.get()), R"({"model_type":"toy"})");
  EXPECT_NE(std::string(quant_module_program(module.get())).find("embed[tokens]"), std::string::npos);
}

TEST(Api, RunsOnAnyNumberOfThreads) {
  ToyModel toy;
  for (int32_t threads : {0, 1, 2, 5}) {
    SessionPtr session = start(toy, with<&quant_session_options::threads>(threads));
    EXPECT_STREQ(quant_session_isa(session.get()), "baseline");
    EXPECT_GE(quant_session_threads(session.get()), std::max(1, threads));
    EXPECT_EQ(forward(session.get(), {1, 2, 3}, 1), std::vector<int>{6});
    EXPECT_EQ(forward(session.get(), {6}, 1), std::vector<int>{12});
    EXPECT_EQ(forward(session.get(), {12}, 1), std::vector<int>{8});
    EXPECT_EQ(quant_session_position(session.get()), 5);
  }
}

/// Prompts longer than limits.tokens: the same logits, of all positions or of some.
TEST(Api, SplitsLongPrompts) {
  ToyModel toy;
  std::vector<int32_t> prompt = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  std::vector<int> expected = {1, 3, 6, 10, 15, 5, 12, 4, 13, 7, 2};
  for (int64_t chunk : {0, 1, 2, 3})
    for (size_t outputs = 0; outputs <= prompt.size(); ++outputs) {
      SessionPtr session = start(toy, with<&quant_session_options::max_chunk>(chunk));
      EXPECT_EQ(forward(session.get(), prompt, static_cast<int64_t>(outputs)),
                std::vector<int>(expected.end() - static_cast<ptrdiff_t>(outputs), expected.end()));
    }
}

TEST(Api, GoesBack) {
  ToyModel toy;
  SessionPtr session = start(toy);
  forward(session.get(), {1, 2, 3}, 1);
  EXPECT_EQ(quant_session_reset(session.get(), 1), QUANT_OK);
  EXPECT_EQ(forward(session.get(), {4}, 1), std::vector<int>{5});
  EXPECT_EQ(quant_session_reset(session.get(), 0), QUANT_OK);
  EXPECT_EQ(forward(session.get(), {9}, 1), std::vector<int>{9});
  EXPECT_EQ(quant_session_reset(session.get(), 2), QUANT_INVALID_ARGUMENT);
  EXPECT_STREQ(quant_last_error(), "cannot go back to position 2 from 1");
  EXPECT_EQ(quant_session_reset(session.get(), -1), QUANT_INVALID_ARGUMENT);
}

TEST(Api, Profiles) {
  ToyModel toy;
  SessionPtr session = start(toy, with<&quant_session_options::profile>(1));
  forward(session.get(), {1, 2, 3}, 1);
  forward(session.get(), {1}, 1);
  std::string profile = quant_session_profile(session.get());
  for (const char *line : {" 2  embedding\n", " 2  experts\n", " 2  store\n", " 2  head\n"})
    EXPECT_NE(profile.find(line), std::string::npos) << profile;
  EXPECT_STREQ(quant_session_profile(start(toy).get()), "");
}

struct BadTokens {
  std::vector<int32_t> tokens;
  int64_t outputs;
  quant_status status;
  const char *error;
};

TEST(Api, RefusesTokens) {
  ToyModel toy;
  SessionPtr session = start(toy, with<&quant_session_options::context>(8));
  forward(session.get(), {1, 2}, 1);
  const BadTokens cases[] = {
      {{1, 16}, 1, QUANT_INVALID_TOKEN, "token 1 is id 16, the vocabulary has 0 to 15"},
      {{-1}, 1, QUANT_INVALID_TOKEN, "token 0 is id -1, the vocabulary has 0 to 15"},
      {{1, 2, 3, 4, 5, 6, 7}, 1, QUANT_CONTEXT_FULL, "7 tokens at position 2 overflow the context of 8 rows"},
      {{}, 0, QUANT_INVALID_ARGUMENT, "no tokens: a forward pass needs at least 1, got 0"},
      {{1}, 2, QUANT_INVALID_ARGUMENT, "logits of 2 positions asked for, with 1 tokens"},
      {{1}, -1, QUANT_INVALID_ARGUMENT, "logits of -1 positions asked for, with 1 tokens"},
  };
  float logits[2 * kToyVocab];
  for (const BadTokens &bad : cases) {
    auto count = static_cast<int64_t>(bad.tokens.size());
    EXPECT_EQ(quant_forward(session.get(), bad.tokens.data(), count, bad.outputs, logits), bad.status);
    EXPECT_STREQ(quant_last_error(), bad.error);
    EXPECT_EQ(quant_session_position(session.get()), 2);
  }
  int32_t token = 1;
  EXPECT_EQ(quant_forward(session.get(), &token, 1, 1, nullptr), QUANT_INVALID_ARGUMENT);
  EXPECT_EQ(quant_forward(session.get(), &token, -1, 0, logits), QUANT_INVALID_ARGUMENT);
  EXPECT_EQ(quant_forward(nullptr, &token, 1, 1, logits), QUANT_INVALID_ARGUMENT);
  EXPECT_EQ(forward(session.get(), {3, 4, 5, 6, 7, 8}, 1), std::vector<int>{4});
}

TEST(Api, RefusesOptions) {
  ToyModel toy;
  expectSessionError(toy, with<&quant_session_options::threads>(-1), QUANT_INVALID_ARGUMENT,
                     "threads is -1, not 0 (the default) to 1024");
  expectSessionError(toy, with<&quant_session_options::context>(257), QUANT_INVALID_ARGUMENT,
                     "context is 257, not 0 (the default) to 256");
  expectSessionError(toy, with<&quant_session_options::cache>(255), QUANT_INVALID_MODULE,
                     "a cache of 255 tokens asked for, not 256 (the context) to 16777216");
  expectSessionError(toy, with<&quant_session_options::max_chunk>(5), QUANT_INVALID_ARGUMENT,
                     "max_chunk is 5, not 0 (the default) to 4");
  expectSessionError(toy, with<&quant_session_options::isa>("avx3"), QUANT_INVALID_MODULE,
                     "toy.qmod: the module has no code for isa 'avx3', only for 'future'; 'baseline'");
  expectSessionError(toy, with<&quant_session_options::device>("sim"), QUANT_INVALID_ARGUMENT,
                     "there is no device 'sim': host, cuda");
  expectSessionError(toy, with<&quant_session_options::device>("cuda"), QUANT_INVALID_MODULE,
                     "toy.qmod: the module has no code of target 'sm_90a'; compile it with --target=sm_90a");
  expectSessionError(toy, with<&quant_session_options::isa>("future"), QUANT_INVALID_MODULE,
                     "isa 'future' cannot run here: the CPU or the system lacks");
}

//===----------------------------------------------------------------------===//
// Which status an error is
//===----------------------------------------------------------------------===//

/// Where a session of the device "faulty" fails, and how.
enum class Where { Create, Load, Run };
struct Fault {
  Where where;
  ErrorKind kind = ErrorKind::Other;
  bool throws = false; ///< what the standard library throws where memory is out
  int after = 0;       ///< so many times that it goes well
};
Fault fault;

Result<void> failAt(Where where) {
  if (where != fault.where || fault.after-- > 0)
    return {};
  if (fault.throws)
    throw std::bad_alloc();
  return fail("faulty", fault.kind);
}

class FaultySession : public Session {
public:
  static Result<std::unique_ptr<Session>> create(std::shared_ptr<const Module> module, const Target &target,
                                                 const SessionOptions &) {
    QUANT_TRY(failAt(Where::Create));
    std::unique_ptr<FaultySession> session(new FaultySession);
    session->module = std::move(module);
    session->target = &target;
    return session;
  }

  Result<void> load(std::shared_ptr<const checkpoint::Checkpoint>) override { return failAt(Where::Load); }
  Result<std::unique_ptr<Session>> createDraft() const override { return fail("there is no draft"); }
  Result<void> run(const Dims &) override { return failAt(Where::Run); }
  std::byte *buffer(std::string_view) const override { return const_cast<std::byte *>(memory.data()); }
  const Program &program() const override { return target->program; }
  int threads() const override { return 1; }
  Result<void> readRows(size_t, int64_t, std::span<std::byte>) override { return {}; }
  Result<void> writeRows(size_t, int64_t, std::span<const std::byte>) override { return {}; }
  int64_t context() const override { return kToyMaxContext; }
  int64_t cacheRows() const override { return abi::kPageRows; }
  const std::string &isa() const override { return target->name; }
  const Profile &profile() const override { return none; }

private:
  std::shared_ptr<const Module> module;
  const Target *target = nullptr;
  std::array<std::byte, 4096> memory = {};
  Profile none;
};

/// Options for the device, which is registered at first.
quant_session_options onFaultyDevice() {
  static const bool once = (registerDevice({"faulty", "host", FaultySession::create}), true);
  EXPECT_TRUE(once);
  return with<&quant_session_options::device>("faulty");
}

TEST(Api, SaysWhatKindOfErrorItIs) {
  ToyModel toy;
  quant_session_options options = onFaultyDevice();
  const std::pair<ErrorKind, quant_status> kinds[] = {{ErrorKind::OutOfMemory, QUANT_OUT_OF_MEMORY},
                                                      {ErrorKind::NoDevice, QUANT_NO_DEVICE},
                                                      {ErrorKind::Unsupported, QUANT_UNSUPPORTED},
                                                      {ErrorKind::Device, QUANT_DEVICE_ERROR},
                                                      {ErrorKind::CacheFull, QUANT_CONTEXT_FULL}};
  for (auto [kind, status] : kinds)
    for (Where where : {Where::Create, Where::Load}) {
      fault = {where, kind};
      expectSessionError(toy, options, status, "faulty");
    }
  fault = {.where = Where::Load, .throws = true};
  expectSessionError(toy, options, QUANT_OUT_OF_MEMORY, "out of memory");
  fault = {Where::Create, ErrorKind::Other};
  expectSessionError(toy, options, QUANT_INVALID_MODULE, "toy.qmod: faulty");
  fault = {Where::Load, ErrorKind::Other};
  expectSessionError(toy, options, QUANT_INVALID_WEIGHTS, "faulty");
  fault = {Where::Run, ErrorKind::Other};
  SessionPtr session = start(toy, options);
  int32_t token = 1;
  EXPECT_EQ(quant_forward(session.get(), &token, 1, 0, nullptr), QUANT_INTERNAL_ERROR);
  for (auto [kind, status] : kinds) {
    fault.kind = kind;
    EXPECT_EQ(quant_forward(session.get(), &token, 1, 0, nullptr), status);
  }
  EXPECT_EQ(quant_session_position(session.get()), 0);
}

/// Of several chunks, of which the last one fails, none counts.
TEST(Api, FailedChunksLeaveTheContextAsItWas) {
  ToyModel toy;
  quant_session_options options = onFaultyDevice();
  options.max_chunk = 1;
  const int32_t tokens[] = {1, 2, 3};
  fault = {.where = Where::Run, .throws = false, .after = 1};
  SessionPtr session = start(toy, options);
  EXPECT_EQ(quant_forward(session.get(), tokens, 1, 0, nullptr), QUANT_OK);
  for (bool throws : {false, true}) {
    fault = {.where = Where::Run, .throws = throws, .after = 2};
    EXPECT_EQ(quant_forward(session.get(), tokens, 3, 0, nullptr), throws ? QUANT_OUT_OF_MEMORY : QUANT_INTERNAL_ERROR);
    EXPECT_EQ(quant_session_position(session.get()), 1);
  }
}

TEST(Api, RefusesKernelsWithoutCode) {
  auto launched = [](TestModule &toy) {
    toy.manifest["targets"][0]["kernels"][2].erase("scratch_bytes");
    toy.manifest["targets"][0]["kernels"][2].update({{"kind", "recipe"}, {"unsupported", "not today"}});
    for (nlohmann::json &object : toy.manifest["targets"][0]["objects"])
      object["entries"].erase("store");
  };
  expectSessionError(ToyModel(launched), {}, QUANT_UNSUPPORTED, "toy.qmod: there is no host code for store (not today)");
}

TEST(Api, RefusesModules) {
  quant_module *module = nullptr;
  EXPECT_EQ(quant_module_open("/nonexistent.qmod", &module), QUANT_INVALID_MODULE);
  EXPECT_EQ(quant_module_open(nullptr, &module), QUANT_INVALID_ARGUMENT);
  EXPECT_EQ(module, nullptr);
  expectSessionError(ToyModel([](TestModule &toy) { toy.manifest["targets"][0]["objects"].erase(1); }), {}, QUANT_INVALID_MODULE,
                     "the module has no code that this CPU and system can run: 'future' needs");
  expectSessionError(ToyModel([](TestModule &toy) { toy.manifest["targets"][0]["name"] = "gfx90a"; }), {}, QUANT_INVALID_MODULE,
                     "the module has no code of target 'host'");
  expectSessionError(ToyModel([](TestModule &toy) { toy.program["values"][0]["name"] = "ids"; }), {}, QUANT_INVALID_MODULE,
                     "the program has no input 'tokens' of type tokensxi32");
  expectSessionError(ToyModel([](TestModule &toy) { toy.program["limits"]["vocab"] = 17; }), {}, QUANT_INVALID_MODULE,
                     "the program has no output 'logits' of type outputsx17xf32");
}

TEST(Api, RefusesWeights) {
  auto expectWeightError = [](const std::function<void(ToyModel::Tensors &)> &spoil, const char *error) {
    expectSessionError(ToyModel([](TestModule &) {}, spoil), {}, QUANT_INVALID_WEIGHTS, error);
  };
  expectWeightError([](auto &tensors) { tensors[0].first.name = "x"; },
                    "value 2: tensor 'embed.weight' or 'tied.weight' is not in checkpoint /");
  expectWeightError([](auto &tensors) { tensors[0].first.dtype = DType::BF16; },
                    "model.safetensors is 16x8xbf16, the module expects 16x8xf32; was it compiled for another checkpoint?");
  expectWeightError([](auto &tensors) { tensors[0].first.shape = {8, 16}; }, "is 8x16xf32, the module expects 16x8xf32");
  expectWeightError([](auto &tensors) { tensors[0].first.shape = {128}; }, "is 128xf32, the module expects 16x8xf32");
  expectWeightError([](auto &tensors) { tensors.erase(tensors.begin() + 2); },
                    "it holds the scales of 'experts.1.weight', which DeepSeek names '*.weight_scale_inv'");
  expectWeightError([](auto &tensors) { tensors[2].first.name = "experts.1.weight_scale"; },
                    "compressed-tensors '*.weight_scale': the checkpoint has 'experts.1.weight_scale'");
  expectWeightError([](auto &tensors) { tensors[2].first.name = "experts.1.weight"; },
                    ": the checkpoint has the weight without any");
  expectWeightError([](auto &tensors) { tensors[2].first.shape = {4, 2}; }, "tensor 'experts.1.weight_scale_inv' in /");
  expectWeightError([](auto &tensors) { tensors[2].first.shape = {4, 2}; }, "is 4x2xf32, the module expects 8xf32");
  expectWeightError([](auto &tensors) { tensors[2].first.dtype = DType::F16; }, "is 8xf16, the module expects 8xf32");
  expectWeightError([](auto &tensors) { tensors[2].second[5] = -1; },
                    "model.safetensors: the scale of block [5] is -1, scales are finite and not negative");
}

/// A block of zeros may well have a zero for its scale.
TEST(Api, TakesZeroScales) {
  auto zeroFirst = [](ToyModel::Tensors &tensors) { std::ranges::fill(tensors[1].second, 0.f); };
  ToyModel toy([](TestModule &) {}, zeroFirst);
  start(toy);
}

TEST(Api, TakesAliases) {
  ToyModel toy([](TestModule &) {}, [](ToyModel::Tensors &tensors) { tensors[0].first.name = "tied.weight"; });
  EXPECT_EQ(forward(start(toy).get(), {1, 2, 3}, 1), std::vector<int>{6});
}

TEST(Api, Samples) {
  quant_sampler *sampler = nullptr;
  EXPECT_EQ(quant_sampler_create(-1, 1, 0, &sampler), QUANT_INVALID_ARGUMENT);
  ASSERT_EQ(quant_sampler_create(0, 1, 0, &sampler), QUANT_OK);
  const float logits[] = {1, 3, 2};
  int32_t token = -1;
  EXPECT_EQ(quant_sample(sampler, logits, 3, &token), QUANT_OK);
  EXPECT_EQ(token, 1);
  EXPECT_EQ(quant_sample(sampler, logits, 0, &token), QUANT_INVALID_ARGUMENT);
  quant_sampler_free(sampler);
}

} // namespace
} // namespace quant::runtime::test
