//===- RowBuilder.cpp - the language of row programs ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "dialects/rows/RowBuilder.h"
#include "dialects/rows/NarrowFloats.h"

using namespace mlir;

namespace quant::rows {

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

Num Operand::like(const Num &other) const { return num ? num : Num(*other.b, other.b->constant(other.value.getType(), literal)); }

namespace {
/// Two operands with as many lanes as the wider one has.
struct Pair {
  KernelBuilder &b;
  Value left, right;

  Pair(const Num &a, const Operand &other) : b(*a.b) {
    Num second = other.like(a);
    int64_t lanes = std::max(a.lanes(), second.lanes());
    left = b.spread(a.value, lanes);
    right = b.spread(second.value, lanes);
  }
  Num num(Value value) const { return {b, value}; }
};
} // namespace

/// One operation of KernelBuilder on two operands.
static Num binary(const Num &a, const Operand &b, Value (KernelBuilder::*operation)(Value, Value)) {
  Pair pair(a, b);
  return pair.num((pair.b.*operation)(pair.left, pair.right));
}

Num operator+(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::add); }
Num operator-(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::sub); }
Num operator*(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::mul); }
Num operator/(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::div); }
Num operator%(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::rem); }
Num operator<(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::less); }
Num operator>(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::greater); }
Num equal(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::equal); }
Num max(const Num &a, const Operand &b) { return binary(a, b, &KernelBuilder::max); }

Num operator+(double a, const Num &b) { return Operand(a).like(b) + b; }
Num operator/(double a, const Num &b) { return Operand(a).like(b) / b; }
Num operator-(const Num &a) { return {*a.b, a.b->neg(a.value)}; }

Num fma(const Num &a, const Operand &b, const Operand &c) {
  Num second = b.like(a), third = c.like(a);
  int64_t lanes = std::max({a.lanes(), second.lanes(), third.lanes()});
  KernelBuilder &k = *a.b;
  return {k, k.fma(k.spread(a.value, lanes), k.spread(second.value, lanes), k.spread(third.value, lanes))};
}

Num abs(const Num &a) { return {*a.b, a.b->abs(a.value)}; }
Num sqrt(const Num &a) { return {*a.b, a.b->sqrt(a.value)}; }
Num exp(const Num &a) { return {*a.b, a.b->exp(a.value)}; }
Num roundEven(const Num &a) { return {*a.b, a.b->roundEven(a.value)}; }
Num f64(const Num &a) { return {*a.b, a.b->convert(a.b->getF64Type(), a.value)}; }
Num f32(const Num &a) { return {*a.b, a.b->convert(a.b->f32(), a.value)}; }

Num select(const Num &condition, const Num &then, const Operand &otherwise) {
  Pair pair(then, otherwise);
  return pair.num(pair.b.select(condition.value, pair.left, pair.right));
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

Rows Rows::ofRow(const Num &index) const {
  Rows other = *this;
  other.row = index;
  return other;
}

Quantized Quantized::ofRow(const Num &index) const {
  Quantized other = *this;
  other.codes = codes.ofRow(index);
  return other;
}

Rows Rows::asList() const {
  Rows list = *this;
  list.isList = true;
  return list;
}

Rows Rows::slice(int64_t first, int64_t count) const {
  Rows part = *this;
  part.offset += first;
  part.columns = count;
  return part;
}

Rows listAt(Value base, Type element, int64_t count) {
  Rows list{base, element, count, count};
  list.isList = true;
  return list;
}

Rows scratchAt(Value base, Type element, int64_t count) {
  Rows list = listAt(base, element, count);
  list.isScratch = true;
  return list;
}

Rows wholeRows(ShapedType type, Value base) {
  Rows rows{base, type.getElementType()};
  rows.columns = rows.stride = type.getShape().back();
  rows.isList = type.getRank() == 1;
  for (int64_t size : type.getShape().drop_back().drop_front(rows.isList ? 0 : 1))
    rows.perToken *= size;
  return rows;
}

//===----------------------------------------------------------------------===//
// Words made of others
//===----------------------------------------------------------------------===//

Num RowBuilder::loadScale(const Quantized &rows, const Group &group) {
  return at(rows.scales.ofRow(rowOf(rows.codes) / rows.blockRows), group.index);
}

void RowBuilder::storeScale(const Quantized &rows, const Group &group, const Num &scale) { put(rows.scales, group.index, scale); }

void RowBuilder::forGroups(int64_t count, int64_t columns, Body<const Group &> body) {
  int64_t whole = count / columns;
  forEach(whole, [&](Num index) { body({index, index * columns, columns}); });
  if (int64_t rest = count % columns)
    body({size(whole), size(whole * columns), rest});
}

SmallVector<Num> RowBuilder::loop(const Num &begin, const Num &end, ArrayRef<Num> init, LoopFold body) {
  auto values = [](ArrayRef<Num> nums) { return llvm::map_to_vector(nums, [](const Num &num) { return num.value; }); };
  auto nums = [&](ValueRange values) { return llvm::map_to_vector(values, [&](Value value) { return num(value); }); };
  settle();
  SmallVector<Value> last = b.loop(begin.value, end.value, 1, values(init), [&](Value index, ValueRange carried) {
    SmallVector<Num> next = body(num(index), nums(carried));
    settle();
    return values(next);
  });
  return nums(last);
}

void RowBuilder::loop(const Num &begin, const Num &end, Body<Num> body) {
  loop(begin, end, {}, [&](Num index, ArrayRef<Num>) {
    body(index);
    return SmallVector<Num>();
  });
}

void RowBuilder::ifThen(const Num &condition, function_ref<void()> then) {
  settle();
  b.ifThen(condition.value, [&] {
    then();
    settle();
  });
}

Num RowBuilder::argmax(const Rows &list) {
  return loop(size(1), size(list.columns), {size(0), at(list, size(0))}, [&](Num index, ArrayRef<Num> best) {
    Num value = at(list, index), isBetter = value > best[1];
    return SmallVector<Num>{select(isBetter, index, best[0]), select(isBetter, value, best[1])};
  })[0];
}

Num RowBuilder::roundUpToPowerOfTwo(const Num &value) { return num(rows::roundUpToPowerOfTwo(b, value.value)); }

} // namespace quant::rows
