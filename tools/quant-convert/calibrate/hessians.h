//===- hessians.h - inputs of linear layers, summed up ----------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// H = sum of x xᵀ over the inputs x of a linear layer, while a compiled model runs over a text. The module's own program says
// which dispatch multiplies which weights with what (runtime/module/program.h); the host's session shows its operands before each
// dispatch.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_HESSIANS_H
#define QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_HESSIANS_H

#include "tools/quant-convert/calibrate/text_run.h"

#include <Eigen/Core>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace quant::convert {

/// Of one input, which several layers may share (gate and up, q_a and kv_a).
struct Hessian {
  Eigen::MatrixXd sums;    ///< [columns, columns], symmetric; empty before the first token
  Eigen::VectorXd largest; ///< [columns], magnitudes
  int64_t tokens = 0;
  int64_t borrowed = 0; ///< tokens' worth taken from all experts of the layer, because this one saw few
};

/// By the layer's name, "model.layers.3.mlp.experts.7.up_proj".
using Hessians = std::map<std::string, std::shared_ptr<const Hessian>, std::less<>>;

/// Largest magnitudes of one input, of each piece of the text.
struct InputRange {
  std::vector<float> largest;  ///< [pieces], 0 where no token reached the input
  std::vector<int64_t> tokens; ///< [pieces], that reached the input
};

/// By the layer's name.
using InputRanges = std::map<std::string, std::shared_ptr<const InputRange>, std::less<>>;

/// What is taken for the inputs of a layer's routed experts.
struct ExpertInputs {
  int64_t floor = 256;   ///< an expert with fewer tokens takes the mean of all experts of its layer up to there
  bool together = false; ///< gate_proj and up_proj share one sum, over all tokens
};

/// Columns of the input of a linear layer, by its name.
using LayerColumns = std::map<std::string, int64_t, std::less<>>;

/// Sums inputs while a text runs: for some of them a pass, as memory allows. What a sum is does not depend on the others.
class HessianCollector {
public:
  /// Of one input, which all of `layers` read. Experts have one each.
  struct Input {
    std::vector<std::string> layers;
    int64_t columns = 0;
    size_t dispatch = 0, expert = 0;

    int64_t bytes() const { return columns * columns * static_cast<int64_t>(sizeof(double)); }
  };

  /// Finds the inputs of the layers in `columns` in the module's program; refers to run and checkpoint.
  HessianCollector(const TextRun &run, const checkpoint::Checkpoint &checkpoint, const LayerColumns &columns,
                   const ExpertInputs &experts);

  /// In the order of the program. Layers that the module does not compute (MTP) are in none.
  const std::vector<Input> &inputs() const { return found; }
  /// Nothing where the module does not compute the layer.
  std::optional<size_t> inputOf(const std::string &layer) const;
  /// What a pass for some inputs holds, as they are added.
  class PassBytes {
  public:
    explicit PassBytes(const HessianCollector &collector) : collector(collector) {}
    void add(const std::set<size_t> &more);
    int64_t total() const { return sum; }

  private:
    const HessianCollector &collector;
    std::set<size_t> inputs, experts; ///< dispatches with sums of all experts
    int64_t sum = 0;
  };

  /// Runs the text, up to the last of these inputs. Errors: those of TextRun::run(), inputs that are not finite.
  Result<Hessians> collect(const std::set<size_t> &inputs) const;

  /// The same for the largest magnitudes. Errors: those of TextRun::run(), an input that is not finite, with its layer and piece.
  Result<InputRanges> collectRanges(const std::set<size_t> &inputs) const;

private:
  /// A dispatch whose input is summed: as it is, or by expert.
  struct Tap {
    int64_t columns = 0, stride = 0;
    size_t input = 0;                 ///< among the operands
    DType dtype = DType::F32;         ///< of a cache: f32 or bf16
    int64_t pagesOfSequence = 0;      ///< of a cache, columns of the table of pages; 0: the input is no cache
    size_t offsets = 0, gathered = 0; ///< operands of a grouped matmul; 0: there is none
    int64_t topK = 1;
    std::vector<std::optional<size_t>> inputs; ///< one, or one for each expert
  };
  using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  /// Rows that reached an input; of no input: those of all experts of the dispatch.
  using TakeRows = std::function<void(std::optional<size_t> input, Rows rows)>;
  struct Pass;
  struct RangePass;

  Rows cachedRows(const Tap &tap, std::span<void *const> operands, int64_t tokens) const;
  void forExperts(const Tap &tap, const std::set<size_t> &wanted, std::span<void *const> operands, int64_t tokens, bool all,
                  const TakeRows &take) const;
  /// Hands out the rows that reach the wanted inputs in this dispatch; `all`: of all experts, too. Whether there are such inputs.
  bool forRows(size_t dispatch, const std::set<size_t> &wanted, std::span<void *const> operands, const runtime::Dims &dims,
               bool all, const TakeRows &take) const;

  const runtime::Value &operand(size_t dispatch, size_t i) const;
  void findDispatch(size_t dispatch, const LayerColumns &columns);
  void findCache(size_t dispatch, const LayerColumns &columns);
  void addLayer(size_t dispatch, Tap &tap, size_t expert, const std::string &layer);

  const TextRun &run;
  const checkpoint::Checkpoint &checkpoint;
  ExpertInputs experts;
  std::map<size_t, Tap> taps; ///< by dispatch
  std::vector<Input> found;
  std::map<std::string, size_t, std::less<>> byLayer;
};

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_CALIBRATE_HESSIANS_H
