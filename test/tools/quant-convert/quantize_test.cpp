//===- quantize_test.cpp - weights in few bits ----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "scheme_golden.h"

#include "tools/quant-convert/quantize/policy.h"
#include "tools/quant-convert/quantize/quantize_weight.h"

#include <gtest/gtest.h>

#include <mutex>
#include <random>

using namespace quant;
using namespace quant::convert;
using namespace quant::test;

namespace {

const std::filesystem::path kGolden = QUANT_QUANTIZED_GOLDENS;

/// Keeps the tensors of a job. Every byte is to be put once.
class MemorySink : public Sink {
public:
  explicit MemorySink(const Job &job) {
    for (const checkpoint::TensorSpec &tensor : job.outputs)
      tensors[tensor.name].resize(*checkpoint::byteSize(tensor.dtype, tensor.shape), '\xAA');
  }
  Result<void> put(std::string_view tensor, uint64_t offset, std::span<const std::byte> bytes) override {
    std::lock_guard guard(lock);
    std::string &to = tensors.at(std::string(tensor));
    EXPECT_LE(offset + bytes.size(), to.size()) << tensor;
    std::memcpy(to.data() + offset, bytes.data(), bytes.size());
    written[std::string(tensor)] += bytes.size();
    return {};
  }
  bool isWriting() const override { return true; }

  std::map<std::string, std::string> tensors;
  std::map<std::string, size_t> written;

private:
  std::mutex lock;
};

/// What a job makes, its steps from the last to the first.
std::map<std::string, std::string> runJob(const Job &job) {
  MemorySink sink(job);
  for (int64_t step = job.steps; step-- > 0;)
    if (auto done = job.run(step, sink); !done)
      ADD_FAILURE() << done.error().message;
  for (const auto &[name, bytes] : sink.tensors)
    EXPECT_EQ(sink.written[name], bytes.size()) << name;
  return sink.tensors;
}

/// With their bytes.
std::vector<TestTensor> storedTensors(const Job &job, std::map<std::string, std::string> &tensors) {
  std::vector<TestTensor> stored;
  for (const checkpoint::TensorSpec &output : job.outputs) {
    auto bytes = std::as_bytes(std::span(tensors[output.name]));
    stored.push_back({output.name, output.dtype, output.shape, {bytes.begin(), bytes.end()}});
  }
  return stored;
}

struct Case {
  std::string file;
  SchemeChoice choice;
  FileLayout layout = FileLayout::CompressedTensors;
};

const std::vector<Case> kCases = {
    {"w8a8", {"w8a8"}},
    {"w8a16", {"w8a16"}},
    {"w8a16-128-zero", {"w8a16", 128, true}},
    {"w4a16-32", {"w4a16", 32}},
    {"w4a16-64", {"w4a16", 64}},
    {"w4a16-128", {"w4a16"}},
    {"w4a16-32-zero", {"w4a16", 32, true}},
    {"w4a16-128-zero", {"w4a16", 0, true}},
    {"w4a16--1", {"w4a16", -1}},
    {"fp8-block", {"fp8-block"}},
    {"fp8-channel", {"fp8-channel"}},
    {"fp8-tensor", {"fp8-tensor"}},
    {"mxfp4", {"mxfp4"}},
    {"mxfp8", {"mxfp8"}},
    {"nvfp4", {"nvfp4"}},
    {"deepseek", {"fp8-block"}, FileLayout::DeepSeek},
    {"gptq-128", {"w4a16"}, FileLayout::Gptq},
    {"gptq-32-zero", {"w4a16", 32, true}, FileLayout::Gptq},
    {"gptq_v2-128", {"w4a16"}, FileLayout::GptqV2},
    {"gptq_v2-32-zero", {"w4a16", 32, true}, FileLayout::GptqV2},
};

/// A tensor file's weights; each keeps its source alive.
struct Opened {
  explicit Opened(const std::filesystem::path &path) : source(openSource(path)), weights(Weights::of(source, nullptr, 1)) {}
  tools::TensorSource source;
  Weights weights;
};

/// A weight of these values in a folder of its own.
struct Made {
  Made(const std::vector<float> &values, int64_t rows, int64_t columns) {
    writeTensors(dir.path, {floats("layer.weight", {rows, columns}, values)});
    opened.emplace(dir.path / "model.safetensors");
  }
  WeightRows rows() const { return *WeightRows::create(*opened->weights.find("layer.weight")); }

