//===- Bench.cpp - quant-bench's measurements -----------------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "tools/quant-bench/Bench.h"

#include "runtime/support/scheme.h"

#include "dialects/machine/X86.h"
#include "tools/pipeline/HostUnits.h"
#include "tools/quant-bench/Machine.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <random>

using namespace quant;
using namespace quant::bench;
using Json = nlohmann::ordered_json;
using runtime::Memory;
using runtime::ThreadPool;

static Result<WeightSpec> parseShape(const std::string &text) {
  WeightSpec spec;
  const char *end = text.data() + text.size();
  auto [afterRows, rowsError] = std::from_chars(text.data(), end, spec.rows);
  auto [afterColumns, columnsError] = std::from_chars(afterRows == end ? end : afterRows + 1, end, spec.columns);
  if (rowsError != std::errc() || columnsError != std::errc() || *afterRows != 'x' || afterColumns != end || spec.rows < 1 ||
      spec.columns < 1 || spec.rows > 1 << 20 || spec.columns > 1 << 20)
    return fail("'" + text + "' is no shape: N x K of the weight, as in 7168x2048");
  return spec;
}

/// A weight of that shape, stored as the options say.
static Result<WeightSpec> parseWeight(const std::string &shape, const BenchOptions &options) {
  QUANT_TRY_ASSIGN(WeightSpec spec, parseShape(shape));
  const Scheme *scheme = findScheme(options.scheme);
  if (!scheme || !scheme->compiled)
    return fail(fmt::format("scheme {} is not compiled, only {}", options.scheme, compiledSchemes()));
  // As kernels see it: codes in words are unsigned, and what is turned when it is loaded is turned.
  bool isPacked = scheme->packing != Packing::Elements && scheme->packing != Packing::Nibbles;
  spec.storage = mlirName(!isPacked ? scheme->element : bitWidth(scheme->element) == 4 ? DType::U4 : DType::U8);
  if (scheme->zeroPoints != ZeroPoints::None)
    spec.zero = "ui8";
  spec.zeroConstant = isPacked && spec.zero.empty() ? 1 << (bitWidth(scheme->element) - 1) : 0;
  spec.scale = mlirName(scheme->scale);
  spec.hasGlobalScale = scheme->hasGlobalScale();
  spec.blockRows = scheme->block[0] ? scheme->block[0] : spec.rows;
  spec.blockColumns = options.group ? options.group : scheme->block[1] ? scheme->block[1] : spec.columns;
  return spec;
}

namespace {

/// A compiled product with random weights in several copies, and its vectors.
class Contender {
public:
  static Result<std::unique_ptr<Contender>> create(const WeightSpec &spec, const std::string &isa, int threads, int64_t tokens,
                                                   int64_t rotatedBytes) {
    QUANT_TRY_ASSIGN(CompiledMatmul compiled, CompiledMatmul::compile(spec, isa, threads));
    auto result = std::make_unique<Contender>();
    result->spec = spec;
    result->matmul = std::move(compiled);
    result->stride = (spec.dataBytes() + 4095) / 4096 * 4096;
    result->copies = std::max<int64_t>(1, (rotatedBytes + result->stride - 1) / result->stride);
    QUANT_TRY_ASSIGN(result->weights, Memory::allocate(result->stride * result->copies, "weights"));
    result->fill(tokens);
    return result;
  }

  /// One call on the next copy of the weights.
  void run(ThreadPool &pool, int64_t tokens) {
    const float *perRow = xScales.empty() ? nullptr : xScales.data();
    const float *global = spec.hasGlobalScale ? &globalScale : nullptr;
    matmul.run(pool, {x.data(), nextWeights(), scales.data(), zeros.data(), out.data(), perRow, global}, tokens);
  }
  void runPlain(ThreadPool &pool, int64_t tokens) {
    matmul.run(pool, {x.data(), nextWeights(), nullptr, nullptr, out.data()}, tokens);
  }

  const std::byte *nextWeights() { return weights.data() + stride * (next++ % copies); }
  double bytes() const { return static_cast<double>(spec.dataBytes() + spec.scaleBytes()); }

private:
  WeightSpec spec;
  CompiledMatmul matmul;
  Memory weights;
  int64_t stride = 0, copies = 0, next = 0;
  /// As codes in int8 the bytes of x are as good as others.
  std::vector<float> x, xScales, out;
  std::vector<std::byte> scales, zeros;
  float globalScale = 1;

