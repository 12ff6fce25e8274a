//===- program.h - the compiled model as data -------------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// What docs/module-format.md says about the manifest and the programs, as structs. module.h reads and checks them.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_RUNTIME_MODULE_PROGRAM_H
#define QUANT_RUNTIME_MODULE_PROGRAM_H

#include "runtime/abi/launch_recipe.h"
#include "runtime/abi/repack.h"
#include "runtime/support/dtype.h"

#include <cstddef>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quant::runtime {

/// The dtype of that MLIR name, if values of programs can have it: floats of 8 bits and more, and i4, i8, i32, i64.
std::optional<DType> dtypeFromName(std::string_view name);

/// The run-time sizes of one call, in the order of `abi::Dim`.
using Dims = std::array<int64_t, abi::kNumDims>;

/// One extent of a shape: a constant, or a run-time size.
struct Extent {
  int64_t size = 0;            ///< when `dim` is empty
  std::optional<abi::Dim> dim; ///< the run-time size that this extent is

  int64_t at(const Dims &dims) const { return dim ? dims[static_cast<size_t>(*dim)] : size; }
  bool operator==(const Extent &) const = default;
};

using Shape = std::vector<Extent>;

/// "tokensx7168xf32", as MLIR writes it.
void printType(std::ostream &os, const Shape &shape, DType dtype);
std::string typeText(const Shape &shape, DType dtype);

/// How rows lie: one after another, or, of the scales of per-token groups, group by group, each group's rows side by side with
/// room for a multiple of abi::kKMajorRowMultiple of them.
enum class Layout : uint8_t { RowMajor, KMajor };

/// Bytes of a dense row-major tensor at `dims`, the last partial byte of a sub-byte type counted whole. Errors: overflow.
Result<int64_t> byteSize(const Shape &shape, DType dtype, const Dims &dims);

enum class ValueKind : uint8_t { Input, Output, Weight, WeightGroup, Cache, Workspace };
std::string_view kindName(ValueKind kind);

/// A named piece of memory that dispatches read or write.
struct Value {
  std::string name; ///< a checkpoint tensor's name where kind is Weight; with one `{}` where it is WeightGroup
  ValueKind kind = ValueKind::Workspace;
  DType dtype = DType::F32;
  Shape shape;
  Layout layout = Layout::RowMajor; ///< of a Workspace value
  std::vector<std::string> aliases; ///< further checkpoint names of a weight or group, tried in order after `name`
  Repack repack = Repack::None;     ///< how a weight or group is turned when it is loaded
  std::string order;                ///< the tensor by whose groups its columns are sorted then; "" if by none
  int64_t groupSize = 0;            ///< columns of the groups that a ColumnOrder reads
  int64_t count = 0;                ///< tensors in a WeightGroup
  bool isScale = false;             ///< a weight or group that holds block scales: finite, not negative
  bool isGlobalScale = false;       ///< one that scales are divided by: finite, positive
  int64_t offset = 0;               ///< of a Workspace value, in bytes from the arena's start

  /// Whether it is not read as the file has it.
  bool isTurned() const { return repack != Repack::None || !order.empty(); }
};

/// byteSize of the shape, with the room that the layout wants.
Result<int64_t> byteSize(const Value &value, const Dims &dims);
/// Bytes of a row of a KV cache.
int64_t rowBytes(const Value &cache);

/// One kernel launch.
struct Dispatch {
  int kernel = 0;            ///< index in Target::kernels
  abi::SizeExpr grid;        ///< number of blocks
  std::vector<int> operands; ///< indices in Program::values
  std::string label;         ///< what it computes, for people; profiles group by it
};

/// The largest sizes a program was compiled for.
struct Limits {
  /// Rows of a KV cache, for all sequences together.
  static constexpr int64_t kMaxCacheRows = int64_t{1} << 24;

  int64_t tokens = 0;  ///< in one call
  int64_t context = 0; ///< of a sequence
  int64_t vocab = 0;   ///< token ids are below it

  /// Every dim at its limit.
  Dims largest() const { return {tokens, tokens, tokens, kMaxCacheRows}; }
  /// What the dims can be in a call.
  abi::SizeIntervals intervals() const {
    return {{abi::Dim::Tokens, {1, tokens}},
            {abi::Dim::Sequences, {1, tokens}},
            {abi::Dim::Outputs, {0, tokens}},
            {abi::Dim::Context, {1, kMaxCacheRows}}};
  }
};

/// A straight-line list of dispatches over named values.
struct Program {
  Limits limits;
  int64_t workspaceBytes = 0;
  std::vector<Value> values;
  std::vector<Dispatch> dispatches;
};

enum class Access : uint8_t { Read, Write, ReadWrite };

/// What a kernel expects at one operand.
struct KernelOperand {
  DType dtype = DType::F32;
  Access access = Access::Read;
  std::optional<int64_t> count; ///< a table of that many pointers, where the manifest says so
  std::optional<Shape> shape;   ///< the extents the code was made for, where the manifest says them
  Layout layout = Layout::RowMajor;
};

/// One of the ways to launch a GPU kernel.
struct KernelVariant {
  int64_t lowRows = 0, highRows = INT64_MAX; ///< what the recipe's M must lie in, both ends included
  abi::LaunchRecipe recipe;
};

/// How a kernel is run: called at its entry in the target's code, or launched by a recipe.
enum class KernelKind : uint8_t { Entry, Recipe };

struct Kernel {
  std::string name;
  KernelKind kind = KernelKind::Entry;
  int64_t scratchBytes = 0; ///< of an Entry, per worker
  std::vector<KernelOperand> operands;
  std::vector<KernelVariant> variants; ///< of a Recipe; the first whose range fits runs
  std::string unsupported;             ///< of a Recipe: why there is no code, where there is none
  std::string unit;                    ///< what computes it, e.g. "avx512", "tensor", "simt"; for people, may be empty
  std::string why;                     ///< why it is not a faster unit; for people, may be empty
};

/// Machine code of every kernel for one instruction set.
struct CodeObject {
  std::string isa;
  std::string section;
  std::vector<std::string> features; ///< CPU features it needs: the manifest's `requires`
  int64_t textOffset = 0;            ///< where code starts in `image`, a multiple of 4096
  int64_t textBytes = 0;
  std::vector<int64_t> entries;     ///< of each kernel, in bytes from the image's start; all of these of KernelKind::Entry only
  std::span<const std::byte> image; ///< points into the module's bytes
};

/// What one kind of device needs to run the model.
struct Target {
  std::string name;
  bool isForeign = false; ///< for another runtime: nothing is known but its name and the objects' isa
  std::vector<Kernel> kernels;
  std::vector<CodeObject> objects; ///< best first
  Program program;
  std::optional<Program> draft; ///< of an MTP layer: guesses the token after the next
};

/// Errors: kernels of another kind than `kind`, or that there is no code for, all of them by name.
Result<void> checkKernels(const Target &target, KernelKind kind);

/// Prints limits, values, kernels whose unit is known, and dispatches, one a line, for people and tests; then those of a draft.
void printProgram(std::ostream &os, const Target &target);

} // namespace quant::runtime

#endif // QUANT_RUNTIME_MODULE_PROGRAM_H
