//===- fuzz_weights.cpp - fuzzes the layouts of weights -------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "runtime/checkpoint/header.h"
#include "tools/quant-convert/schemes/dequantize.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <sys/mman.h>
#include <unistd.h>

using namespace quant;
using namespace quant::convert;

namespace {

constexpr std::array<std::string_view, 13> kEnds = {
    ".weight",       ".weight_scale_inv",    ".weight_scale", ".scale",  ".weight_packed", ".weight_shape", ".weight_zero_point",
    ".weight_g_idx", ".weight_global_scale", ".qweight",      ".qzeros", ".scales",        ".g_idx"};
constexpr uint64_t kMostBytes = 1 << 14;

/// Takes bytes from the input's beginning; zeros behind its end.
struct Input {
  std::span<const uint8_t> left;

  uint8_t take() {
    if (left.empty())
      return 0;
    uint8_t byte = left[0];
    left = left.subspan(1);
    return byte;
  }
};

/// Memory as a mapped file's, whose pages come back after doneReading(): a slot a tensor, each with a page behind it that nobody
/// may touch.
class Slots {
public:
  Slots() {
    int file = ::memfd_create("slots", 0);
    size_t bytes = kEnds.size() * kSlot;
    if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes)) != 0)
      std::abort();
    memory = static_cast<std::byte *>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    for (size_t i = 0; i < kEnds.size(); ++i)
      if (::mprotect(memory + (i + 1) * kSlot - kGuard, kGuard, PROT_NONE) != 0)
        std::abort();
  }

  /// The last bytes of a slot.
  std::span<std::byte> take(size_t slot, size_t bytes) { return {memory + (slot + 1) * kSlot - kGuard - bytes, bytes}; }

private:
  static constexpr size_t kGuard = 1 << 14, kSlot = kMostBytes + kGuard;
  std::byte *memory;
};

/// The tensors of one layer: which are there, their dtypes and shapes, and their bytes, all from the input.
struct Layer {
  explicit Layer(Input input) {
    unsigned present = input.take() | input.take() << 8;
    for (size_t i = 0; i < kEnds.size(); ++i)
      if (present >> i & 1)
        infos.push_back(makeInfo(std::string("m") += kEnds[i], input));
    std::ranges::sort(infos, {}, &checkpoint::TensorInfo::name);
    static Slots slots;
    for (checkpoint::TensorInfo &info : infos) {
      std::span<std::byte> bytes = slots.take(tensors.size(), info.bytes());
      for (size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = input.left.empty() ? std::byte{0} : std::byte{input.left[i % input.left.size()]};
      tensors.push_back({&info, nullptr, bytes});
    }
  }

  const Tensor *find(std::string_view name) const {
    auto found = std::ranges::find_if(tensors, [&](const Tensor &tensor) { return tensor.info->name == name; });
    return found == tensors.end() ? nullptr : &*found;
  }

  std::deque<checkpoint::TensorInfo> infos;
  std::vector<Tensor> tensors;

private:
  /// A dimension of 255 is a huge one: beside a 0 it takes no byte.
  static checkpoint::TensorInfo makeInfo(std::string name, Input &input) {
    checkpoint::TensorInfo info{std::move(name), static_cast<DType>(input.take() % (static_cast<int>(DType::U64) + 1)), {}, 0, 0};
    for (int dims = input.take() % 4; dims > 0; --dims) {
      int64_t size = input.take();
      info.shape.push_back(size == 255 ? INT64_C(1) << 61 : size);
    }
    auto bytes = checkpoint::byteSize(info.dtype, info.shape);
    if (!bytes || *bytes > kMostBytes) {
      info.shape = {1};
      info.dtype = DType::F32;
      bytes = 4;
    }
    info.end = *bytes;
    return info;
  }
};

/// Source of Weights::of().
struct Source {
  const Layer &layer;
  std::span<const Tensor> tensors() const { return layer.tensors; }
  const Tensor *find(std::string_view name) const { return layer.find(name); }
};

void readAll(const Weight &weight) {
  if (weight.linear)
    (void)weight.linear->checkScales();
  auto values = TensorValues::create(weight);
  if (!values || values->elements() > 8 * kMostBytes)
    return;
  uint64_t count = values->elements(), half = count / 2;
  std::vector<double> out(count);
  for (auto [begin, end] : {std::pair(uint64_t(0), count), std::pair(half / 2, half)}) {
    values->read(begin, std::span(out).first(end - begin));
    (void)values->bytes(begin, end - begin);
    (void)values->scaleBytes(begin, end - begin);
  }
}

} // namespace

/// In every scheme, and as the tensors look.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Layer layer(Input{{data, size}});
  Source source{layer};
  auto look = [&](const SchemeOfLayer &configured) {
    Weights weights = Weights::of(source, configured, 1);
    for (const Weight &weight : weights.all())
      readAll(weight);
  };
  look(nullptr);
  for (const Scheme &scheme : schemes())
    look([&](const std::string &) { return scheme; });
  return 0;
}