  TestDir dir;
  std::optional<Opened> opened;
};

} // namespace

TEST(Quantize, BytesOfTheLibraries) {
  Opened plain(kGolden / "plain.safetensors");
  WeightRows rows = *WeightRows::create(*plain.weights.find("weight"));
  for (const Case &test : kCases) {
    SCOPED_TRACE(test.file);
    auto target = chooseTarget(test.choice, test.layout);
    ASSERT_TRUE(target) << target.error().message;
    ASSERT_TRUE(checkFits(rows, target->scheme));
    Job job = quantizeWeightJob(rows, "layer", target->scheme, roundToNearest(target->scheme, target->zeroPoints, {}));
    auto made = runJob(job);
    auto want = openSource(kGolden / (test.file + ".safetensors"));
    EXPECT_EQ(made.size(), want.tensors().size());
    for (const auto &tensor : want.tensors()) {
      std::string name = "layer." + tensor.info->name;
      auto output = std::ranges::find(job.outputs, name, &checkpoint::TensorSpec::name);
      ASSERT_NE(output, job.outputs.end()) << name;
      EXPECT_EQ(output->dtype, tensor.info->dtype) << name;
      EXPECT_EQ(output->shape, tensor.info->shape) << name;
      EXPECT_TRUE(made[name] == bytesOfTensor(tensor)) << name << " differs from the library's";
    }
  }
}

TEST(Quantize, StepsMakeTheBytesOfOne) {
  constexpr int64_t kRows = 2600, kColumns = 1024;
  std::vector<float> values = normal(kRows * kColumns, 5, 0.1f);
  Made made(values, kRows, kColumns);
  for (const Case &test : kCases) {
    SCOPED_TRACE(test.file);
    Target target = *chooseTarget(test.choice, test.layout);
    Encoder encode = roundToNearest(target.scheme, target.zeroPoints, {});
    Job job = quantizeWeightJob(made.rows(), "layer", target.scheme, encode);
    EXPECT_TRUE(job.steps > 1 || target.scheme.packing == Packing::WordsDown);
    auto tensors = runJob(job);
    writeTensors(made.dir.path / test.file, storedTensors(job, tensors));
    auto source = openSource(made.dir.path / test.file / "model.safetensors");
    Weights weights = Weights::of(source, [&](const std::string &) { return target.scheme; }, 1);
    const Weight *weight = weights.find("layer.weight");
    ASSERT_TRUE(weight && weight->linear) << (weight && weight->fault ? weight->fault->message : "no weight");
    std::vector<float> decoded(values.size());
    weight->linear->read(0, decoded);
    float amax = std::abs(*std::ranges::max_element(values, {}, [](float value) { return std::abs(value); }));
    NumberFormat format(target.scheme, target.zeroPoints);
    RowBlock whole{values, kRows, kColumns, amax};
    EXPECT_TRUE(decoded == decodeRows(format, target.scheme, whole, encodeRows(format, target.scheme, whole, {})));
  }
}

