//===- RowBuilder.h - the language of row programs ----------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What an op computes for one row (of a token) is written once, in these words, in the op's buildRow (RowOps.td). A mapping
// derives from RowBuilder and says how the words run:
//
//   lowering/target/x86/RowMapping.cpp        columns on the lanes of vectors
//   lowering/target/sm90/simt/RowMapping.cpp  columns on the threads of a block, four or eight to a thread
//   passes/decompose/RowMapping.cpp           columns one after another, in upstream dialects: the definition that NumPy checks
//
// A value (Num) is the same for the whole row, or differs from column to column: then it lives in the body of a loop over columns
// and stands for several neighbouring ones. Arithmetic mixes the two freely. Bodies are emitted once or twice (a mapping may
// treat the last columns apart), so they must do nothing but emit.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_DIALECTS_ROWS_ROWBUILDER_H
#define QUANT_DIALECTS_ROWS_ROWBUILDER_H

#include "dialects/rows/KernelBuilder.h"

#include <optional>

namespace quant::rows {

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

/// An f32 (of the rope table: f64), a size or index, or a truth value; of the row or of the columns at hand.
class Num {
public:
  Num() = default;
  Num(KernelBuilder &b, mlir::Value value) : b(&b), value(value) {}

  KernelBuilder *b = nullptr;
  mlir::Value value;
  explicit operator bool() const { return static_cast<bool>(value); }
  int64_t lanes() const { return KernelBuilder::laneCount(value.getType()); }
};

/// The other operand: a Num, or a literal that takes the type of the first.
class Operand {
public:
  Operand(const Num &num) : num(num) {}
  template <typename T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
  Operand(T literal) : literal(static_cast<double>(literal)) {}
  Num like(const Num &other) const;

private:
  Num num;
  double literal = 0;
};

Num operator+(const Num &a, const Operand &b);
Num operator-(const Num &a, const Operand &b);
Num operator*(const Num &a, const Operand &b);
Num operator/(const Num &a, const Operand &b);
Num operator%(const Num &a, const Operand &b);
Num operator-(const Num &a);
Num operator+(double a, const Num &b);
Num operator/(double a, const Num &b);
/// Signed integers; a comparison with NaN is false.
Num operator<(const Num &a, const Operand &b);
Num operator>(const Num &a, const Operand &b);
Num equal(const Num &a, const Operand &b);

/// a * b + c, rounded once.
Num fma(const Num &a, const Operand &b, const Operand &c);
/// The other one where one is NaN.
Num max(const Num &a, const Operand &b);
Num abs(const Num &a);
Num sqrt(const Num &a);
Num exp(const Num &a);
Num roundEven(const Num &a);
/// A signed integer or a float as f64 or f32, rounded where it must.
Num f64(const Num &a);
Num f32(const Num &a);
Num select(const Num &condition, const Num &then, const Operand &otherwise);

//===----------------------------------------------------------------------===//
// Rows and columns
//===----------------------------------------------------------------------===//

/// Rows of a tensor, a memref or scratch: the last dimension is the columns, all others count rows.
struct Rows {
  mlir::Value base; ///< what the mapping reaches it by: an address, or the tensor or memref itself
  mlir::Type element;
  int64_t columns = 0;
  int64_t stride = 0;     ///< elements from row to row
  int64_t offset = 0;     ///< elements from a row's start to the first column
  int64_t perToken = 1;   ///< rows for each unit of the dynamic leading dimension
  bool isList = false;    ///< a single row, whichever row is at hand
  bool isScratch = false; ///< what RowBuilder::scratch gave
  bool isTable = false;   ///< rows stand each in a tensor of its own (a weight_group), and `base` is a table of their addresses
  Num row = {};           ///< the row that is meant; by itself the one at hand

  /// The same with another row in mind.
  Rows ofRow(const Num &index) const;
  /// The elements of all rows one after another.
  Rows asList() const;
  /// Columns [first, first + count) of each row.
  Rows slice(int64_t first, int64_t count) const;
};

/// A single row of `count` elements from `base` on.
Rows listAt(mlir::Value base, mlir::Type element, int64_t count);
/// The same, of memory that RowBuilder::scratch gives.
Rows scratchAt(mlir::Value base, mlir::Type element, int64_t count);
/// Rows of a whole tensor or memref.
Rows wholeRows(mlir::ShapedType type, mlir::Value base);

/// Rows of codes, and a scale for each block of `blockRows` rows and `blockColumns` columns.
struct Quantized {
  Rows codes, scales;
  int64_t blockRows = 1, blockColumns = 1;
  /// Scales lie group by group: see the qblock type.
  bool kMajor = false;