  /// 2^-7 in the scales' type; 1 under a global scale.
  void fillScales() {
    uint32_t bits = spec.scale == "f32" ? 0x3c000000 : spec.scale == "f16" ? 0x2000 : spec.scale == "bf16" ? 0x3c00 : 120;
    if (spec.hasGlobalScale)
      bits = 0x38;
    auto size = static_cast<size_t>(spec.scales() ? spec.scaleBytes() / spec.scales() : 0);
    scales.resize(static_cast<size_t>(spec.scaleBytes()));
    for (size_t offset = 0; offset < scales.size(); offset += size)
      std::memcpy(&scales[offset], &bits, size);
  }

  void fill(int64_t tokens) {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    x.resize(static_cast<size_t>(tokens * spec.columns));
    std::generate(x.begin(), x.end(), [&] { return normal(random); });
    xScales.assign(spec.inputs == Inputs::Int8 ? static_cast<size_t>(tokens) : 0, 1.0f);
    out.resize(static_cast<size_t>(tokens * spec.rows));
    fillScales();
    zeros.assign(spec.zero.empty() ? 0 : static_cast<size_t>(spec.scales()), std::byte{8});
    // Random signs and fractions. Without bit 6 an E4M3 code is below 2, a subnormal now and then; bf16 gets exponents near 1.
    uint64_t varying = spec.storage == "bf16" ? 0x83ff83ff83ff83ff : 0xbfbfbfbfbfbfbfbf;
    uint64_t fixed = spec.storage == "bf16" ? 0x3c003c003c003c00 : 0;
    for (size_t offset = 0; offset + 8 <= weights.size(); offset += 8) {
      uint64_t bits = (random() & varying) | fixed;
      std::memcpy(weights.data() + offset, &bits, 8);
    }
  }
};

/// What a run needs besides its weights.
struct Setting {
  std::unique_ptr<ThreadPool> pool;
  std::string isa;
  int64_t rotatedBytes;
  BestRead read;
};

} // namespace

static Result<Setting> makeSetting(const BenchOptions &options) {
  std::vector<std::string> isas = runnableUnits(machine::x86UnitNames());
  if (isas.empty())
    return fail("this CPU runs no code of " + machine::x86UnitList());
  Setting setting{nullptr, "", options.rotatedMegabytes << 20, {}};
  setting.isa = options.isa.empty() ? isas.front() : options.isa;
  QUANT_TRY_ASSIGN(setting.pool, ThreadPool::create(options.threads > 0 ? options.threads : runtime::availableCpus()));
  return setting;
}

static Result<Json> gemvShape(const std::string &shape, const Setting &setting, const BenchOptions &options) {
  QUANT_TRY_ASSIGN(WeightSpec spec, parseWeight(shape, options));
  QUANT_TRY_ASSIGN(WeightSpec fp8, parseShape(shape));
  WeightSpec plain = spec;
  plain.storage = "bf16";
  plain.scale = "";
  plain.zeroConstant = 0;
  ThreadPool &pool = *setting.pool;
  QUANT_TRY_ASSIGN(auto ours, Contender::create(spec, setting.isa, pool.size(), 1, setting.rotatedBytes));
  QUANT_TRY_ASSIGN(auto bf16, Contender::create(plain, setting.isa, pool.size(), 1, setting.rotatedBytes));
  QUANT_TRY_ASSIGN(auto other, Contender::create(fp8, setting.isa, pool.size(), 1, setting.rotatedBytes));
  auto times = interleave({[&] { readAll(pool, setting.isa, setting.read.way, ours->nextWeights(), spec.dataBytes()); },
                           [&] { ours->run(pool, 1); }, [&] { bf16->runPlain(pool, 1); }, [&] { other->run(pool, 1); }},
                          options.seconds);
  double bytes = ours->bytes(), plainBytes = bf16->bytes();
  return Json{{"shape", shape},
              {"scheme", options.scheme},
              {"isa", setting.isa},
              {"threads", pool.size()},
              {"bytes", bytes},
              {"read", setting.read.way.text()},
              {"read_gb_per_s", bytes / median(times[0]) / 1e9},
              {"gb_per_s", bytes / median(times[1]) / 1e9},
              {"ms", median(times[1]) * 1e3},
              {"of_read", medianRatio(times[0], times[1])},
              {"of_read_best", std::ranges::min(times[0]) / std::ranges::min(times[1])},
              {"bf16_bytes", plainBytes},
              {"bf16_gb_per_s", plainBytes / median(times[2]) / 1e9},
              {"bf16_ms", median(times[2]) * 1e3},
              {"speedup_over_bf16", medianRatio(times[2], times[1])},
              {"speedup_over_fp8", medianRatio(times[3], times[1])},
              {"rounds", times[0].size()}};
}