TEST(Quantize, ClippingByError) {
  std::vector<float> values = normal(64 * 256, 3);
  values[100] = 30; // an outlier, which rounding to nearest keeps and the search gives up
  for (const char *name : {"w4a16", "w8a8", "mxfp4", "nvfp4", "fp8-channel"}) {
    Target target = *chooseTarget({name}, FileLayout::CompressedTensors);
    NumberFormat format(target.scheme, false);
    RowBlock in{values, 64, 256, 30};
    auto errorOf = [&](const Clip &clip) {
      auto decoded = decodeRows(format, target.scheme, in, encodeRows(format, target.scheme, in, clip));
      double sum = 0;
      for (size_t i = 0; i < values.size(); ++i)
        sum += std::pow(double(values[i]) - decoded[i], 2);
      return sum;
    };
    double nearest = errorOf({}), least = errorOf({ClipMethod::Mse}), clipped = errorOf({ClipMethod::Percentile, 99});
    EXPECT_LE(least, nearest) << name;
    EXPECT_LE(least, clipped * 1.001) << name;
    if (target.choice.name == "w4a16") {
      EXPECT_LT(least, 0.9 * nearest);
    }
  }
}

TEST(Quantize, PercentileIsNumpys) {
  std::vector<float> values = {4, 1, 3, 2, 10};
  EXPECT_EQ(percentileOf(values, 100), 10);
  EXPECT_EQ(percentileOf(values, 0), 1);
  EXPECT_EQ(percentileOf(values, 50), 3);
  EXPECT_FLOAT_EQ(percentileOf(values, 90), 7.6f); // numpy.percentile([4, 1, 3, 2, 10], 90)
  EXPECT_EQ(percentileOf({5}, 99.9), 5);
}

TEST(Quantize, ZerosStayZeros) {
  NumberFormat format(chooseTarget({"w8a8"}, FileLayout::CompressedTensors)->scheme, false);
  Parameters zeros = format.fit(0, 0);
  EXPECT_GT(zeros.scale, 0);
  std::vector<float> none(4);
  std::vector<uint8_t> codes(4, 9);
  format.encode(none, zeros, 1, codes.data());
  EXPECT_EQ(codes, std::vector<uint8_t>(4, 0));
}

TEST(Quantize, RefusesWhatHasNoForm) {
  std::vector<float> values = normal(24 * 96, 1);
  values[200] = std::numeric_limits<float>::quiet_NaN();
  Made made(values, 24, 96);
  Target target = *chooseTarget({"w4a16"}, FileLayout::CompressedTensors);
  auto fits = checkFits(made.rows(), target.scheme);
  ASSERT_FALSE(fits);
  EXPECT_NE(fits.error().message.find("has 96 columns, which groups of 128 do not divide"), std::string::npos);
  target = *chooseTarget({"w4a16", 32}, FileLayout::CompressedTensors);
  ASSERT_TRUE(checkFits(made.rows(), target.scheme));
  Job job = quantizeWeightJob(made.rows(), "layer", target.scheme, roundToNearest(target.scheme, false, {}));
  MemorySink sink(job);
  auto done = job.run(0, sink);
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("tensor 'layer.weight': element [2, 8] is NaN"), std::string::npos) << done.error().message;
}

TEST(Quantize, RefusesChoicesThatAreNone) {
  for (const auto &[choice, layout, words] : std::vector<std::tuple<SchemeChoice, FileLayout, std::string>>{
           {{"w3a16"}, FileLayout::CompressedTensors, "'w3a16' is no scheme, only w8a8, w8a16"},
           {{"w8a8", 64}, FileLayout::CompressedTensors, "w8a8 has no group size"},
           {{"mxfp4", 0, true}, FileLayout::CompressedTensors, "no form with zero points"},
           {{"w4a16", -2}, FileLayout::CompressedTensors, "group size -2"},
           {{"w8a8"}, FileLayout::Gptq, "w8a8 has no form in the layout gptq"},
           {{"w4a16"}, FileLayout::DeepSeek, "w4a16 has no form in the layout deepseek"}}) {
    auto target = chooseTarget(choice, layout);
    ASSERT_FALSE(target);
    EXPECT_NE(target.error().message.find(words), std::string::npos) << target.error().message;
  }
}
