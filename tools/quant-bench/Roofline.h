//===- Roofline.h - kernels under a machine's limits ---------------*- C++ -*-===//
//
// Part of the block-scaled FP8 compiler, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef QUANT_TOOLS_QUANT_BENCH_ROOFLINE_H
#define QUANT_TOOLS_QUANT_BENCH_ROOFLINE_H

#include <string>
#include <vector>

namespace quant::bench {

/// A kernel: what it does in a call, and how long that takes.
struct RooflinePoint {
  std::string name;
  std::string series; ///< points of a series have a colour
  double bytes = 0, operations = 0, seconds = 0;
};

/// The roofline plot (Williams, Waterman, Patterson: Roofline, CACM 2009) as an SVG file: operations a byte against operations a
/// second, both logarithmic, under the roof min(peak, read * intensity). Points without operations or bytes are left out.
std::string rooflineSvg(const std::vector<RooflinePoint> &points, double readBytesPerSecond, double peakOperationsPerSecond,
                        const std::string &title);

} // namespace quant::bench

#endif // QUANT_TOOLS_QUANT_BENCH_ROOFLINE_H