Result<Json> quant::bench::runGemv(const BenchOptions &options) {
  QUANT_TRY_ASSIGN(Setting setting, makeSetting(options));
  QUANT_TRY_ASSIGN(setting.read, findBestRead(*setting.pool, setting.isa));
  Json result = Json::array();
  for (const std::string &shape : options.shapes) {
    QUANT_TRY_ASSIGN(Json row, gemvShape(shape, setting, options));
    result.push_back(row);
  }
  return result;
}

static Result<void> gemmShape(const std::string &shape, const Setting &setting, const BenchOptions &options, Json &rows) {
  QUANT_TRY_ASSIGN(WeightSpec spec, parseWeight(shape, options));
  spec.inputs = options.inputs;
  bool isInteger = spec.storage == "i8" || spec.storage == "ui4" || spec.storage == "ui8";
  if (spec.inputs == Inputs::Int8 && (spec.blockRows != 1 || !isInteger || !spec.zero.empty()))
    return fail("int8 inputs meet symmetric weights of int8 or int4 with scales of single rows, as --scheme ct-w8a8 and ct-w4a8 "
                "have");
  ThreadPool &pool = *setting.pool;
  int64_t largest = *std::max_element(options.tokens.begin(), options.tokens.end());
  QUANT_TRY_ASSIGN(auto ours, Contender::create(spec, setting.isa, pool.size(), largest, setting.rotatedBytes));
  for (int64_t tokens : options.tokens) {
    double peakFlops = 0, flops = 2.0 * static_cast<double>(tokens * spec.rows * spec.columns);
    auto times = interleave({[&] { peakFlops = multiplyAddAll(pool, setting.isa, options.inputs); },
                             [&] { readAll(pool, setting.isa, setting.read.way, ours->nextWeights(), spec.dataBytes()); },
                             [&] { ours->run(pool, tokens); }},
                            options.seconds);
    // No call can be faster than its reading or its arithmetic.
    std::vector<double> bound;
    for (size_t round = 0; round < times[0].size(); ++round)
      bound.push_back(std::max(times[0][round] * flops / peakFlops, times[1][round]));
    rows.push_back({{"shape", shape},
                    {"tokens", tokens},
                    {"isa", setting.isa},
                    {"threads", pool.size()},
                    {"peak_gflop_per_s", peakFlops / median(times[0]) / 1e9},
                    {"gflop_per_s", flops / median(times[2]) / 1e9},
                    {"ms", median(times[2]) * 1e3},
                    {"of_peak", medianRatio(times[0], times[2]) * flops / peakFlops},
                    {"of_read", medianRatio(times[1], times[2])},
                    {"of_bound", medianRatio(bound, times[2])},
                    {"of_bound_best", std::ranges::min(bound) / std::ranges::min(times[2])},
                    {"rounds", times[0].size()}});
  }
  return {};
}

Result<Json> quant::bench::runGemm(const BenchOptions &options) {
  QUANT_TRY_ASSIGN(Setting setting, makeSetting(options));
  QUANT_TRY_ASSIGN(setting.read, findBestRead(*setting.pool, setting.isa));
  Json rows = Json::array();
  for (const std::string &shape : options.shapes)
    QUANT_TRY(gemmShape(shape, setting, options, rows));
  return rows;
}

Result<std::string> quant::bench::dumpAssembly(const BenchOptions &options) {
  QUANT_TRY_ASSIGN(WeightSpec spec, parseWeight(options.shapes.front(), options));
  QUANT_TRY_ASSIGN(Setting setting, makeSetting(options));
  std::string assembly;
  QUANT_TRY(CompiledMatmul::compile(spec, setting.isa, 1, &assembly));
  return assembly;
}
