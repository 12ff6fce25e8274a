//===- jobs.h - how tensors are copied, quantized, dequantized --*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A weight is [rows, columns]; blocks of `block` rows x columns share a scale, those at the right and at the bottom may be ragged
// and count as if padded with zeros. Errors name the file, the tensor and the element.
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_CONVERT_SCHEMES_JOBS_H
#define QUANT_TOOLS_QUANT_CONVERT_SCHEMES_JOBS_H

#include "tools/quant-convert/engine/plan.h"
#include "tools/quant-convert/schemes/linear_weight.h"

#include <atomic>
#include <memory>
#include <optional>

namespace quant::convert {

/// The part of a weight that a job takes: rows [row, row + rows), columns [column, column + columns).
struct Piece {
  int64_t row, rows, column, columns;
};

/// The tensor as it is, under the name `name`.
Job copyJob(const Tensor &tensor, std::string name);

/// A part of a matrix as it is. @pre the tensor has two dimensions and whole bytes
Job copyPieceJob(const Tensor &tensor, std::string name, const Piece &piece);

/// Scales of a reference that still fit their blocks are kept; this counts them while a file is written.
struct ReuseCount {
  std::atomic<uint64_t> kept = 0, fresh = 0;
};

/// Rows that share scales, one row of blocks, with the scales to keep, if any.
struct BlockRow {
  DType dtype; ///< BF16, F16 or F32
  const std::byte *data;
  int64_t rows, columns; ///< of elements, dense
  std::span<const float> reused;
};

/// Writes the codes and the scales of a block row; returns how many reused scales were kept, nothing where an element is NaN or
/// infinite.
std::optional<uint64_t> quantizeBlockRow(const BlockRow &in, const Scheme &scheme, uint8_t *codes, std::span<float> scales);

/// BF16, F16 or F32 to FP8 `name` and F32 scales `scaleName`. `reused`, if not null, holds the scales to keep where they fit,
/// one per block; see scaleFits().
Job quantizeJob(const Tensor &weight, std::string name, std::string scaleName, const Scheme &scheme,
                const Tensor *reused = nullptr, std::shared_ptr<ReuseCount> count = nullptr);

/// FP8 times its scales to BF16 or F32. A side of 0 of a block's `shape` is all of the weight's.
/// @pre checkScale(weight, scale, shape)
Job dequantizeJob(const Tensor &weight, const Tensor &scale, const Block &shape, std::string name, DType out = DType::BF16);

/// A weight of any scheme to BF16 or F32; refers to it. @pre checkScales(), checkIndices()
Job decodeJob(const LinearWeight &weight, std::string name, DType out);

/// A part of an FP8 weight whose blocks are not the weight's: dequantized in f32, and quantized again.
/// @pre checkScale(weight, scale, scheme.block)
Job requantizeJob(const Tensor &weight, const Tensor &scale, std::string name, std::string scaleName, const Piece &piece,
                  const Scheme &scheme);

} // namespace quant::convert

#endif // QUANT_TOOLS_QUANT_CONVERT_SCHEMES_JOBS_H