  /// The same with another row in mind.
  Quantized ofRow(const Num &index) const;
};

/// The columns [first, first + lanes) of a loop over `count` columns. Where a mapping hands out more columns than there are,
/// loads give 0 beyond the last and stores leave it out.
struct Column {
  Num first;
  int64_t lanes = 1;
  int64_t count = 0;
  bool mayExceed = false; ///< whether there may be columns beyond the last
};

/// `columns` neighbouring columns that are reduced by themselves: group `index` begins at column `first`.
struct Group {
  Num index, first;
  int64_t columns = 0;
};

//===----------------------------------------------------------------------===//
// The language
//===----------------------------------------------------------------------===//

class RowBuilder {
public:
  template <typename T>
  using Body = llvm::function_ref<void(T)>;
  using Fold = llvm::function_ref<Num(Column, Num sum)>;
  using LoopFold = llvm::function_ref<llvm::SmallVector<Num>(Num index, llvm::ArrayRef<Num> carried)>;

  explicit RowBuilder(KernelBuilder &b) : b(b) {}
  virtual ~RowBuilder() = default;

  Num constant(double value) { return {b, b.constant(b.f32(), value)}; }
  /// The same in each column.
  Num constant(double value, const Column &column) { return {b, b.number(value, column.lanes)}; }
  Num size(int64_t value) { return {b, b.size(value)}; }

  //===--- The row at hand and the call's tokens --------------------------===//

  virtual Num row() = 0;
  /// Those of the call, which a tensor has as rows.
  virtual Num tokens(mlir::Value tensor) = 0;

  //===--- Operands and results -------------------------------------------===//

  /// An operand or a result of the op.
  virtual Rows rows(mlir::Value tensor) = 0;
  /// A block-scaled one.
  virtual Quantized quantized(mlir::Value tensor) = 0;

  /// Columns of a row as f32, and f32 rounded to the element's type (f8E4M3FN saturates).
  virtual Num load(const Rows &rows, const Column &column) = 0;
  virtual void store(const Rows &rows, const Column &column, const Num &value) = 0;
  /// One column; of i32 elements, which are sizes or indices, an index.
  virtual Num at(const Rows &rows, const Num &column) = 0;
  virtual void put(const Rows &rows, const Num &column, const Num &value) = 0;

  /// The scale of the row that is meant in a group.
  virtual Num loadScale(const Quantized &rows, const Group &group);
  virtual void storeScale(const Quantized &rows, const Group &group, const Num &scale);

  //===--- Columns in parallel --------------------------------------------===//

  virtual void forColumns(int64_t count, Body<Column> body) { forColumns(wholeRow(count), body); }
  /// The sum, or the largest, over all columns of what `fold` makes of each with what came before; not in a certain order.
  virtual Num sum(int64_t count, Fold fold) = 0;
  virtual Num max(int64_t count, const Num &least, Fold fold) { return max(wholeRow(count), least, fold); }
  /// The row in groups of `size` columns, the last of which may have fewer.
  virtual void forGroups(int64_t count, int64_t size, Body<const Group &> body);
  virtual void forColumns(const Group &group, Body<Column> body) = 0;
  virtual Num max(const Group &group, const Num &least, Fold fold) = 0;
  /// Each index of [begin, end) by itself; what bodies store others do not see before the end.
  virtual void forEach(const Num &begin, const Num &end, Body<Num> body) { loop(begin, end, body); }
  void forEach(int64_t count, Body<Num> body) { forEach(size(0), size(count), body); }
  /// Each of some f64 constants, with its index.
  virtual void forConstants(llvm::ArrayRef<double> values, llvm::function_ref<void(Column, Num value)> body) = 0;

  //===--- The whole row at once ------------------------------------------===//

  /// A loop that all take together, or, inside of forEach or a loop over columns, each by itself.
  llvm::SmallVector<Num> loop(const Num &begin, const Num &end, llvm::ArrayRef<Num> init, LoopFold body);
  void loop(const Num &begin, const Num &end, Body<Num> body);
  void loop(int64_t count, Body<Num> body) { loop(size(0), size(count), body); }
  void ifThen(const Num &condition, llvm::function_ref<void()> then);
  /// f32 numbers for the time of the row; not initialised.
  Rows scratch(int64_t count) { return scratch(count, b.f32()); }
  /// The same for indices.
  Rows scratchIndices(int64_t count) { return scratch(count, b.i32()); }
  /// The index of the largest of a list's numbers, the lowest of equal ones; of NaN only, any.
  virtual Num argmax(const Rows &list);
  /// Stores that belong to no column.
  virtual void once(llvm::function_ref<void()> body) { body(); }

  //===--- Narrow floats --------------------------------------------------===//

  /// value / scale, correctly rounded, for many values and one scale.
  virtual Num divide(const Num &value, const Num &scale) { return value / scale; }
  /// A positive f32 rounded up to a power of two.
  Num roundUpToPowerOfTwo(const Num &value);

protected:
  KernelBuilder &b;

  virtual Rows scratch(int64_t count, mlir::Type element) = 0;
  Num num(mlir::Value value) { return {b, value}; }
  Group wholeRow(int64_t count) { return {size(0), size(0), count}; }
  Num rowOf(const Rows &rows) { return rows.isList ? size(0) : rows.row ? rows.row : row(); }
  /// Called where all that was stored to scratch must be seen by all: before and after a loop, a choice or a use.
  virtual void settle() {}
};

} // namespace quant::rows

#endif // QUANT_DIALECTS_ROWS_ROWBUILDER_H
