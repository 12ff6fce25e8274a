//===- sequences_test.cpp - several sequences in one session --------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/api/page_pool.h"
#include "runtime/api/quant.h"
#include "test/lowering/test_seed.h"
#include "toy_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>

namespace quant::runtime::test {
namespace {

constexpr int64_t kPageRows = abi::kPageRows;

//===----------------------------------------------------------------------===//
// Pages
//===----------------------------------------------------------------------===//

std::array<int32_t, abi::kPageRows> pageOf(int32_t token) {
  std::array<int32_t, abi::kPageRows> tokens;
  tokens.fill(token);
  return tokens;
}

TEST(PagePool, GivesEachPageOnce) {
  PagePool pool(3);
  std::set<int32_t> taken = {*pool.take(), *pool.take(), *pool.take()};
  EXPECT_EQ(taken, (std::set<int32_t>{0, 1, 2}));
  Result<int32_t> none = pool.take();
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "all 3 pages of 64 tokens of the KV cache are in use");
  EXPECT_EQ(none.error().kind, ErrorKind::CacheFull);
  pool.release(1);
  EXPECT_EQ(pool.available(), 1);
  EXPECT_EQ(*pool.take(), 1);
}

TEST(PagePool, FindsPagesByAllThatStandsBeforeThem) {
  PagePool pool(4);
  int32_t first = *pool.take(), second = *pool.take();
  PagePool::Prefix one = pool.publish(first, 0, pageOf(1)), two = pool.publish(second, one, pageOf(2));
  EXPECT_EQ(pool.find(0, pageOf(1))->page, first);
  EXPECT_EQ(pool.find(one, pageOf(2))->page, second);
  EXPECT_EQ(pool.find(one, pageOf(2))->prefix, two);
  EXPECT_FALSE(pool.find(0, pageOf(2)));
  auto almost = pageOf(1);
  almost.back() = 2;
  EXPECT_FALSE(pool.find(0, almost));
  // Another page of the same contents is not found, but what follows it is.
  int32_t copy = *pool.take();
  EXPECT_EQ(pool.publish(copy, 0, pageOf(1)), one);
  EXPECT_EQ(pool.find(0, pageOf(1))->page, first);
  pool.withdraw(first);
  EXPECT_FALSE(pool.find(0, pageOf(1)));
}

TEST(PagePool, ForgetsWhatWasGivenUpFirst) {
  PagePool pool(3);
  for (int32_t page = 0; page < 3; ++page)
    pool.publish(*pool.take(), 0, pageOf(page));
  for (int32_t page : {1, 2, 0})
    pool.release(page);
  EXPECT_EQ(pool.available(), 3);
  pool.hold(1);
  EXPECT_EQ(*pool.take(), 2);
  EXPECT_FALSE(pool.find(0, pageOf(2)));
  EXPECT_EQ(*pool.take(), 0);
  EXPECT_FALSE(pool.take());
  EXPECT_EQ(pool.find(0, pageOf(1))->page, 1);
}

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

struct Free {
  void operator()(quant_module *module) const { quant_module_free(module); }
  void operator()(quant_session *session) const { quant_session_free(session); }
  void operator()(quant_sequence *sequence) const { quant_sequence_free(sequence); }
};
using SessionPtr = std::unique_ptr<quant_session, Free>;
using SequencePtr = std::unique_ptr<quant_sequence, Free>;
using Tokens = std::vector<int32_t>;

SessionPtr start(const ToyModel &toy, int64_t cache) {
  quant_module *module = nullptr;
  EXPECT_EQ(quant_module_open(toy.module().c_str(), &module), QUANT_OK) << quant_last_error();
  std::unique_ptr<quant_module, Free> owned(module);
  quant_session_options options = {};
  options.cache = cache;
  quant_session *session = nullptr;
  EXPECT_EQ(quant_session_create(module, toy.weights().c_str(), &options, &session), QUANT_OK) << quant_last_error();
  return SessionPtr(session);
}

SequencePtr create(quant_session *session) {
  quant_sequence *sequence = nullptr;
  EXPECT_EQ(quant_sequence_create(session, &sequence), QUANT_OK);
  return SequencePtr(sequence);
}

SequencePtr fork(const SequencePtr &sequence) {
  quant_sequence *result = nullptr;
  EXPECT_EQ(quant_sequence_fork(sequence.get(), &result), QUANT_OK);
  return SequencePtr(result);
}

/// The toy's answer: the sum of all tokens so far.
int answerTo(const Tokens &tokens) { return std::accumulate(tokens.begin(), tokens.end(), 0) % kToyVocab; }
int answerIn(const float *logits) { return static_cast<int>(std::max_element(logits, logits + kToyVocab) - logits); }

quant_status append(quant_session *session, const SequencePtr &sequence, const Tokens &tokens, int *answer = nullptr) {
  float logits[kToyVocab];
  quant_sequence_step step = {sequence.get(), tokens.data(), static_cast<int64_t>(tokens.size()), 1, logits};
  quant_status status = quant_forward_steps(session, &step, 1);
  if (status == QUANT_OK && answer)
    *answer = answerIn(logits);
  return status;
}

Tokens someTokens(std::mt19937_64 &random, size_t count) {
  Tokens tokens(count);
  for (int32_t &token : tokens)
    token = static_cast<int32_t>(random() % kToyVocab);
  return tokens;
}

TEST(Sequences, ComputeTogetherWhatTheyWouldAlone) {
  ToyModel toy;
  SessionPtr session = start(toy, 1024);
  std::mt19937_64 random(testSeed());
  std::vector<SequencePtr> sequences;
  std::vector<Tokens> contents(5);
  for (size_t i = 0; i < contents.size(); ++i)
    sequences.push_back(create(session.get()));
  for (int round = 0; round < 20; ++round) {
    std::vector<Tokens> added;
    std::vector<std::vector<float>> logits;
    std::vector<quant_sequence_step> steps;
    for (size_t i = 0; i < contents.size(); ++i) {
      // Short steps, long ones, and more tokens than a call takes.
      added.push_back(someTokens(random, 1 + random() % 9));
      auto count = static_cast<int64_t>(added.back().size()), outputs = static_cast<int64_t>(random() % (count + 1));
      logits.emplace_back(static_cast<size_t>(outputs * kToyVocab));
      steps.push_back({sequences[i].get(), added.back().data(), count, outputs, logits.back().data()});
    }
    for (size_t i = 0; i < steps.size(); ++i) // the vectors may have moved
      steps[i].tokens = added[i].data(), steps[i].logits = logits[i].data();
    ASSERT_EQ(quant_forward_steps(session.get(), steps.data(), static_cast<int64_t>(steps.size())), QUANT_OK)
        << quant_last_error();
    for (size_t i = 0; i < contents.size(); ++i)
      for (int32_t index = 0; index < steps[i].count; ++index) {
        contents[i].push_back(added[i][index]);
        int64_t output = index - (steps[i].count - steps[i].outputs);
        if (output >= 0)
          EXPECT_EQ(answerIn(&logits[i][output * kToyVocab]), answerTo(contents[i]));
      }
  }
}

/// Sequences that come, grow, are cut, forked, and go, in a cache that is often full, against what they should hold.
TEST(Sequences, KeepTheirTokensThroughAnySchedule) {
  constexpr int64_t kPages = 12;
  ToyModel toy;
  SessionPtr session = start(toy, kPages * kPageRows);
  std::mt19937_64 random(testSeed());
  std::vector<std::pair<SequencePtr, Tokens>> live;
  int full = 0, reused = 0;
  for (int round = 0; round < 600; ++round) {
    size_t action = live.empty() ? 0 : random() % 8, index = live.empty() ? 0 : random() % live.size();
    if (action == 0) {
      // Prompts that often begin alike.
      Tokens prompt(1 + random() % 150, static_cast<int32_t>(random() % 2));
      SequencePtr sequence = create(session.get());
      int64_t known = -1;
      ASSERT_EQ(quant_sequence_reuse(sequence.get(), prompt.data(), static_cast<int64_t>(prompt.size()), &known), QUANT_OK);
      ASSERT_EQ(known, quant_sequence_position(sequence.get()));
      ASSERT_LT(known, static_cast<int64_t>(prompt.size()));
      reused += known > 0;
      int answer = 0;
      quant_status status = append(session.get(), sequence, Tokens(prompt.begin() + known, prompt.end()), &answer);
      if (status == QUANT_OK) {
        ASSERT_EQ(answer, answerTo(prompt));
        live.emplace_back(std::move(sequence), std::move(prompt));
      } else {
        ASSERT_EQ(status, QUANT_CONTEXT_FULL) << quant_last_error();
        ASSERT_EQ(quant_sequence_position(sequence.get()), known);
        ++full;
      }
    } else if (action == 1) {
      live.emplace_back(fork(live[index].first), live[index].second);
    } else if (action == 2) {
      live.erase(live.begin() + static_cast<ptrdiff_t>(index));
    } else if (action == 3) {
      auto &[sequence, tokens] = live[index];
      tokens.resize(random() % (tokens.size() + 1));
      ASSERT_EQ(quant_sequence_reset(sequence.get(), static_cast<int64_t>(tokens.size())), QUANT_OK);
    } else {
      auto &[sequence, tokens] = live[index];
      Tokens added = someTokens(random, 1 + random() % (action == 4 ? 60 : 3));
      int answer = 0;
      quant_status status = append(session.get(), sequence, added, &answer);
      if (status == QUANT_OK) {
        tokens.insert(tokens.end(), added.begin(), added.end());
        ASSERT_EQ(answer, answerTo(tokens)) << "round " << round;
      } else {
        ASSERT_EQ(status, QUANT_CONTEXT_FULL) << quant_last_error();
        full += std::string(quant_last_error()).find("pages of 64 tokens") != std::string::npos;
      }
      ASSERT_EQ(quant_sequence_position(sequence.get()), static_cast<int64_t>(tokens.size()));
    }
  }
  EXPECT_GT(full, 0);
  EXPECT_GT(reused, 0);
  live.clear();
  EXPECT_EQ(quant_session_free_pages(session.get()), kPages) << "every page is given back";
  EXPECT_EQ(quant_session_cache_pages(session.get()), kPages);
}

TEST(Sequences, ShareAPageUntilOneWrites) {
  ToyModel toy;
  SessionPtr session = start(toy, 512);
  SequencePtr first = create(session.get());
  ASSERT_EQ(append(session.get(), first, Tokens(70, 1)), QUANT_OK);
  int64_t before = quant_session_free_pages(session.get());
  SequencePtr second = fork(first);
  EXPECT_EQ(quant_session_free_pages(session.get()), before);
  int answer = 0;
  ASSERT_EQ(append(session.get(), second, {5}, &answer), QUANT_OK);
  EXPECT_EQ(answer, (70 + 5) % kToyVocab);
  EXPECT_EQ(quant_session_free_pages(session.get()), before - 1);
  ASSERT_EQ(append(session.get(), first, {7}, &answer), QUANT_OK);
  EXPECT_EQ(answer, (70 + 7) % kToyVocab);
  EXPECT_EQ(quant_session_free_pages(session.get()), before - 1);
}

SequencePtr restore(quant_session *session, const std::string &path) {
  quant_sequence *sequence = nullptr;
  EXPECT_EQ(quant_sequence_restore(session, path.c_str(), &sequence), QUANT_OK) << quant_last_error();
  return SequencePtr(sequence);
}

TEST(Sequences, GoOnFromAFile) {
  ToyModel toy;
  std::string path = testing::TempDir() + "sequence.safetensors";
  Tokens tokens(150, 3);
  {
    SessionPtr session = start(toy, 512);
    // Other pages than those of a fresh session, in another order.
    SequencePtr first = create(session.get()), sequence = create(session.get());
    ASSERT_EQ(append(session.get(), first, {1}), QUANT_OK);
    ASSERT_EQ(append(session.get(), sequence, tokens), QUANT_OK);
    ASSERT_EQ(quant_sequence_save(sequence.get(), path.c_str()), QUANT_OK) << quant_last_error();
    ASSERT_EQ(quant_sequence_save(create(session.get()).get(), (path + ".empty").c_str()), QUANT_OK) << quant_last_error();
  }
  SessionPtr session = start(toy, 512);
  SequencePtr sequence = restore(session.get(), path);
  EXPECT_EQ(quant_sequence_position(sequence.get()), 150);
  int answer = 0;
  ASSERT_EQ(append(session.get(), sequence, {7}, &answer), QUANT_OK);
  tokens.push_back(7);
  EXPECT_EQ(answer, answerTo(tokens));
  // Its whole pages can be found by others.
  SequencePtr other = create(session.get());
  int64_t known = 0;
  ASSERT_EQ(quant_sequence_reuse(other.get(), tokens.data(), 151, &known), QUANT_OK);
  EXPECT_EQ(known, 128);
  EXPECT_EQ(quant_sequence_position(restore(session.get(), path + ".empty").get()), 0);
}

TEST(Sequences, RefuseOtherFiles) {
  ToyModel toy;
  std::string path = testing::TempDir() + "sequence.safetensors";
  SessionPtr session = start(toy, 256);
  SequencePtr sequence = create(session.get());
  ASSERT_EQ(append(session.get(), sequence, Tokens(100, 1)), QUANT_OK);
  ASSERT_EQ(quant_sequence_save(sequence.get(), path.c_str()), QUANT_OK) << quant_last_error();
  auto refused = [&](quant_session *by, const std::string &file, quant_status status, const std::string &error) {
    int64_t before = quant_session_free_pages(by);
    quant_sequence *restored = nullptr;
    EXPECT_EQ(quant_sequence_restore(by, file.c_str(), &restored), status);
    EXPECT_EQ(restored, nullptr);
    EXPECT_NE(std::string(quant_last_error()).find(error), std::string::npos) << quant_last_error();
    EXPECT_EQ(quant_session_free_pages(by), before);
  };
  refused(session.get(), "/nonexistent", QUANT_INVALID_ARGUMENT, "/nonexistent");
  refused(session.get(), toy.weights() + "/model.safetensors", QUANT_INVALID_ARGUMENT, "is no file of a saved sequence");
  ToyModel otherModule([](TestModule &module) { module.manifest["producer"] = "another"; });
  refused(start(otherModule, 256).get(), path, QUANT_INVALID_ARGUMENT, "was saved by another module, or with another checkpoint");
  // Two of the four pages are taken by the sequence, one by another.
  SequencePtr more = create(session.get());
  ASSERT_EQ(append(session.get(), more, {1}), QUANT_OK);
  refused(session.get(), path, QUANT_CONTEXT_FULL, "all 4 pages");
  EXPECT_EQ(quant_sequence_save(sequence.get(), "/nonexistent/file"), QUANT_INVALID_ARGUMENT);
  EXPECT_EQ(quant_sequence_save(nullptr, "x"), QUANT_INVALID_ARGUMENT);
}

TEST(Sequences, OutliveTheirSession) {
  ToyModel toy;
  SessionPtr session = start(toy, 256);
  SequencePtr sequence = create(session.get());
  ASSERT_EQ(append(session.get(), sequence, {1, 2}), QUANT_OK);
  session.reset();
  EXPECT_EQ(quant_sequence_position(sequence.get()), 2);
  SequencePtr copy = fork(sequence);
  EXPECT_EQ(quant_sequence_reset(copy.get(), 1), QUANT_OK);
}

TEST(Sequences, RefuseBadSteps) {
  ToyModel toy;
  SessionPtr session = start(toy, 256), other = start(toy, 256);
  SequencePtr sequence = create(session.get()), foreign = create(other.get()), second = create(session.get());
  int32_t token = 1, wrong = 99;
  float logits[kToyVocab];
  quant_sequence_step good = {sequence.get(), &token, 1, 1, logits};
  auto refused = [&](const quant_sequence_step &step, quant_status status, const std::string &error) {
    quant_sequence_step steps[] = {good, step};
    EXPECT_EQ(quant_forward_steps(session.get(), steps, 2), status);
    EXPECT_EQ(quant_last_error(), error);
    EXPECT_EQ(quant_sequence_position(sequence.get()), 0) << "nothing has changed";
  };
  refused({nullptr, &token, 1, 1, logits}, QUANT_INVALID_ARGUMENT, "step 1: the sequence is null");
  refused(good, QUANT_INVALID_ARGUMENT, "step 1: the sequence is in a step before");
  refused({foreign.get(), &token, 1, 1, logits}, QUANT_INVALID_ARGUMENT, "step 1: the sequence is of another session");
  refused({second.get(), &token, 0, 0, logits}, QUANT_INVALID_ARGUMENT,
          "step 1: no tokens: a forward pass needs at least 1, got 0");
  refused({second.get(), &wrong, 1, 1, logits}, QUANT_INVALID_TOKEN, "step 1: token 0 is id 99, the vocabulary has 0 to 15");
  Tokens many(257, 1);
  refused({second.get(), many.data(), 257, 0, nullptr}, QUANT_CONTEXT_FULL,
          "step 1: 257 tokens at position 0 overflow the context of 256 rows");
  // Each fits the context, both do not fit the cache.
  refused({second.get(), many.data(), 256, 0, nullptr}, QUANT_CONTEXT_FULL,
          "all 4 pages of 64 tokens of the KV cache are in use");
  EXPECT_EQ(quant_session_free_pages(session.get()), 4);
  EXPECT_EQ(quant_forward_steps(session.get(), nullptr, 1), QUANT_INVALID_ARGUMENT);
  EXPECT_EQ(quant_forward_steps(session.get(), &good, 0), QUANT_INVALID_ARGUMENT);
  int64_t known = 0;
  ASSERT_EQ(append(session.get(), sequence, {1}), QUANT_OK);
  EXPECT_EQ(quant_sequence_reuse(sequence.get(), &token, 1, &known), QUANT_INVALID_ARGUMENT);
  EXPECT_STREQ(quant_last_error(), "quant_sequence_reuse: the sequence has 1 tokens already");
  EXPECT_EQ(quant_sequence_reset(sequence.get(), 2), QUANT_INVALID_ARGUMENT);
}

} // namespace
} // namespace quant::runtime::test
