//===- kernels.cpp - machine code for the toy module ----------------------===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compiled on its own to position-independent code without calls and relocations (see CMakeLists.txt), one section a kernel. The
// model they make is described at toyModule().
//
//===----------------------------------------------------------------------===//

using Index = long;

static constexpr Index kVocab = 16, kWidth = 8, kExperts = 3, kPageRows = 64, kPages = 4;

/// Where the operands begin that say where a token's keys lie: positions and sequences [tokens], pages [sequences, 4].
struct Places {
  const int *positions, *sequences, *pages;

  explicit Places(void *const *operands)
      : positions(static_cast<const int *>(operands[0])), sequences(static_cast<const int *>(operands[1])),
        pages(static_cast<const int *>(operands[2])) {}
  /// The row of the cache that has a position of the token's sequence.
  Index row(Index token, Index position) const {
    return pages[sequences[token] * kPages + position / kPageRows] * kPageRows + position % kPageRows;
  }
};

/// operands: tokens, table [vocab, width], hidden [tokens, width]; a block is a token.
extern "C" void embed(void *const *operands, const Index *dims, void *, Index begin, Index end) {
  auto *tokens = static_cast<const int *>(operands[0]);
  auto *table = static_cast<const unsigned char *>(operands[1]); // possibly unaligned
  auto *hidden = static_cast<unsigned char *>(operands[2]);
  constexpr Index kRowBytes = kWidth * static_cast<Index>(sizeof(float));
  for (Index i = begin * kRowBytes; i < end * kRowBytes; ++i)
    hidden[i] = table[tokens[i / kRowBytes] * kRowBytes + i % kRowBytes];
}

/// operands: experts' vectors [width], hidden [tokens, width]; scratch [width]; a block is a token.
extern "C" void mix(void *const *operands, const Index *dims, void *scratch, Index begin, Index end) {
  auto *experts = static_cast<const float *const *>(operands[0]);
  auto *hidden = static_cast<float *>(operands[1]);
  auto *sums = static_cast<volatile float *>(scratch);
  for (Index j = 0; j < kWidth; ++j) {
    sums[j] = experts[0][j];
    for (Index e = 1; e < kExperts; ++e)
      sums[j] = sums[j] + experts[e][j];
  }
  for (Index i = begin * kWidth; i < end * kWidth; ++i)
    hidden[i] *= sums[i % kWidth];
}

/// operands: hidden [tokens, width], cache [context, width], Places; a block is a token.
extern "C" void store(void *const *operands, const Index *dims, void *, Index begin, Index end) {
  auto *hidden = static_cast<const float *>(operands[0]);
  auto *cache = static_cast<float *>(operands[1]);
  Places places(operands + 2);
  for (Index i = begin * kWidth; i < end * kWidth; ++i) {
    Index token = i / kWidth;
    cache[places.row(token, places.positions[token]) * kWidth + i % kWidth] = hidden[i];
  }
}

/// operands: cache [context, width], Places, selected [outputs], logits [outputs, vocab]; a block is an output.
/// logit = -(id - (sum of the sequence's tokens up to the selected one) % vocab)^2.
extern "C" void logits(void *const *operands, const Index *dims, void *, Index begin, Index end) {
  auto *cache = static_cast<const float *>(operands[0]);
  Places places(operands + 1);
  auto *selected = static_cast<const int *>(operands[4]);
  auto *logits = static_cast<float *>(operands[5]);
  for (Index output = begin; output < end; ++output) {
    Index token = selected[output], sum = 0;
    for (Index position = 0; position <= places.positions[token]; ++position)
      sum += static_cast<Index>(cache[places.row(token, position) * kWidth]);
    for (Index id = 0; id < kVocab; ++id) {
      Index distance = id - sum % kVocab;
      logits[output * kVocab + id] = static_cast<float>(-(distance * distance));
    }
  }
}
